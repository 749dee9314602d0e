"""Bonuses whose episodic part is the distance to what an environment remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.embedded import EmbeddingReward
from ngu.novelty.memory import EpisodicMemory
from ngu.novelty.whitening import Whitening
from ngu.seeding import Seeds


@dataclass(frozen=True)
class NearestConfig(EmbeddingConfig):
    """In what a bonus looks for nearest neighbours."""

    neighbours: int = 10
    """Nearest neighbours that a state is compared with, K."""
    memory_capacity: int = 30_000
    """Embeddings that the memory of one environment holds; the oldest make way."""
    episodes_per_memory: int | None = 1
    """Episodes after which an environment's memory is emptied; None never empties it."""
    whiten: bool = False
    """Whether distances are those in a decorrelated embedding, see `Whitening`."""


Config = TypeVar("Config", bound=NearestConfig)


class NearestReward(EmbeddingReward[Config]):
    """A bonus with an `EpisodicMemory` for each environment, whitened if its settings say so.

    One covariance is measured over the embeddings of all environments as they are scored, and all
    memories are whitened alike. It moves over embeddings by the network's earlier versions too:
    were it that of one version, each new version would begin without.
    """

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        config = self.config
        self.memory = EpisodicMemory(
            self.num_envs,
            self.encoder.size,
            config.memory_capacity,
            config.neighbours,
            device=self.device,
        )
        self._memories["memory"] = self.memory
        self.whitening: Whitening | None = None
        if config.whiten:
            self.whitening = Whitening(self.encoder.size, self.device)
            self._memories["whitening"] = self.whitening
            self._learned["covariance"] = self.whitening.covariance

    def load_learned(self, state: Mapping[str, Any]) -> None:
        """Take another bonus's networks and statistics; memories are converted to its whitening."""
        super().load_learned(state)
        if self.whitening is not None:
            self.whitening.measure(self.memory)

    def empties(self, where: Bool[np.ndarray, " E"]) -> Bool[np.ndarray, " E"]:
        """Where the memory is emptied if an episode begins in ``where``."""
        period = self.config.episodes_per_memory
        return where & (self.episodes % period == 0 if period else self.episodes == 0)

    def _embed_each(self, obs: Tensor) -> Tensor:
        return self.encoder(obs, np.ones(self.num_envs, dtype=bool))

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        renewed = self.empties(where)
        self.encoder.renew(renewed)
        self.memory.clear(renewed)
        self.memory.add(self._embed(obs, where), where)

    def _embed(self, obs: Tensor, where: np.ndarray) -> Tensor:
        """Embeddings [E, D] as the memory holds them; rows not in ``where`` mean nothing."""
        embeddings = self.encoder(obs, where)
        return embeddings if self.whitening is None else self.whitening(embeddings)

    def _embed_scored(self, obs_t: Tensor, where: np.ndarray) -> Tensor:
        """As `_embed`; in training the covariance takes the embeddings in first."""
        embeddings = self.encoder(obs_t, where)
        if self.whitening is None:
            return embeddings
        if self.training and where.any():
            rows = torch.from_numpy(where).to(self.device)
            if self.whitening.observe(embeddings[rows], self.memory):
                self._unit_changed()
        return self.whitening(embeddings)

    def _unit_changed(self) -> None:
        """Forget what was measured of distances, which are whitened from now on."""
