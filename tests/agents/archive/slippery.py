"""A way beside pits that chance breaks, for tests of going along it."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from ngu_agents.archive.cells import DownscaledCells
from ngu_agents.archive.returning import Trajectory
from ngu_agents.archive.splitting import SplittingConfig
from ngu_agents.archive.ways import Way, played
from ngu_envs.vectorized import VectorizedEnv

SIDE = 9
MOVES = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
KEY, DOOR = (SIDE // 2, SIDE // 2), (SIDE - 1, SIDE - 1)
CONFIG = SplittingConfig(states=12, spacing=4)


class Slippery(VectorizedEnv):
    """Down stairs to a key (1 point), and on to a door (10 points); beside the stairs are pits.

    With a chance the move before is made once more. Only the place is seen.
    """

    def __init__(self, num_envs: int, chance: float = 0.3) -> None:
        space = Box(0, 1, (1, SIDE, SIDE), np.uint8)
        super().__init__(num_envs, 0, space, Discrete(4), None, max_steps=200)
        self._chance = chance
        self._place = np.zeros((num_envs, 2), np.int64)
        self._before = np.zeros(num_envs, np.int64)
        self._has_key = np.zeros(num_envs, bool)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            **super()._arrays(),
            "place": self._place,
            "before": self._before,
            "has_key": self._has_key,
        }

    def _begin(self, where: np.ndarray) -> None:
        self._place[where], self._before[where], self._has_key[where] = 0, 1, False

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slips = self._generator.random(self.num_envs) < self._chance
        made = np.where(slips, self._before, actions)
        self._before[where] = made[where]
        self._place[where] = np.clip(self._place + MOVES[made], 0, SIDE - 1)[where]
        key = (self._place == KEY).all(1) & ~self._has_key & where
        self._has_key |= key
        door = (self._place == DOOR).all(1) & self._has_key & where
        row, column = self._place.T
        pit = (np.abs(row - column) >= 3) & where
        return (key + 10.0 * door).astype(np.float32), door | pit

    def _observe(self) -> np.ndarray:
        seen = np.zeros((self.num_envs, 1, SIDE, SIDE), np.uint8)
        seen[np.arange(self.num_envs), 0, *self._place.T] = 1
        return seen


def cells_of(envs: Any) -> DownscaledCells:
    return DownscaledCells(envs.single_observation_space, width=SIDE, height=SIDE, levels=2)


def way() -> Way:
    envs = Slippery(1, chance=0.0)
    envs.reset()
    root = envs.snapshots(np.array([True]))[0]
    return played(envs, cells_of(envs), Trajectory(root, bytes([1, 0] * (SIDE - 1)), 11.0))


def chains(shown: Any) -> list[list[int]]:
    """The steps to each end of an episode, from the first on."""
    found = []
    for last in np.flatnonzero(shown.terminated):
        chain = [int(last)]
        while shown.previous[chain[-1]] >= 0:
            chain.append(int(shown.previous[chain[-1]]))
        found.append(chain[::-1])
    return found
