"""Whether the embedding that novelty is measured in collapses, seen while it happens.

Sources: effective rank, Roy and Vetterli (EUSIPCO 2007); total correlation, Watanabe (IBM Journal
of Research and Development 4, 1960), here by the covariance alone, as if all were Gaussian.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float32

from ngu.analysis.gaussian_information import total_correlation
from ngu.analysis.resolution import RESOLUTION, spread
from ngu.analysis.spectrum import effective_rank, eigenvalues
from ngu.novelty.embedded import EmbeddingReward
from ngu_agents.base import Figures
from ngu_agents.latent_memory import LatentFollower
from ngu_agents.loop import Progress

EVERY = 32
"""Steps of all environments between two looks, so that a look costs little."""
STATES = 512
"""Of the latest looks, that figures are of; of more than 256 dimensions, two for each."""


class EmbeddingTracker:
    """Effective rank and redundancy of a bonus's embedding, on states that were reached lately.

    Args:
        bonus: whose embedding; anything else has none and is passed over.
        latents: what the bonus sees in place of the observations.
    """

    def __init__(self, bonus: object, latents: LatentFollower | None = None) -> None:
        self._bonus = bonus if isinstance(bonus, EmbeddingReward) else None
        self._latents = latents
        self._steps = 0
        self._states = np.empty((0, 0), np.float32)

    def update(self, progress: Progress) -> None:
        """Take one step of all environments."""
        self._steps += 1
        if self._bonus is None or self._steps % EVERY:
            return
        latents = self._latents
        seen = self._bonus.embed(progress.step.observation if latents is None else latents.latents)
        known = self._states if len(self._states) else seen[:0]
        self._states = np.concatenate([known, seen])[-max(STATES, 2 * seen.shape[1]) :]

    def collect(self) -> Figures:
        """Effective rank and redundancy; nothing before states are twice as many as dimensions."""
        if len(self._states) < max(2, 2 * self._states.shape[1]):
            return {}
        rank, redundancy = rank_and_redundancy(self._states)
        return {"embedding/effective_rank": rank, "embedding/redundancy": redundancy}

    def state_dict(self) -> dict[str, Any]:
        """The states, and how many steps were taken."""
        return {"states": self._states, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._states, self._steps = state["states"], state["steps"]


def rank_and_redundancy(embeddings: Float32[np.ndarray, "N D"]) -> tuple[float, float]:
    """Return the effective rank, and the share of bits that dimensions repeat of one another.

    The share is total correlation over the sum of the dimensions' entropies, both of Gaussians of
    this covariance, at a sixteenth of the embedding's spread. A collapsed embedding has rank 0 and
    redundancy 0: nothing is left to repeat.

    Args:
        embeddings: the states; with N not far above D the rank is a little low and the redundancy a
            little high.
    """
    step = RESOLUTION * spread(embeddings)
    if step == 0:
        return 0.0, 0.0
    covariance = np.atleast_2d(np.cov(embeddings, rowvar=False, dtype=np.float64))
    rank = float(effective_rank(eigenvalues(covariance[None]))[0])
    noisy = covariance + step**2 / 12 * np.eye(len(covariance))
    entropy = 0.5 * np.log2(2 * math.pi * math.e * noisy.diagonal()) - math.log2(step)
    total = float(np.maximum(entropy, 0).sum())
    return rank, float(total_correlation(noisy)) / total if total > 0 else 0.0
