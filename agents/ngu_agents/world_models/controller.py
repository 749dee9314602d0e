"""The linear controller of World Models, of many candidates at once.

Source: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), section 2.4: a = W [z, h] + b.

Shapes: P candidates, R rollouts of each, Z latent dimensions, H units, A encoded action, I inputs.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ngu.spaces import ActionSpec


class LinearController:
    """What the weights of a controller mean.

    The largest output chooses a discrete action, of each part of a MultiDiscrete. A number of a Box
    is tanh of its output, 0 at rest (the number nearest to zero) and -1 and 1 at the bounds: a
    pedal from 0 to 1 is up for all negative outputs.

    Args:
        action_space: of a single environment; Discrete, MultiDiscrete or a bounded Box of floats.
        latent_dim: width Z of what is seen.
        hidden: width H of what is remembered.
        memory: whether the controller reads h beside z.

    Attributes:
        spec: the actions.
        shape: [A, I] of a candidate's weights; the last input is 1.

    Raises:
        TypeError: the action space is of another kind; names the wrapper to use.
        ValueError: it is a Box without bounds.
    """

    def __init__(
        self, action_space: gymnasium.Space[Any], latent_dim: int, hidden: int, *, memory: bool
    ) -> None:
        self.spec = ActionSpec(action_space)
        self.shape = (self.spec.size, latent_dim + (hidden if memory else 0) + 1)
        self._memory = memory
        self._space = action_space
        if isinstance(action_space, gymnasium.spaces.Box):
            low, high = (
                torch.from_numpy(np.array(bound, np.float32)).flatten()
                for bound in (action_space.low, action_space.high)
            )
            if not (low.isfinite() & high.isfinite()).all():
                raise ValueError(f"action_space must be a Box with bounds, got {action_space}")
            self._low, self._high = low, high

    @property
    def size(self) -> int:
        """Weights of a candidate."""
        return self.shape[0] * self.shape[1]

    def act(
        self,
        weights: Float[Tensor, "P A I"],
        latents: Float[Tensor, "P R Z"],
        hidden: Float[Tensor, "P R H"],
    ) -> Float[Tensor, "P R A"]:
        """The encoded actions of each candidate, for what its rollouts see and remember."""
        inputs = torch.cat((latents, hidden), dim=-1) if self._memory else latents
        outputs = inputs @ weights[..., :-1].mT + weights[..., -1].unsqueeze(1)
        if self.spec.kind == "box":
            low, high = self._low.to(outputs), self._high.to(outputs)
            rest = torch.zeros_like(low).clamp(low, high)
            share = torch.tanh(outputs)
            return rest + share.clamp_min(0) * (high - rest) + share.clamp_max(0) * (rest - low)
        parts = outputs.split(self.spec.choices, dim=-1)
        return torch.cat(
            [functional.one_hot(part.argmax(-1), part.shape[-1]).float() for part in parts], dim=-1
        )

    def for_environments(self, encoded: Float[Tensor, "P A"]) -> np.ndarray:
        """Actions [P, ...] of the action space."""
        space = self._space
        if isinstance(space, gymnasium.spaces.Box):
            return encoded.cpu().numpy().reshape(-1, *space.shape).astype(space.dtype)
        parts = encoded.split(self.spec.choices, dim=-1)
        index = torch.stack([part.argmax(-1) for part in parts], dim=-1).cpu().numpy()
        if isinstance(space, gymnasium.spaces.MultiDiscrete):
            return index + space.start
        assert isinstance(space, gymnasium.spaces.Discrete)
        return index[:, 0] + int(space.start)
