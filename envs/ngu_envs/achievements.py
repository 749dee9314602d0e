"""Crafter's score, and the counts that it is made of.

Source: Hafner, Benchmarking the Spectrum of Agent Capabilities (arXiv 2109.06780).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float


def crafter_score(success_rates: Float[np.ndarray, " A"]) -> float:
    """Geometric mean of the success rates, S = exp(1/A sum_i ln(1 + s_i)) - 1, in per cent.

    A rate that grows from 0 to 1 per cent counts as much as one that grows from 1 to 3.

    Args:
        success_rates: For each achievement the share of the episodes that unlocked it, in per cent.
    """
    return float(np.expm1(np.log1p(success_rates).mean()))


class AchievementCounter:
    """How many episodes have ended, and how many of them unlocked each achievement.

    Args:
        achievements: Number of achievements A.
    """

    def __init__(self, achievements: int):
        self.episodes = 0
        self.unlocked = np.zeros(achievements, np.int64)

    def update(self, unlocked: Bool[np.ndarray, "N A"]) -> None:
        """Takes the rows of info["achievements"] of the N episodes that end at a step."""
        self.episodes += len(unlocked)
        self.unlocked += unlocked.sum(0)

    def score(self) -> float | None:
        """The score of all episodes so far, in per cent; None before the first has ended."""
        return crafter_score(100 * self.unlocked / self.episodes) if self.episodes else None

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that is counted."""
        return {"episodes": self.episodes, "unlocked": self.unlocked.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.episodes = state["episodes"]
        self.unlocked[:] = state["unlocked"]
