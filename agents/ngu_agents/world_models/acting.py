"""How the World Models agent acts: it sees, the controller decides, it remembers.

Shapes: E environments, N pictures, Z latent dimensions, A encoded action, I inputs, H units.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ngu.precision import autocast
from ngu.seeding import Seeds
from ngu.spaces import ObservationSpec
from ngu.world.convolutions import resized
from ngu.world.distributions import Gaussian
from ngu.world.mdn_rnn import MDNRNN
from ngu.world.vae import ConvVAE
from ngu_agents.world_models.config import WorldModelsConfig
from ngu_agents.world_models.controller import LinearController

_ENCODED_AT_ONCE = 256


class WorldModelsActor:
    """The three networks, and what is remembered in each of E environments.

    Args:
        observation_space: of a single environment: pictures of bytes.
        action_space: of a single environment.
        num_envs: environments E.
        config: the agent's settings.
        seed: of the first weights.
        device: where the networks live.
        dtype: of the convolutions.

    Attributes:
        vae: sees.
        rnn: predicts, and so remembers.
        controller: what a controller's weights mean.
        memory: state [2, E, H] of the recurrent network.

    Raises:
        TypeError: a space is of a kind that is not read.
        ValueError: pictures are below 16 x 16, or a Box of actions has no bounds.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        config: WorldModelsConfig,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        space = observation_space
        if space.dtype != np.uint8 or len(space.shape or ()) not in (2, 3):
            raise TypeError(f"the world-models agent sees pictures of bytes, got {space}")
        seeds, spec = Seeds(seed), ObservationSpec(space)
        self._size = config.size if spec.kind == "image" else None
        channels = spec.channel_axis
        shape = spec.shape
        if self._size is not None:
            shape = tuple(n if i == channels else self._size for i, n in enumerate(spec.shape))
        self.vae = ConvVAE(shape, config.vae, generator=seeds.torch("autoencoder")).to(device)
        self.controller = LinearController(
            action_space, config.vae.latent_dim, config.rnn.hidden, memory=config.memory
        )
        self.rnn = MDNRNN(
            config.vae.latent_dim,
            self.controller.spec.size,
            config.rnn,
            generator=seeds.torch("recurrent network"),
        ).to(device)
        self.memory = self.rnn.initial(num_envs)
        self._device, self._dtype = device, dtype

    def seen(self, observations: Shaped[np.ndarray, "E ..."]) -> np.ndarray:
        """Observations as the autoencoder takes them, a copy."""
        return resized(observations, self._size)

    @torch.no_grad()
    def encode(self, pictures: Shaped[np.ndarray, "N ..."]) -> Gaussian:
        """Posteriors of pictures that `seen` returned, float32."""
        parts = []
        for start in range(0, len(pictures), _ENCODED_AT_ONCE):
            part = torch.from_numpy(pictures[start : start + _ENCODED_AT_ONCE]).to(self._device)
            with autocast(self._device, self._dtype):
                parts.append(self.vae.encode(part))
        return Gaussian(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def begin(self, where: Bool[np.ndarray, " E"]) -> None:
        """Forget what was, where an episode begins with the next observation."""
        if where.any():
            keep = torch.from_numpy(~where).to(self.memory)
            self.memory = self.memory * keep.unsqueeze(-1)

    @torch.no_grad()
    def act(
        self, observations: Shaped[np.ndarray, "E ..."], weights: Float[np.ndarray, "E N"]
    ) -> np.ndarray:
        """Actions [E, ...] of each environment's controller; what was seen and done is remembered.

        What is seen is the mean of its posterior.

        Args:
            observations: the last ones.
            weights: of the controllers.
        """
        latents = self.encode(self.seen(observations)).mean
        matrices = torch.from_numpy(weights).to(latents).unflatten(-1, self.controller.shape)
        action = self.controller.act(matrices, latents[:, None], self.memory[0][:, None])[:, 0]
        self.memory = self._remember(latents, action)
        return self.controller.for_environments(action)

    def _remember(
        self, latents: Float[Tensor, "E Z"], action: Float[Tensor, "E A"]
    ) -> Float[Tensor, "2 E H"]:
        first = torch.zeros(1, len(latents), dtype=torch.bool, device=latents.device)
        return self.rnn.follow(latents[None], action[None], first, self.memory)[1]
