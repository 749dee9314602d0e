"""The baseline: actions drawn uniformly, nothing learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.stopwatch import Stopwatch
from ngu_agents.base import Figures, Step


class RandomAgent:
    """Draws every action uniformly from the action space.

    Args:
        action_space: of a single environment; any kind.
        num_envs: environments E.
        seed: of its generator.
    """

    def __init__(self, action_space: gymnasium.Space[Any], num_envs: int, *, seed: int) -> None:
        self.stopwatch = Stopwatch()
        self._unpaid = np.zeros(num_envs, dtype=np.float32)
        self._space = batch_space(action_space, num_envs)
        self._space.seed(Seeds(seed).integer("random actions"))

    @property
    def reward_int(self) -> np.ndarray:
        """Zeros [E]: nothing is paid."""
        return self._unpaid

    def begin(self, observation: np.ndarray) -> None:
        """Nothing to take note of."""

    def act(self) -> np.ndarray:
        """Actions [E], uniformly drawn."""
        with self.stopwatch("inference"):
            return self._space.sample()

    def observe(self, step: Step) -> Figures:
        """Nothing to learn from."""
        return {}

    def learn(self) -> Figures:
        """Nothing to learn."""
        return {}

    def status(self) -> Figures:
        """No figures."""
        return {}

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": generator_state(self._space.np_random)}

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned."""
        set_generator_state(self._space.np_random, state["generator"])
        return True

    def files(self, state: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def close(self) -> None:
        """Nothing to free."""
