"""Where ways begin: in new episodes, and in those that have lost lives already.

After a lost life many games put the agent back to where it came from, and show what it has left. A
policy that has only seen ways of the first life does not know that state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, UInt8

from ngu.seeding import Seeds
from ngu_agents.archive.cells import Cells, Named
from ngu_agents.archive.trials import Snapshots
from ngu_agents.archive.ways import Beginning

# Steps of random actions, each taken once more with this chance, and after which steps from a lost
# life on the agent may be back. Up to then the first action is taken, or what a life begins with
# would be left behind already.
_STEPS, _REPEAT, _BACK = 600, 0.9, (10, 20, 30, 40)
# Times that an area must have been seen with a number of lives, to be told by.
_SEEN = 200


class Beginnings(NamedTuple):
    """Where ways begin."""

    lost: list[Beginning]
    """States soon after a lost life, before anything was done."""
    telling: Bool[np.ndarray, " N"]
    """Which areas of a cell tell of something other than lives."""
    steps: int
    """Taken to find that out."""


def after_lost_lives(envs: VectorEnv, cells: Cells, *, seed: int) -> Beginnings:
    """Play at random, and take note of what comes after a lost life.

    An area whose shades with one number of lives are never those with another one shows the lives.

    Args:
        envs: E environments in next-step autoreset that can go back.
        cells: of their states, a byte of the name for each area.
        seed: of the actions.
    """
    # Environments that can go back have these methods, which gymnasium's type does not tell.
    returning: Snapshots = envs  # pyright: ignore[reportAssignmentType]
    space = envs.single_action_space
    assert isinstance(space, Discrete)
    generator = Seeds(seed).numpy("after lost lives")
    num_envs = envs.num_envs
    everywhere = np.ones(num_envs, dtype=bool)
    observation, info = envs.reset()
    shades = _areas(cells(observation, everywhere))
    if "lives" not in info:
        return Beginnings([], np.ones(shades.shape[1], dtype=bool), 0)
    lives = np.array(info["lives"])
    seen: dict[int, np.ndarray] = {}
    since = np.full(num_envs, _STEPS)
    first, end = space.start, space.start + space.n
    action = generator.integers(first, end, size=num_envs)
    lost: list[Beginning] = []
    score, over = np.zeros(num_envs), np.zeros(num_envs, dtype=bool)
    for _ in range(_STEPS):
        for left in np.unique(lives).tolist():
            counts = seen.setdefault(left, np.zeros((shades.shape[1], 256), np.int64))
            for row in shades[lives == left]:
                counts[np.arange(len(row)), row] += 1
        another = generator.random(num_envs) >= _REPEAT
        drawn = generator.integers(first, end, size=num_envs)
        action = np.where(another, drawn, action)
        action[since < _BACK[-1]] = first
        observation, reward, terminated, truncated, info = envs.step(action)
        score = np.where(over, 0.0, score + reward)
        over = terminated | truncated
        shades = _areas(cells(observation, everywhere))
        since = np.where(info["lives"] < lives, 0, since + 1)
        since[over | (info["lives"] > lives)] = _STEPS
        lives = np.array(info["lives"])
        back = np.isin(since, _BACK) & ~over
        if back.any():
            lost += map(Beginning, returning.snapshots(back), score[back].tolist())
    telling = np.ones(shades.shape[1], dtype=bool)
    known = [counts > 0 for counts in seen.values() if counts[0].sum() >= _SEEN]
    for place, one in enumerate(known):
        for other in known[:place]:
            telling &= (one & other).any(1)
    return Beginnings(lost, telling, _STEPS * num_envs)


def _areas(named: Named) -> UInt8[np.ndarray, "E N"]:
    return np.frombuffer(b"".join(named.names), np.uint8).reshape(len(named.names), -1)


class TellingCells(Cells):
    """Cells without the areas that tell of lives alone.

    Args:
        cells: of all areas, a byte of the name for each.
        telling: which areas count, [N].
    """

    def __init__(self, cells: Cells, telling: Bool[np.ndarray, " N"]) -> None:
        self._cells, self._telling = cells, telling

    def __call__(self, observations: np.ndarray, where: Bool[np.ndarray, " E"]) -> Named:
        """The cells of observations [E, ...]."""
        named = self._cells(observations, where)
        shades = _areas(named) * self._telling
        return Named([name.tobytes() for name in shades], named.embeddings)
