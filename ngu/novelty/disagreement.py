"""Disagreement: how far an ensemble's predictions of the next state are apart.

Source: Pathak et al., "Self-Supervised Exploration via Disagreement" (arXiv 1906.04161), equation
1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.embedded import EmbeddingReward, Embeddings
from ngu.novelty.forward import ForwardModels
from ngu.seeding import Seeds


@dataclass(frozen=True)
class DisagreementConfig(EmbeddingConfig):
    """Settings of Disagreement."""

    embedding: Literal["inverse_dynamics", "random"] = "random"
    """One learnt by guessing actions, or a fixed random network, as in the paper."""
    models: int = 5
    """Forward models, M."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    adam_epsilon: float = 1e-8
    """Adam's term that keeps small gradients small."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.models < 2:
            raise ValueError(f"models must be at least 2, got {self.models}")


class Disagreement(EmbeddingReward[DisagreementConfig]):
    """r = variance of M forward models' predictions of f(x_t), averaged over its dimensions.

    The models differ by their first weights; all train on the same transitions. The arguments are
    those of `EmbeddingReward`.
    """

    CONFIG = DisagreementConfig
    lifelong_of = "transition"

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        self.forward_models = ForwardModels(
            self.encoder.size,
            self.action_spec.size,
            self.config.models,
            generator=seeds.torch("forward models"),
            device=self.device,
        )

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"forward": list(self.forward_models.trained.parameters())}

    def _losses(
        self, action_tm1: Tensor, obs_t: Tensor, embeddings: Embeddings
    ) -> dict[str, Tensor]:
        before, after = embeddings()
        action = self.action_spec.encode(action_tm1)
        return {"forward": self.forward_models.loss(before, action, after)}

    def publish(self) -> None:
        """Hand the newest weights to the scoring side."""
        super().publish()
        self.forward_models.publish()

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        """Nothing is kept of an episode."""

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._of(where, self._lifelong, obs_t, obs_tm1, action_tm1), {}

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        obs_tm1, action_tm1 = left
        predictions = self.forward_models.predict(
            self.encoder.newest(obs_tm1), self.action_spec.encode(action_tm1)
        )
        return predictions.var(0, unbiased=False).mean(-1)
