"""DeepSea: only one of 2^N action sequences finds the treasure, and each step towards it costs.

Source: Osband et al., Behaviour Suite for Reinforcement Learning (arXiv 1908.03568), deep_sea.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from ngu_envs.checks import require_integer
from ngu_envs.vectorized import VectorizedEnv

MOVE_COST = 0.01


@dataclass(frozen=True)
class DeepSeaConfig:
    """Which sea."""

    size: int = 10
    """Rows and columns N, also the steps of an episode."""
    mapping_seed: int = 42
    """Decides which of the two actions means right in each cell; apart from the run's seed, so that
    an agent is evaluated in the sea that it learned in."""

    def __post_init__(self):
        require_integer("size", self.size, minimum=2)
        require_integer("mapping_seed", self.mapping_seed, minimum=0)


class DeepSea(VectorizedEnv):
    """A diver starts in the top left cell of an N x N grid and sinks one row each step.

    One of the two actions moves right and costs 0.01 / N, the other one moves left for free; which
    is which is drawn for each cell. Going right from the last column, which only N rights in a row
    reach in time, pays 1: the best return is 0.99, all others are at most 0. An episode terminates
    after N steps.

    Observation: uint8 [1, N, N] in {0, 1}, the diver's cell is 1; all zeros at the end, below the
    last row. `info["row"]` and `info["column"]`, int64 [E]: where it is. Actions: 2. Nothing is
    random, so the seed changes nothing.

    Args:
        num_envs: Number of environments.
        seed: See `RestorableVectorEnv`.
        config: Which sea.
    """

    def __init__(self, num_envs: int, seed: int, config: DeepSeaConfig | None = None):
        self.config = config or DeepSeaConfig()
        size = self.config.size
        space = Box(0, 1, (1, size, size), np.uint8)
        # The last row ends the episode by itself: the time limit is never reached.
        super().__init__(num_envs, seed, space, Discrete(2), None, max_steps=size + 1)
        mapping_generator = np.random.default_rng(self.config.mapping_seed)
        self.right_action = mapping_generator.integers(0, 2, size=(size, size))
        self._row = np.zeros(self.num_envs, np.int64)
        self._column = np.zeros(self.num_envs, np.int64)
        self._everyone = np.arange(self.num_envs)

    @property
    def repeatable(self) -> bool:
        """Whether the same actions lead from a snapshot to the same states every time."""
        return True

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**super()._arrays(), "row": self._row, "column": self._column}

    def _begin(self, where: np.ndarray) -> None:
        self._row[where] = 0
        self._column[where] = 0

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self.config.size
        row = np.minimum(self._row, size - 1)  # those below the last row are about to reset
        right = where & (actions == self.right_action[row, self._column])
        treasure = right & (self._column == size - 1)
        rewards = (treasure - right * (MOVE_COST / size)).astype(np.float32)
        moved = np.clip(self._column + np.where(right, 1, -1), 0, size - 1)
        self._column[...] = np.where(where, moved, self._column)
        self._row += where
        return rewards, where & (self._row == size)

    def _info(self) -> dict[str, Any]:
        return {"row": self._row.copy(), "column": self._column.copy()}

    def _observe(self) -> np.ndarray:
        size = self.config.size
        observations = np.zeros((self.num_envs, 1, size, size), np.uint8)
        diving = self._row < size
        observations[self._everyone[diving], 0, self._row[diving], self._column[diving]] = 1
        return observations
