"""The agent that explores for an archive: random actions, each taken many times in a row.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919), methods, "exploration
phase".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.stopwatch import Stopwatch
from ngu_agents.base import Figures, Step


class ArchiveAgent:
    """Takes its last action once more, or draws another one.

    Args:
        action_space: of a single environment.
        num_envs: environments E.
        repeat_probability: chance that the last action is taken once more.
        seed: of its actions.

    Raises:
        TypeError: the actions are not Discrete.
    """

    def __init__(
        self,
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        repeat_probability: float,
        seed: int,
    ) -> None:
        if not isinstance(action_space, gymnasium.spaces.Discrete):
            raise TypeError(f"an archive's agent repeats Discrete actions, got {action_space}")
        self.stopwatch = Stopwatch()
        self._count, self._start = int(action_space.n), int(action_space.start)
        self._repeat_probability = repeat_probability
        self._unpaid = np.zeros(num_envs, dtype=np.float32)
        self._generator = Seeds(seed).numpy("archive actions")
        self._action = self._generator.integers(self._count, size=num_envs)

    @property
    def reward_int(self) -> np.ndarray:
        """Zeros [E]: nothing is paid."""
        return self._unpaid

    def begin(self, observation: np.ndarray) -> None:
        """Nothing to take note of."""

    def act(self) -> np.ndarray:
        """Actions [E]."""
        num_envs = len(self._action)
        another = self._generator.random(num_envs) >= self._repeat_probability
        drawn = self._generator.integers(self._count, size=num_envs)
        self._action = np.where(another, drawn, self._action)
        return self._action + self._start

    def observe(self, step: Step) -> Figures:
        """Nothing to learn from."""
        return {}

    def learn(self) -> Figures:
        """Nothing to learn."""
        return {}

    def status(self) -> Figures:
        """None; the archive's are its environments'."""
        return {}

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The generator's state and the last actions; the archive is the environments'."""
        return {"generator": generator_state(self._generator), "action": self._action}

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned."""
        set_generator_state(self._generator, state["generator"])
        self._action = state["action"]
        return True

    def files(self, state: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def close(self) -> None:
        """Nothing to free."""
