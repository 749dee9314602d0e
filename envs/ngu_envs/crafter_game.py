"""The game of the package crafter, so that it repeats, and with worlds that are made quickly."""

from __future__ import annotations

import functools
from typing import Any

import crafter
import numpy as np
from crafter import constants, objects, worldgen
from opensimplex import OpenSimplex

from ngu_envs.simplex_noise import SimplexNoise

ACHIEVEMENTS: tuple[str, ...] = tuple(vars(constants)["achievements"])
ACTIONS: tuple[str, ...] = tuple(vars(constants)["actions"])

# The noise that worldgen asks for: z, and the size that x and y are divided by.
_LAYERS = (
    (8, 3), (3, 15), (3, 5), (0, 15), (0, 5), (6, 7), (1, 8), (2, 6), (6, 5), (4, 9), (5, 7),
)  # fmt: skip
_TUNNELS = (7, 3)
_ROUNDING = 1e-9


class CrafterGame(crafter.Env):
    """Crafter 1.8.3 with the worlds of its own seeds, but for two things.

    Which creature disappears where there are too many is drawn from them in the order in which they
    came. Crafter draws from a set, whose order is that of memory addresses: its episodes do not
    repeat. And the noise that a world is made of is computed for all cells at once, which takes a
    ninth of the time.

    Args:
        area: Rows and columns of the world.
        size: Rows and columns of the picture.
        reward: Whether it is paid.
        length: Steps of the longest episode.
        seed: Decides the episodes.
    """

    def __init__(self, *, area: int, size: int, reward: bool, length: int, seed: int):
        super().__init__((area, area), size=(size, size), reward=reward, length=length, seed=seed)

    def reseed(self, seed: int) -> None:
        """Begins the episodes of another seed with the next reset."""
        self._seed = seed
        self._episode = 0

    def unlocked(self) -> list[bool]:
        """Which of `ACHIEVEMENTS` the episode has unlocked so far."""
        return [name in self._unlocked for name in ACHIEVEMENTS]

    def reset(self) -> np.ndarray:
        """Begins the next episode; returns its first picture."""
        self._episode += 1
        self._step = 0
        # Numbers hash the same in each process.
        self._world.reset(seed=hash((self._seed, self._episode)) % (2**31 - 1))
        self._update_time()
        center = self._world.area[0] // 2, self._world.area[1] // 2
        self._player = objects.Player(self._world, center)
        self._last_health = self._player.health
        self._world.add(self._player)
        self._unlocked = set()
        self._generate_world()
        return self._obs()

    def _generate_world(self) -> None:
        """What worldgen.generate_world does, with the same random numbers."""
        world, player = self._world, self._player
        noise = _WorldNoise(world.random.randint(0, 2**31 - 1), world.area[0])
        tunnels = np.zeros(world.area, bool)
        for cell in np.ndindex(*world.area):
            worldgen._set_material(world, cell, player, tunnels, noise)
        for cell in np.ndindex(*world.area):
            worldgen._set_object(world, cell, player, tunnels)

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        numbers = self._world._obj_map
        super()._balance_chunk(chunk, sorted(objs, key=lambda one: numbers[tuple(one.pos)]))


class _WorldNoise(OpenSimplex):
    """OpenSimplex noise, looked up where worldgen asks for it.

    Args:
        seed: Decides the noise.
        area: Rows and columns of the world.
    """

    def __init__(self, seed: int, area: int):
        super().__init__(seed)
        points, noise = _layers(area)
        self._values = dict(zip(points, noise.values(self._perm).tolist(), strict=True))

    def noise3(self, x: float, y: float, z: float | int) -> float:
        """The noise at a point; worldgen asks where it is positive, which takes all its digits."""
        value = self._values.get((x, y, z), 0.0)
        return value if abs(value) > _ROUNDING else super().noise3(x, y, z)


@functools.cache
def _layers(area: int) -> tuple[list[tuple[float, float, float]], SimplexNoise]:
    """Where worldgen asks for noise, and the noise there."""
    x, y = np.indices((area, area), np.float64).reshape(2, -1)
    layers = [(z, x / size, y / size) for z, size in _LAYERS]
    z, size = _TUNNELS
    layers += [(z, 2 * x / size, y / 5 / size), (z, x / 5 / size, 2 * y / size)]
    points = np.concatenate(
        [np.column_stack([xs, ys, np.full(len(xs), float(z))]) for z, xs, ys in layers]
    )
    keys = [(x, y, z) for x, y, z in points.tolist()]
    return keys, SimplexNoise(points)
