"""The last layer of a policy, and the distribution of actions that its outputs parametrise.

Inside an agent actions are rows of numbers [..., D], the same for each kind of action space:
indices from zero (one for Discrete, one for each part of MultiDiscrete), or the drawn numbers of a
Box, which only on their way to the environment are clipped to its bounds.
"""

from __future__ import annotations

import math
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.spaces import ActionSpec
from ngu.world.distributions import unimix

# A first policy that hardly prefers any action (Burda et al.'s published code).
_GAIN = 0.01


class CategoricalHead(nn.Module):
    """Independent choices, one softmax for each: Discrete and MultiDiscrete.

    Args:
        space: The action space.
        features: Width of the input.
        uniform_share: Share of the uniform distribution in each choice's probabilities.
        generator: Draws the weights; a CPU one.
    """

    def __init__(
        self,
        space: gymnasium.Space[Any],
        features: int,
        *,
        uniform_share: float = 0.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._spec = ActionSpec(space)
        self._space = space
        self._uniform_share = uniform_share
        self.last = linear(features, self._spec.size, generator=generator, gain=_GAIN)
        self.action_size = len(self._spec.choices)
        self.action_dtype = torch.int64

    def forward(self, features: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch P"]:
        """Log-probabilities of the choices, side by side."""
        logits = self.last(features).split(self._spec.choices, dim=-1)
        return torch.cat([unimix(part, self._uniform_share) for part in logits], dim=-1)

    def sample(
        self, parameters: Float[Tensor, "*batch P"], generator: torch.Generator
    ) -> Shaped[Tensor, "*batch D"]:
        """Draw actions; the generator is of any device."""
        # The first of exponential clocks that run at the choices' rates rings with their
        # probabilities.
        clocks = torch.empty(parameters.shape, device=generator.device)
        clocks.exponential_(generator=generator)
        earliest = parameters - clocks.log_().to(parameters.device)
        parts = earliest.split(self._spec.choices, dim=-1)
        return torch.stack([part.argmax(-1) for part in parts], dim=-1)

    def log_probability(
        self, parameters: Float[Tensor, "*batch P"], action: Shaped[Tensor, "*batch D"]
    ) -> Float[Tensor, "*batch"]:
        """Log-probabilities of actions."""
        parts = parameters.split(self._spec.choices, dim=-1)
        chosen = [part.gather(-1, action[..., i, None]) for i, part in enumerate(parts)]
        return torch.cat(chosen, dim=-1).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch"]:
        """Entropies in nats."""
        return -(parameters.exp() * parameters).sum(-1)

    def encode(self, action: Shaped[Tensor, "*batch D"]) -> Float[Tensor, "*batch A"]:
        """Actions as networks read them, see `ActionSpec.encode`."""
        parts = zip(action.unbind(-1), self._spec.choices, strict=True)
        return torch.cat([functional.one_hot(part, n).float() for part, n in parts], dim=-1)

    def for_environments(self, action: Shaped[Tensor, "B D"]) -> np.ndarray:
        """Actions [B, *parts] as the environments take them."""
        rows = action.cpu().numpy()
        if isinstance(self._space, gymnasium.spaces.Discrete):
            return (rows[:, 0] + self._space.start).astype(self._space.dtype)
        start = cast(gymnasium.spaces.MultiDiscrete, self._space).start
        return (rows + start).astype(self._space.dtype)


class GaussianHead(nn.Module):
    """Independent normal numbers, their deviations the same in all states: Box.

    Args:
        space: The action space.
        features: Width of the input.
        generator: Draws the weights; a CPU one.
    """

    def __init__(
        self, space: gymnasium.spaces.Box, features: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._space = space
        self.action_size = ActionSpec(space).size
        self.action_dtype = torch.float32
        self.mean = linear(features, self.action_size, generator=generator, gain=_GAIN)
        self.log_std = nn.Parameter(torch.zeros(self.action_size))
        self._low, self._high = (
            torch.from_numpy(bound).float().flatten() for bound in (space.low, space.high)
        )

    def forward(self, features: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch P"]:
        """Means, and behind them the logarithms of the standard deviations."""
        mean = self.mean(features)
        return torch.cat((mean, self.log_std.expand_as(mean)), dim=-1)

    def sample(
        self, parameters: Float[Tensor, "*batch P"], generator: torch.Generator
    ) -> Shaped[Tensor, "*batch D"]:
        """Draw actions; the generator is of any device."""
        mean, log_std = parameters.chunk(2, dim=-1)
        noise = torch.randn(mean.shape, device=generator.device, generator=generator)
        return mean + log_std.exp() * noise.to(mean.device)

    def log_probability(
        self, parameters: Float[Tensor, "*batch P"], action: Shaped[Tensor, "*batch D"]
    ) -> Float[Tensor, "*batch"]:
        """Logarithms of the probability density at actions."""
        mean, log_std = parameters.chunk(2, dim=-1)
        squares = ((action - mean) * (-log_std).exp()).square()
        return -(0.5 * (squares + math.log(2 * math.pi)) + log_std).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch"]:
        """Differential entropies in nats."""
        log_std = parameters.chunk(2, dim=-1)[1]
        return (log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(-1)

    def encode(self, action: Shaped[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Actions as networks read them, inside the bounds."""
        return action.clamp(self._low.to(action.device), self._high.to(action.device))

    def for_environments(self, action: Shaped[Tensor, "B D"]) -> np.ndarray:
        """Actions [B, *shape] as the environments take them, inside the bounds."""
        rows = action.cpu().numpy().reshape(-1, *self._space.shape)
        return np.clip(rows, self._space.low, self._space.high).astype(self._space.dtype)


PolicyHead = CategoricalHead | GaussianHead


def make_policy_head(
    action_space: gymnasium.Space[Any],
    features: int,
    *,
    uniform_share: float = 0.0,
    generator: torch.Generator,
) -> PolicyHead:
    """The head that fits an action space.

    Args:
        action_space: A Discrete, a MultiDiscrete or a Box of floats.
        features: Width of the input.
        uniform_share: Share of the uniform distribution in the probabilities of choices.
        generator: Draws the weights; a CPU one.

    Raises:
        TypeError: The space is of another kind; names the wrapper to use.
    """
    if ActionSpec(action_space).kind == "box":
        box = cast(gymnasium.spaces.Box, action_space)
        return GaussianHead(box, features, generator=generator)
    return CategoricalHead(action_space, features, uniform_share=uniform_share, generator=generator)
