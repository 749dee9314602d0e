"""Never Give Up: novelty within the episode, times novelty over the agent's life.

Source: Badia et al., 2020 (arXiv 2002.06038), section 2, Algorithm 1 and tables 6 and 7.
"""

import copy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from ngu.moments import RunningMoments
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.distillation import RandomNetworkDistillation
from ngu.novelty.embedding import InverseDynamics, LastInFloat32
from ngu.novelty.kernel import episodic_novelty, lifelong_modulator
from ngu.novelty.memory import EpisodicMemory
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
        self.distillation = RandomNetworkDistillation(
            observation_space,
            config.distillation_size,
            bound=config.observation_bound,
            generator=seeds.torch("distillation"),
        ).to(self.device)
        self._optimisers = {
            "inverse_dynamics": torch.optim.Adam(
                self.inverse_dynamics.parameters(),
                lr=config.learning_rate,
                eps=config.adam_epsilon,
                weight_decay=config.weight_decay,
            ),
            "distillation": torch.optim.Adam(
                self.distillation.predictor.parameters(),
                lr=config.learning_rate,
                eps=config.adam_epsilon,
            ),
        }
        numeric_shape = self.observation_spec.numeric_shape
        self._training_moments = RunningMoments(numeric_shape, self.device)

        self.scoring_embeddings = nn.ModuleList(
            _frozen(self.inverse_dynamics.embedding, self.dtype)
            for _ in range(config.embedding_versions)
        )
        self.scoring_distillation = copy.deepcopy(self.distillation).requires_grad_(False)
        for network in (self.scoring_distillation.target, self.scoring_distillation.predictor):
            network.trunk.to(self.dtype)
        self.memory = EpisodicMemory(
            num_envs,
            config.embedding_size,
            config.memory_capacity,
            config.neighbours,
            device=self.device,
        )
        self._observation_moments = RunningMoments(numeric_shape, self.device)
        window = config.statistics_window
        self._distances = RunningMoments((), self.device, window * config.neighbours)
        self._errors = RunningMoments((), self.device, window)
        self._newest = 0
        self._version_of = np.zeros(num_envs, dtype=np.int64)
        self._episodes = np.zeros(num_envs, dtype=np.int64)

    @torch.no_grad()
    def publish(self) -> None:
        """Hand the newest weights to the scoring side, and its observation moments back.

        The predictor scores with its new weights from the next call on, an embedding from the next
        time on that an environment's memory is emptied.
        """
        _copy_weights(self.distillation.predictor, self.scoring_distillation.predictor)
        self._training_moments.copy_(self._observation_moments)
        free = np.setdiff1d(np.arange(self.config.embedding_versions), self._version_of)
        if free.size:
            self._newest = int(free[0])
            _copy_weights(self.inverse_dynamics.embedding, self.scoring_embeddings[self._newest])

    def _begin(self, obs: Tensor, where: Tensor) -> None:
        mask = where.numpy()
        renewed = mask & (self._episodes % self.config.episodes_per_memory == 0)
        self._episodes[mask] += 1
        self._version_of[renewed] = self._newest
        self.memory.clear(renewed)
        self.memory.add(self._embed(obs, mask), mask)

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        mask = where.numpy()
        unbegun = np.flatnonzero(mask & (self._episodes == 0))
        if unbegun.size:
            raise RuntimeError(
                f"no episode has begun in environments {unbegun.tolist()}: call begin first"
            )
        reward, novelty, modulator = (
            torch.zeros(self.num_envs, device=self.device) for _ in range(3)
        )
        parts = {"episodic_novelty": novelty, "lifelong_modulator": modulator}
        if not mask.any():
            return reward, parts
        rows = where.to(self.device)
        novelty[rows] = self._score_episodic(obs_t, mask)[rows]
        modulator[rows] = self._score_lifelong(obs_t if mask.all() else obs_t[rows])
        return novelty * modulator, parts

    def _score_episodic(self, obs_t: Tensor, mask: np.ndarray) -> Tensor:
        config = self.config
        embeddings = self._embed(obs_t, mask)
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
            self._observation_moments.update(self.observation_spec.numeric(obs_t))
        error = self.scoring_distillation(obs_t, self._observation_moments)
        if self.training:
            self._errors.update(error)
        return lifelong_modulator(
            error,
            self._errors.mean,
            self._errors.std,
            maximum=self.config.max_modulator,
        )

    def _embed(self, obs: Tensor, mask: np.ndarray) -> Tensor:
        """Return each environment's embedding by its own version; rows not in the mask are 0."""
        versions = np.unique(self._version_of[mask])
        if mask.all() and versions.size == 1:
            return self.scoring_embeddings[int(versions[0])](obs)
        embeddings = torch.zeros(self.num_envs, self.config.embedding_size, device=self.device)
        for version in versions.tolist():
            rows = torch.from_numpy(mask & (self._version_of == version)).to(self.device)
            embeddings[rows] = self.scoring_embeddings[version](obs[rows])
        return embeddings

    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        with autocast(self.device, self.dtype):
            inverse_loss, accuracy = self.inverse_dynamics.loss(obs_tm1, action_tm1, obs_t)
            distillation_loss = self.distillation(obs_t, self._training_moments).mean()
        losses = {
            "inverse_dynamics_loss": inverse_loss,
            "distillation_loss": distillation_loss,
        }
        for optimiser in self._optimisers.values():
            optimiser.zero_grad()
        metrics = {}
        for name, loss in losses.items():
            loss.backward()
            norm = nn.utils.clip_grad_norm_(
                self._parameters_of(name), self.config.max_gradient_norm
            )
            metrics[name] = loss.item()
            if not (np.isfinite(metrics[name]) and torch.isfinite(norm)):
                raise FloatingPointError(
                    f"{name} is {metrics[name]} and its gradient's norm {norm.item()}; "
                    "no network was changed"
                )
        for optimiser in self._optimisers.values():
            optimiser.step()
        if accuracy is not None:
            metrics["inverse_dynamics_accuracy"] = accuracy.item()
        return metrics

    def _parameters_of(self, loss_name: str) -> list[Tensor]:
        optimiser = self._optimisers[loss_name.removesuffix("_loss")]
        return optimiser.param_groups[0]["params"]

    def get_extra_state(self) -> dict[str, Any]:
        """Return optimisers, moments, the memory and the counters as a plain tree."""
        return {
            "optimisers": {name: o.state_dict() for name, o in self._optimisers.items()},
            "moments": {name: m.state_dict() for name, m in self._moments().items()},
            "memory": self.memory.state_dict(),
            "newest": self._newest,
            "version": torch.from_numpy(self._version_of.copy()),
            "episodes": torch.from_numpy(self._episodes.copy()),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned.

        Raises:
            ValueError: The state is of another number of environments or other sizes.
        """
        self.memory.load_state_dict(state["memory"])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, moments in self._moments().items():
            moments.load_state_dict(state["moments"][name])
        self._newest = int(state["newest"])
        self._version_of[:] = state["version"].numpy()
        self._episodes[:] = state["episodes"].numpy()

    def _moments(self) -> dict[str, RunningMoments]:
        return {
            "observations": self._observation_moments,
            "training_observations": self._training_moments,
            "distances": self._distances,
            "errors": self._errors,
        }


def _frozen(network: LastInFloat32, dtype: torch.dtype) -> LastInFloat32:
    frozen = copy.deepcopy(network).requires_grad_(False)
    frozen.trunk.to(dtype)
    return frozen


def _copy_weights(source: nn.Module, destination: nn.Module) -> None:
    for new, old in zip(source.parameters(), destination.parameters(), strict=True):
        old.copy_(new)
