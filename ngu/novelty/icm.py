"""ICM: how badly the next state's embedding is predicted from the last one and the action.

Source: Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction" (arXiv
1705.05363), equation 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.embedded import EmbeddingReward, Embeddings
from ngu.novelty.forward import ForwardModels
from ngu.seeding import Seeds


@dataclass(frozen=True)
class ICMConfig(EmbeddingConfig):
    """Settings of the intrinsic curiosity module."""

    eta: float = 1.0
    """Scale of the reward."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    adam_epsilon: float = 1e-8
    """Adam's term that keeps small gradients small."""


class ICM(EmbeddingReward[ICMConfig]):
    """r = eta / 2 |g(f(x_t-1), a_t-1) - f(x_t)|^2, f the inverse dynamics' embedding.

    Decided here: the forward model's error does not train the embedding. The arguments are those of
    `EmbeddingReward`.
    """

    CONFIG = ICMConfig
    lifelong_of = "transition"

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        self.forward_model = ForwardModels(
            self.encoder.size,
            self.action_spec.size,
            1,
            generator=seeds.torch("forward model"),
            device=self.device,
        )

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"forward": list(self.forward_model.trained.parameters())}

    def _losses(
        self, action_tm1: Tensor, obs_t: Tensor, embeddings: Embeddings
    ) -> dict[str, Tensor]:
        before, after = embeddings()
        action = self.action_spec.encode(action_tm1)
        return {"forward": self.forward_model.loss(before, action, after)}

    def publish(self) -> None:
        """Hand the newest weights to the scoring side."""
        super().publish()
        self.forward_model.publish()

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        """Nothing is kept of an episode."""

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._of(where, self._lifelong, obs_t, obs_tm1, action_tm1), {}

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        obs_tm1, action_tm1 = left
        action = self.action_spec.encode(action_tm1)
        (prediction,) = self.forward_model.predict(self.encoder.newest(obs_tm1), action)
        error = prediction - self.encoder.newest(obs_t)
        return 0.5 * self.config.eta * error.square().sum(-1)
