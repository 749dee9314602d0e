"""Counts the distinct rooms seen: over all of training, and in each episode."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32

ROOMS = 256  # a room is a byte of the console's memory


class RoomCounter:
    """Distinct rooms, fed with info["room"] of each reset and step.

    Args:
        num_envs: Number of environments E.

    Attributes:
        seen: bool [256], rooms seen by any environment at any time.
        seen_in_episode: bool [E, 256], rooms seen in the episode that each environment is in.
    """

    def __init__(self, num_envs: int):
        self.seen = np.zeros(ROOMS, bool)
        self.seen_in_episode = np.zeros((num_envs, ROOMS), bool)
        self._everyone = np.arange(num_envs)

    @property
    def total(self) -> int:
        """Distinct rooms seen so far."""
        return int(self.seen.sum())

    def per_episode(self) -> Int[np.ndarray, " E"]:
        """Distinct rooms of each environment's present episode."""
        return self.seen_in_episode.sum(1)

    def begin(self, rooms: Int32[np.ndarray, " E"]) -> None:
        """Begins an episode everywhere; `rooms` is info["room"] of `envs.reset()`."""
        self.seen_in_episode[:] = False
        self._add(rooms)

    def update(
        self, rooms: Int32[np.ndarray, " E"], resets: Bool[np.ndarray, " E"]
    ) -> Int[np.ndarray, " E"]:
        """Takes in one step.

        Args:
            rooms: info["room"] of the step.
            resets: Where the step was a reset step, that is where the step before ended an episode.

        Returns:
            Distinct rooms of the episode so far; where an episode ends at this step, all of it.
        """
        self.seen_in_episode[resets] = False
        self._add(rooms)
        return self.per_episode()

    def _add(self, rooms: np.ndarray) -> None:
        self.seen[rooms] = True
        self.seen_in_episode[self._everyone, rooms] = True

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that is counted."""
        return {"seen": self.seen.copy(), "seen_in_episode": self.seen_in_episode.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: The state is that of another number of environments.
        """
        shape = state["seen_in_episode"].shape
        if shape != self.seen_in_episode.shape:
            raise ValueError(
                f"state must be that of {len(self.seen_in_episode)} environments, got {shape[0]}"
            )
        self.seen[:] = state["seen"]
        self.seen_in_episode[:] = state["seen_in_episode"]
