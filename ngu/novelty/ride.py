"""RIDE: how far a step moved the embedding, less so the more often its end was visited.

Source: Raileanu and Rocktaeschel, "RIDE: Rewarding Impact-Driven Exploration" (arXiv 2002.12292),
equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from torch import Tensor

from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.counts import EpisodicCounts
from ngu.novelty.embedded import EmbeddingReward
from ngu.seeding import Seeds


@dataclass(frozen=True)
class RIDEConfig(EmbeddingConfig):
    """Settings of RIDE."""

    memory_capacity: int = 30_000
    """Observations whose visits are counted in one episode; the one known longest makes way."""
    learning_rate: float = 1e-4
    """Adam's step size."""


class RIDE(EmbeddingReward[RIDEConfig]):
    """r = |f(x_t) - f(x_t-1)| / sqrt(N(x_t)).

    N counts the visits of x_t in its episode, this one included. Decided here: the embedding is
    that of inverse dynamics alone; the paper trains it on a forward model's error as well. The
    arguments are those of `EmbeddingReward`.
    """

    CONFIG = RIDEConfig
    lifelong_of = "transition"

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        self.counts = EpisodicCounts(self.num_envs, self.config.memory_capacity)
        self._memories["counts"] = self.counts

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        self.counts.clear(where)
        self.counts.add(obs, where)

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        visits = self.counts.add(obs_t, where)
        impact = self._of(where, self._lifelong, obs_t, obs_tm1)
        return impact / visits.clamp_min(1).sqrt(), {"impact": impact, "visits": visits}

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        return (self.encoder.newest(obs_t) - self.encoder.newest(left[0])).norm(dim=-1)
