"""RE3: how far a state is, in a random embedding, from its k-th nearest neighbour.

Source: Seo et al., "State Entropy Maximization with Random Encoders" (arXiv 2102.09430), equation
3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ngu.novelty.nearest import NearestConfig, NearestReward


@dataclass(frozen=True)
class RE3Config(NearestConfig):
    """Settings of RE3."""

    embedding: Literal["inverse_dynamics", "random"] = "random"
    """One learnt by guessing actions, or a fixed random network, as in the paper."""
    embedding_size: int = 50
    """Width of the embedding, D."""
    neighbours: int = 3
    """The neighbour whose distance counts, k."""
    memory_capacity: int = 10_000
    """Embeddings that the memory of one environment holds; the oldest make way."""
    episodes_per_memory: int | None = None
    """Episodes after which an environment's memory is emptied; None never empties it."""


class RE3(NearestReward[RE3Config]):
    """r = log(1 + |f(x_t) - its k-th nearest neighbour|), f a fixed random network.

    The paper looks for neighbours in the replay; here it is in the states that the environment has
    reached lately. While there are fewer than k, the farthest counts. The arguments are those of
    `EmbeddingReward`.
    """

    CONFIG = RE3Config

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not where.any():
            return torch.zeros(self.num_envs, device=self.device), {}
        embeddings = self._embed_scored(obs_t, where)
        squared_distances = self.memory.nearest(embeddings, where)
        self.memory.add(embeddings, where)
        known = squared_distances.isfinite()
        farthest = torch.where(known, squared_distances, 0).amax(-1)
        return farthest.sqrt().log1p(), {}
