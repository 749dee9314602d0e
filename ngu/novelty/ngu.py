"""Never Give Up: novelty within the episode, times novelty over the agent's life.

Source: Badia et al., 2020 (arXiv 2002.06038), section 2, Algorithm 1 and tables 6 and 7.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from ngu.moments import RunningMoments
from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.distillation import Distiller
from ngu.novelty.embedded import EmbeddingReward
from ngu.novelty.kernel import episodic_novelty, lifelong_modulator
from ngu.novelty.memory import EpisodicMemory
from ngu.seeding import Seeds


@dataclass(frozen=True)
class NGUConfig(EmbeddingConfig):
    """Settings of NGU's intrinsic reward; the defaults are the paper's for Atari."""

    neighbours: int = 10
    """Nearest neighbours that a state is compared with, K."""
    memory_capacity: int = 30_000
    """Embeddings that the memory of one environment holds; the oldest make way."""
    episodes_per_memory: int = 1
    """Episodes after which an environment's memory is emptied."""
    epsilon: float = 1e-4
    """Width of the kernel; sets the reward's scale (1e-2 on Disco Maze)."""
    cluster_distance: float = 0.008
    """Normalised squared distance up to which two states count as the same."""
    pseudo_count: float = 0.001
    """Keeps the novelty of a state without near neighbours finite: at most its inverse."""
    max_similarity: float = 8.0
    """Similarity above which a state earns nothing."""
    max_modulator: float = 5.0
    """Largest factor by which lifelong novelty raises episodic novelty, L."""
    distillation_size: int = 128
    """Width of the outputs of the random network and its predictor."""
    observation_bound: float = 5.0
    """Bound, in standard deviations, of the whitened observations that the random network gets."""
    statistics_window: int = 100_000
    """Scored states over which the moments of distances and errors move; old ones fade."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.max_modulator >= 1:
            raise ValueError(f"max_modulator must be at least 1, got {self.max_modulator}")


class NGU(EmbeddingReward[NGUConfig]):
    """The intrinsic reward of Never Give Up: r = r_episodic * min(max(alpha, 1), L).

    The running mean of squared distances is that of the distances to all neighbours found
    (Algorithm 1; section 2 of the paper speaks of the k-th only). It takes in the distances of all
    environments of a call before any of them is normalised with it, so that it is right from the
    first score on and no environment comes first. The moments of the distillation errors and of the
    observations likewise. Distances change as the embedding learns, and errors shrink as the
    predictor does, so both are moving averages: up to ``statistics_window`` scored states all count
    the same, from then on old ones fade. Without that, the first errors, which are far the largest,
    would keep every later one below the mean, and the modulator at 1. The paper names a moving
    average, but no rate.

    An environment's embedding changes only when its memory is emptied: distances between two
    networks' embeddings would mean nothing. ``publish`` puts the newest one where no environment
    uses the one it replaces; while there is no such place, the newest waits for a later one.

    The arguments are those of `EmbeddingReward`.

    Attributes:
        parts: ``"episodic_novelty"`` and ``"lifelong_modulator"`` of the last score.
    """

    CONFIG = NGUConfig

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        config = self.config
        self.distiller = Distiller(
            observation_space,
            config.distillation_size,
            bound=config.observation_bound,
            generator=seeds.torch("distillation"),
            dtype=self.dtype,
            device=self.device,
        )
        self.memory = EpisodicMemory(
            self.num_envs,
            self.encoder.size,
            config.memory_capacity,
            config.neighbours,
            device=self.device,
        )
        window = config.statistics_window
        self._distances = RunningMoments((), self.device, window * config.neighbours)
        self._errors = RunningMoments((), self.device, window)
        self._learned |= {"distances": self._distances, "errors": self._errors}
        self._memories["memory"] = self.memory

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"distillation": list(self.distiller.trained.predictor.parameters())}

    def _losses(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, Tensor]:
        return {"distillation": self.distiller.loss(obs_t)}

    def publish(self) -> None:
        """Hand the newest weights to the scoring side, and its observation moments back.

        The predictor scores with its new weights from the next call on, an embedding from the next
        time on that an environment's memory is emptied.
        """
        super().publish()
        self.distiller.publish()

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        renewed = where & (self.episodes % self.config.episodes_per_memory == 0)
        self.encoder.renew(renewed)
        self.memory.clear(renewed)
        self.memory.add(self.encoder(obs, where), where)

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        novelty, modulator = torch.zeros(2, self.num_envs, device=self.device)
        if where.any():
            rows = torch.from_numpy(where).to(self.device)
            novelty[rows] = self._score_episodic(obs_t, where)[rows]
            modulator[rows] = self._score_lifelong(obs_t if where.all() else obs_t[rows])
        parts = {"episodic_novelty": novelty, "lifelong_modulator": modulator}
        return novelty * modulator, parts

    def _score_episodic(self, obs_t: Tensor, mask: np.ndarray) -> Tensor:
        config = self.config
        embeddings = self.encoder(obs_t, mask)
        squared_distances = self.memory.nearest(embeddings, mask)
        self.memory.add(embeddings, mask)
        if self.training:
            self._distances.update(squared_distances[squared_distances.isfinite()])
        return episodic_novelty(
            squared_distances,
            self._distances.mean.float(),
            epsilon=config.epsilon,
            cluster_distance=config.cluster_distance,
            pseudo_count=config.pseudo_count,
            max_similarity=config.max_similarity,
        )

    def _score_lifelong(self, obs_t: Tensor) -> Tensor:
        if self.training:
            self.distiller.observe(obs_t)
        error = self.distiller.error(obs_t)
        if self.training:
            self._errors.update(error)
        return lifelong_modulator(
            error,
            self._errors.mean,
            self._errors.std,
            maximum=self.config.max_modulator,
        )
