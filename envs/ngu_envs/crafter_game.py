"""The game of the package crafter, so that its episodes repeat."""

from __future__ import annotations

from typing import Any

import crafter
from crafter import constants

ACHIEVEMENTS: tuple[str, ...] = tuple(vars(constants)["achievements"])
ACTIONS: tuple[str, ...] = tuple(vars(constants)["actions"])


class CrafterGame(crafter.Env):
    """Crafter 1.8.3 with the worlds of its own seeds, but for one thing.

    Which creature disappears where there are too many is drawn from them in the order in which they
    came. Crafter draws from a set, whose order is that of memory addresses: its episodes do not
    repeat.

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
        unlocked: set[str] = self._unlocked or set()
        return [name in unlocked for name in ACHIEVEMENTS]

    @property
    def cell(self) -> tuple[int, int]:
        """Row, from the top, and column, from the left, of the player's cell in the world."""
        assert self._player is not None, "reset comes first"
        column, row = self._player.pos.tolist()
        return row, column

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        numbers = self._world._obj_map
        super()._balance_chunk(chunk, sorted(objs, key=lambda one: numbers[tuple(one.pos)]))
