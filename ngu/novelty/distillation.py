"""Random network distillation: novelty over a lifetime as the error in predicting a fixed network.

Source: Burda et al., 2018 (arXiv 1810.12894), as used in Never Give Up (arXiv 2002.06038, section
2): the predictor knows what it was trained on, so its error is large where training has not been.
"""

from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor, nn

from ngu.moments import RunningMoments
from ngu.nets import make_trunk
from ngu.novelty.embedding import LastInFloat32

# Least standard deviation that whitening divides by: an element that has never changed whitens to
# 0, and to the bound the first time it does.
_LEAST_STD = 1e-6


def whiten(
    observations: Shaped[Tensor, "batch *shape"],
    mean: Float64[Tensor, "*shape"],
    std: Float64[Tensor, "*shape"],
    *,
    bound: float,
) -> Float[Tensor, "batch *shape"]:
    """Return observations less their mean, over their standard deviation, clipped (section 2.4).

    Args:
        observations: Numbers [B, *shape].
        mean: Running mean of each element.
        std: Running standard deviation of each element.
        bound: The result is clipped to +- this.

    Returns:
        float32 [B, *shape].
    """
    scale = std.clamp_min(_LEAST_STD).reciprocal_().float()
    return (observations.float() - mean.float()).mul_(scale).clamp_(-bound, bound)


class RandomNetworkDistillation(nn.Module):
    """A fixed random network and the one that learns to predict it.

    Args:
        observation_space: A Box of one to three dimensions, or a Discrete (seen as one-hot).
        size: Width of both outputs.
        bound: Whitened observations are clipped to +- this.
        generator: Draws the weights; a CPU one. Global random state is not touched.

    Raises:
        TypeError: The space is of another kind; names the wrapper that flattens it.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        size: int = 128,
        *,
        bound: float = 5.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.target, self.predictor = (
            LastInFloat32(
                make_trunk(observation_space, generator=generator, scaled=False),
                size,
                generator=generator,
            )
            for _ in range(2)
        )
        self.spec = self.target.trunk.spec
        self.target.requires_grad_(False)

    def forward(
        self, observations: Shaped[Tensor, "batch *shape"], moments: RunningMoments
    ) -> Float[Tensor, "batch"]:
        """Return the squared norm of the prediction's error, float32 [B].

        Args:
            observations: [B, *shape], as they come.
            moments: Moments of the observations to whiten with. Before any was seen, observations
                are only scaled by their space's bound.
        """
        observations = self.spec.numeric(observations)
        mean, std = moments.mean, moments.std
        if moments.count == 0:
            std = torch.full_like(std, 1 / self.spec.scale)
        whitened = whiten(observations, mean, std, bound=self.bound)
        return (self.predictor(whitened) - self.target(whitened)).square().sum(-1)
