"""Never Give Up: novelty within the episode, times novelty over the agent's life.

Source: Badia et al., 2020 (arXiv 2002.06038), section 2, Algorithm 1 and tables 6 and 7.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ngu.moments import RunningMoments
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.distillation import Distiller
from ngu.novelty.embedding import InverseDynamics
from ngu.novelty.encoder import Encoder
from ngu.novelty.kernel import episodic_novelty, lifelong_modulator
from ngu.novelty.memory import EpisodicMemory
from ngu.novelty.optimisers import Optimisers
from ngu.precision import Precision, autocast, resolve_precision
from ngu.seeding import Seeds


@dataclass(frozen=True)
class NGUConfig:
    """Settings of NGU's intrinsic reward; the defaults are the paper's for Atari."""

    embedding_size: int = 32
    """Width of the embedding, D."""
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
    learning_rate: float = 5e-4
    """Adam's step size for the inverse dynamics and the predictor."""
    adam_epsilon: float = 1e-4
    """Adam's term that keeps small gradients small."""
    weight_decay: float = 1e-5
    """L2 penalty on the inverse dynamics, added to the gradient before Adam."""
    max_gradient_norm: float = 40.0
    """Norm to which each network's gradient is clipped."""
    statistics_window: int = 100_000
    """Scored states over which the moments of distances and errors move; old ones fade."""
    embedding_versions: int = 4
    """Embeddings kept side by side, so that an environment keeps one while it keeps its memory."""

    def __post_init__(self) -> None:
        for name in (
            "embedding_size",
            "neighbours",
            "memory_capacity",
            "episodes_per_memory",
            "epsilon",
            "pseudo_count",
            "max_similarity",
            "distillation_size",
            "observation_bound",
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "statistics_window",
            "embedding_versions",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("cluster_distance", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.max_modulator >= 1:
            raise ValueError(f"max_modulator must be at least 1, got {self.max_modulator}")


class NGU(IntrinsicReward):
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

    Args:
        observation_space: Space of one environment's observations.
        action_space: Space of one environment's actions.
        num_envs: Environments, E.
        config: Settings.
        seed: Draws the networks' weights.
        device: Where everything computes.
        precision: What the convolutions compute in: ``"bfloat16"``, ``"float32"`` or ``"auto"``.

    Attributes:
        parts: ``"episodic_novelty"`` and ``"lifelong_modulator"`` of the last score.

    Raises:
        TypeError: A space is of a kind that is not read; names the wrapper that flattens it.
        ValueError: There is no environment, or the precision is unknown.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        *,
        config: NGUConfig | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(observation_space, action_space, num_envs, device)
        self.config = config = NGUConfig() if config is None else config
        self.dtype = resolve_precision(precision, self.device)
        seeds = Seeds(seed)

        self.inverse_dynamics = InverseDynamics(
            observation_space,
            action_space,
            config.embedding_size,
            generator=seeds.torch("inverse dynamics"),
        ).to(self.device)
        self.encoder = Encoder(
            self.inverse_dynamics.embedding,
            config.embedding_size,
            num_envs,
            versions=config.embedding_versions,
            dtype=self.dtype,
        )
        self.distiller = Distiller(
            observation_space,
            config.distillation_size,
            bound=config.observation_bound,
            generator=seeds.torch("distillation"),
            dtype=self.dtype,
            device=self.device,
        )
        self._optimisers = Optimisers(
            {
                "inverse_dynamics": self.inverse_dynamics.parameters(),
                "distillation": self.distiller.trained.predictor.parameters(),
            },
            learning_rate=config.learning_rate,
            adam_epsilon=config.adam_epsilon,
            weight_decay={"inverse_dynamics": config.weight_decay},
            max_gradient_norm=config.max_gradient_norm,
        )
        self.memory = EpisodicMemory(
            num_envs,
            config.embedding_size,
            config.memory_capacity,
            config.neighbours,
            device=self.device,
        )
        window = config.statistics_window
        self._distances = RunningMoments((), self.device, window * config.neighbours)
        self._errors = RunningMoments((), self.device, window)

    def publish(self) -> None:
        """Hand the newest weights to the scoring side, and its observation moments back.

        The predictor scores with its new weights from the next call on, an embedding from the next
        time on that an environment's memory is emptied.
        """
        self.encoder.publish()
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

    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        with autocast(self.device, self.dtype):
            inverse_loss, accuracy = self.inverse_dynamics.loss(obs_tm1, action_tm1, obs_t)
            distillation_loss = self.distiller.loss(obs_t)
        metrics = self._optimisers.step(
            {"inverse_dynamics": inverse_loss, "distillation": distillation_loss}
        )
        if accuracy is not None:
            metrics["inverse_dynamics_accuracy"] = accuracy.item()
        return metrics

    def _learned(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._learning_parts().items()}

    def _set_learned(self, state: dict[str, Any]) -> None:
        for name, part in self._learning_parts().items():
            part.load_state_dict(state[name])

    def _learning_parts(self) -> dict[str, Any]:
        return {
            "optimisers": self._optimisers,
            "distances": self._distances,
            "errors": self._errors,
        }

    def _memories(self) -> dict[str, Any]:
        return {"memory": self.memory.state_dict(), "versions": self.encoder.versions_in_use()}

    def _set_memories(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.encoder.use_versions(state["versions"])
