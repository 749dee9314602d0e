from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv

from ngu_agents.archive.beginnings import TellingCells, after_lost_lives
from ngu_agents.archive.cells import DownscaledCells

SIDE, LIVES, LIFE = 3, 4, 60
SPACE = Box(0, 1, (SIDE, SIDE, 1), np.float32)


class Dying(VectorEnv):
    """A life is lost every 60 steps; one area shows whether it was the first, others flicker."""

    num_envs, single_action_space, single_observation_space = 5, Discrete(3, start=1), SPACE

    def __init__(self, *, tells_lives: bool = True) -> None:
        self._tells_lives = tells_lives
        self._generator = np.random.default_rng(0)
        self._time = np.zeros(self.num_envs, np.int64)
        self.actions: list[np.ndarray] = []
        self.times: list[np.ndarray] = []

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        self._time[:] = np.arange(self.num_envs)
        return self._seen()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        assert ((actions >= 1) & (actions < 4)).all()
        self.actions.append(actions.copy())
        self.times.append(self._time.copy())
        over = self._time >= LIVES * LIFE
        self._time = np.where(over, 0, self._time + 1)
        observation, info = self._seen()
        nothing = np.zeros(self.num_envs)
        return observation, nothing, self._time >= LIVES * LIFE, nothing.astype(bool), info

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        return [bytes([int(time)]) for time in self._time[where]]

    def _seen(self) -> tuple[np.ndarray, dict[str, Any]]:
        seen = (self._generator.random((self.num_envs, SIDE, SIDE, 1)) < 0.5).astype(np.float32)
        lives = LIVES - self._time // LIFE
        seen[:, 0, 1, 0] = lives == LIVES
        seen[:, 2, 2, 0] = 1.0
        return seen, {"lives": lives} if self._tells_lives else {}


def cells() -> DownscaledCells:
    return DownscaledCells(SPACE, width=SIDE, height=SIDE, levels=2)


def test_what_shows_the_lives_is_told_from_what_flickers():
    envs = Dying()
    found = after_lost_lives(envs, cells(), seed=0)
    assert found.steps == 5 * 600
    np.testing.assert_array_equal(np.flatnonzero(~found.telling), [1])
    times = np.array([start.snapshot[0] for start in found.lost])
    assert len(times) > 20
    assert set(times % LIFE) == {10, 20, 30, 40}
    assert times.min() > LIFE  # none in the first life
    # Nothing is done in between, which could lead away from where a life begins.
    actions, before = np.concatenate(envs.actions), np.concatenate(envs.times)
    waiting = (before > LIFE) & (before < LIVES * LIFE) & (before % LIFE < 40)
    assert (actions[waiting] == 1).all()
    assert set(actions[~waiting].tolist()) == {1, 2, 3}


def test_without_lives_all_areas_tell():
    found = after_lost_lives(Dying(tells_lives=False), cells(), seed=0)
    assert found.lost == []
    assert found.telling.all()
    assert found.steps == 0


def test_areas_that_do_not_tell_make_no_difference():
    telling = np.ones(SIDE * SIDE, bool)
    telling[1] = False
    named = TellingCells(cells(), telling)
    seen = np.zeros((3, SIDE, SIDE, 1), np.float32)
    seen[1, 0, 1] = 1
    seen[2, 0, 2] = 1
    one, same, other = named(seen, np.ones(3, bool)).names
    assert one == same != other
