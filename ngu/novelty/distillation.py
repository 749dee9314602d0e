"""Random network distillation: novelty over a lifetime as the error in predicting a fixed network.

Source: Burda et al., 2018 (arXiv 1810.12894), as used in Never Give Up (arXiv 2002.06038, section
2): the predictor knows what it was trained on, so its error is large where training has not been.
"""

from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ngu.moments import RunningMoments, in_cache
from ngu.nets import make_trunk
from ngu.novelty.embedding import LastInFloat32
from ngu.novelty.encoder import copy_weights, frozen

# Least standard deviation that whitening divides by: an element that has never changed whitens to
# 0, and to the bound the first time it does.
_LEAST_STD = 1e-6


def whiten(
    observations: Shaped[Tensor, "batch *shape"],
    mean: Float[Tensor, "*shape"],
    std: Float[Tensor, "*shape"],
    *,
    bound: float,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch *shape"]:
    """Return observations less their mean, over their standard deviation, clipped (section 2.4).

    Args:
        observations: Numbers [B, *shape].
        mean: Running mean of each element.
        std: Running standard deviation of each element.
        bound: The result is clipped to +- this.
        dtype: Type of the result; all is computed in float32.

    Returns:
        [B, *shape].
    """
    scale = std.clamp_min(_LEAST_STD).reciprocal()
    whitened = torch.empty(observations.shape, dtype=dtype, device=observations.device)
    for rows, part in in_cache(observations):
        whitened[rows] = part.sub_(mean).mul_(scale).clamp_(-bound, bound)
    return whitened


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
        trunk = self.target.trunk
        # Bytes are cheaper to arrange than what whitening makes of them.
        arranged = trunk.arrange(observations)
        mean, std = (trunk.arrange(moment.float().unsqueeze(0))[0] for moment in (mean, std))
        whitened = whiten(arranged, mean, std, bound=self.bound, dtype=trunk.compute_dtype)
        predicted, random = (
            network.project(network.trunk.features(whitened))
            for network in (self.predictor, self.target)
        )
        return (predicted - random).square().sum(-1)


class Distiller(nn.Module):
    """Distillation with a side that is trained and a side that scores.

    The scoring side's predictor changes when it is published, and its moments of the observations
    with the states that are scored; the training side then takes over these moments.

    Args:
        observation_space: A Box of one to three dimensions, or a Discrete.
        size: Width of the outputs.
        bound: Whitened observations are clipped to +- this.
        generator: Draws the weights; a CPU one.
        dtype: What the convolutions compute in.
        device: Where everything computes.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        size: int,
        *,
        bound: float,
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.trained = RandomNetworkDistillation(
            observation_space, size, bound=bound, generator=generator
        ).to(device)
        self.scoring = frozen(self.trained, dtype)
        numeric_shape = self.trained.spec.numeric_shape
        self._training_moments, self.moments = (
            RunningMoments(numeric_shape, device) for _ in range(2)
        )

    def publish(self) -> None:
        """Hand the predictor's newest weights to the scoring side, and its moments back."""
        copy_weights(self.trained, self.scoring)
        self._training_moments.copy_(self.moments)

    def observe(self, obs: Shaped[Tensor, "batch *shape"]) -> None:
        """Take observations [B, *shape] into the moments."""
        self.moments.update(self.trained.spec.numeric(obs))

    def error(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch"]:
        """Return the scoring side's squared error for each observation."""
        return self.scoring(obs, self.moments)

    def loss(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, ""]:
        """Return the training side's mean squared error."""
        return self.trained(obs, self._training_moments).mean()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the moments."""
        return {
            "moments": self.moments.state_dict(),
            "training": self._training_moments.state_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned."""
        self.moments.load_state_dict(state["moments"])
        self._training_moments.load_state_dict(state["training"])
