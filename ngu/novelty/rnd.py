"""RND: how badly a trained network predicts a fixed random one.

Source: Burda et al., "Exploration by Random Network Distillation" (arXiv 1810.12894).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ngu.novelty.base import IntrinsicReward
from ngu.novelty.config import TrainingConfig
from ngu.novelty.distillation import Distiller
from ngu.novelty.optimisers import Optimisers
from ngu.precision import Precision, autocast, resolve_precision
from ngu.seeding import Seeds


@dataclass(frozen=True)
class RNDConfig(TrainingConfig):
    """Settings of random network distillation."""

    distillation_size: int = 512
    """Width of the outputs of the random network and its predictor."""
    observation_bound: float = 5.0
    """Bound, in standard deviations, of the whitened observations that the networks get."""
    learning_rate: float = 1e-4
    """Adam's step size."""
    adam_epsilon: float = 1e-8
    """Adam's term that keeps small gradients small."""


class RND(IntrinsicReward):
    """r = |predictor(x_t) - target(x_t)|^2 of the whitened state reached.

    The paper divides it by the running standard deviation of discounted intrinsic returns, which
    belongs to whoever forms returns.

    Args:
        observation_space: Space of one environment's observations.
        action_space: Space of one environment's actions.
        num_envs: Environments, E.
        config: Settings; None takes the defaults.
        seed: Draws the networks' weights.
        device: Where everything computes.
        precision: What the convolutions compute in: ``"bfloat16"``, ``"float32"`` or ``"auto"``.

    Raises:
        TypeError: A space is of a kind that is not read; names the wrapper that flattens it.
        ValueError: There is no environment, or the precision is unknown.
    """

    lifelong_of = "state"

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        *,
        config: RNDConfig | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(observation_space, action_space, num_envs, device)
        self.config = config = RNDConfig() if config is None else config
        self.dtype = resolve_precision(precision, self.device)
        self.distiller = Distiller(
            observation_space,
            config.distillation_size,
            bound=config.observation_bound,
            generator=Seeds(seed).torch("distillation"),
            dtype=self.dtype,
            device=self.device,
        )
        self._optimisers = Optimisers(
            {"distillation": self.distiller.trained.predictor.parameters()},
            learning_rate=config.learning_rate,
            adam_epsilon=config.adam_epsilon,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._learned["optimisers"] = self._optimisers

    def publish(self) -> None:
        """Hand the predictor's newest weights to the scoring side, and its moments back."""
        self.distiller.publish()

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        """Nothing is kept of an episode."""

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._of(where, self._error, obs_t), {}

    def _error(self, obs_t: Tensor) -> Tensor:
        """The error [B] of states reached, which the moments take in."""
        if self.training:
            self.distiller.observe(obs_t)
        return self.distiller.error(obs_t)

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        return self.distiller.error(obs_t)

    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        with autocast(self.device, self.dtype):
            loss = self.distiller.loss(obs_t)
        return self._optimisers.step({"distillation": loss})
