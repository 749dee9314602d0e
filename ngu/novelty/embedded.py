"""Bonuses that measure in an embedding: inverse dynamics', a random network's, or the user's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, cast

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ngu.nets import make_trunk
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.config import EmbeddingConfig
from ngu.novelty.embedding import InverseDynamics, LastInFloat32
from ngu.novelty.encoder import Encoder
from ngu.novelty.optimisers import Optimisers
from ngu.precision import Precision, autocast, resolve_precision
from ngu.seeding import Seeds
from ngu.spaces import Array

Embeddings = Callable[[], tuple[Tensor, Tensor]]
Config = TypeVar("Config", bound=EmbeddingConfig)


class EmbeddingReward(IntrinsicReward, Generic[Config]):
    """A bonus with an encoder, which it trains unless it is random or the user's.

    A subclass gives `CONFIG`, builds what it needs in `_build`, names what trains in
    `_trained_parameters` and the losses in `_losses`.

    Args:
        observation_space: Space of one environment's observations.
        action_space: Space of one environment's actions.
        num_envs: Environments, E.
        config: Settings; None takes the defaults.
        encoder: A module that maps observations [B, *shape] to float32 [B, D], trained elsewhere or
            not at all; `publish` copies its weights. None: what the settings name.
        seed: Draws the networks' weights.
        device: Where everything computes.
        precision: What the convolutions compute in: ``"bfloat16"``, ``"float32"`` or ``"auto"``.

    Raises:
        TypeError: A space is of a kind that is not read; names the wrapper that flattens it.
        ValueError: There is no environment, the precision is unknown, or the encoder's output is no
            float32 [B, D].
    """

    CONFIG: ClassVar[type[EmbeddingConfig]] = EmbeddingConfig
    config: Config

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        *,
        config: Config | None = None,
        encoder: nn.Module | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(observation_space, action_space, num_envs, device)
        config = cast(Config, self.CONFIG()) if config is None else config
        self.config = config
        self.dtype = resolve_precision(precision, self.device)
        seeds = Seeds(seed)
        self.inverse_dynamics: InverseDynamics | None = None
        if encoder is not None:
            network, size = encoder, self._width(encoder)
        else:
            size = config.embedding_size
            if config.embedding == "inverse_dynamics":
                self.inverse_dynamics = InverseDynamics(
                    observation_space,
                    action_space,
                    size,
                    generator=seeds.torch("inverse dynamics"),
                ).to(self.device)
                network = self.inverse_dynamics.embedding
            else:
                generator = seeds.torch("random embedding")
                trunk = make_trunk(observation_space, generator=generator)
                network = LastInFloat32(trunk, size, generator=generator).to(self.device)
        if self.inverse_dynamics is None:
            self.embedding = network
        self.encoder = Encoder(
            network, size, num_envs, versions=config.embedding_versions, dtype=self.dtype
        )
        self._memories["versions"] = self.encoder.use
        self._build(observation_space, seeds)
        parameters = self._trained_parameters()
        if self.inverse_dynamics is not None:
            parameters["inverse_dynamics"] = list(self.inverse_dynamics.parameters())
        self._optimisers = Optimisers(
            parameters,
            learning_rate=config.learning_rate,
            adam_epsilon=config.adam_epsilon,
            weight_decay={"inverse_dynamics": config.weight_decay},
            max_gradient_norm=config.max_gradient_norm,
        )
        self._learned["optimisers"] = self._optimisers

    def _build(self, observation_space: gym.Space[Any], seeds: Seeds) -> None:
        """Make networks, memories and statistics; the encoder is there."""

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        """What each of `_losses` trains, by the loss's name."""
        return {}

    def _losses(
        self, action_tm1: Tensor, obs_t: Tensor, embeddings: Embeddings
    ) -> dict[str, Tensor]:
        """Losses beside that of the inverse dynamics, under autocast.

        Args:
            action_tm1: Actions [B, *parts].
            obs_t: Observations after them [B, *shape].
            embeddings: Returns what the trained network makes of the observations before and after
                them, [B, D] each, computed at the first call.
        """
        return {}

    def embed(self, obs: Array) -> Float[np.ndarray, "E D"]:
        """Return the embeddings of states by what scores each environment; nothing is remembered.

        Args:
            obs: Observations [E, *shape].

        Raises:
            TypeError: An argument has a wrong type or dtype.
            ValueError: An argument has a wrong shape, device or value.
        """
        observations = self.observation_spec.check(obs, "obs", self.num_envs, self.device)
        with torch.no_grad():
            return self._embed_each(observations).cpu().numpy()

    def _embed_each(self, obs: Tensor) -> Tensor:
        """Embeddings [E, D], not whitened; by the newest version where no memory is kept."""
        return self.encoder.newest(obs)

    def publish(self) -> None:
        """Hand the newest weights to the scoring side."""
        self.encoder.publish()

    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        inverse_dynamics, accuracy = self.inverse_dynamics, None

        @cache
        def embeddings() -> tuple[Tensor, Tensor]:
            with torch.set_grad_enabled(inverse_dynamics is not None):
                return self.encoder.trained(obs_tm1), self.encoder.trained(obs_t)

        with autocast(self.device, self.dtype):
            losses = self._losses(action_tm1, obs_t, embeddings)
            if inverse_dynamics is not None:
                before, after = embeddings()
                loss, accuracy = inverse_dynamics.embedded_loss(before, action_tm1, after)
                losses["inverse_dynamics"] = loss
        metrics = self._optimisers.step(losses)
        if accuracy is not None:
            metrics["inverse_dynamics_accuracy"] = accuracy.item()
        return metrics

    @torch.no_grad()
    def _width(self, encoder: nn.Module) -> int:
        """Width of what a user's encoder makes of an observation."""
        spec = self.observation_spec
        blank = torch.full((2, *spec.shape), spec.start, dtype=spec.dtype, device=self.device)
        output = encoder(blank)
        if output.dtype != torch.float32 or output.dim() != 2 or output.shape[0] != 2:
            raise ValueError(
                "encoder must map observations [B, *shape] to float32 [B, D], got "
                f"{str(output.dtype).removeprefix('torch.')} {list(output.shape)} for B = 2"
            )
        return output.shape[1]
