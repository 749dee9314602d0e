"""E3B: how far a state lies outside the ellipsoid of what its episode has shown.

Source: Henaff et al., "Exploration via Elliptical Episodic Bonuses" (arXiv 2210.05805).
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from torch import Tensor

from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.ellipsoid import EllipsoidMemory
from ngu.novelty.embedded import EmbeddingReward
from ngu.seeding import Seeds


@dataclass(frozen=True)
class E3BConfig(EmbeddingConfig):
    """Settings of E3B."""

    ridge: float = 0.1
    """What the episode's ellipsoid begins with, lambda."""


class E3B(EmbeddingReward[E3BConfig]):
    """r = f(x_t)' C^-1 f(x_t) with C = lambda I + sum of f f' over the episode's earlier states.

    Algorithm 1 of the paper, where f is the inverse dynamics' embedding. As far as lambda is small,
    C^-1 whitens already, by the episode alone; so there is no setting for it. The arguments are
    those of `EmbeddingReward`.
    """

    CONFIG = E3BConfig

    def _build(self, observation_space: gym.Space, seeds: Seeds) -> None:
        self.memory = EllipsoidMemory(
            self.num_envs, self.encoder.size, self.config.ridge, self.device
        )
        self._memories["memory"] = self.memory

    def _embed_each(self, obs: Tensor) -> Tensor:
        return self.encoder(obs, np.ones(self.num_envs, dtype=bool))

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        self.encoder.renew(where)
        self.memory.clear(where)
        self.memory.add(self.encoder(obs, where), where)

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.memory.add(self.encoder(obs_t, where), where), {}
