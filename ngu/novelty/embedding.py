"""The embedding that keeps what an agent controls, learnt by guessing its actions.

Source: Never Give Up (arXiv 2002.06038), section 2 and appendix H: a network that tells the action
from the two states around it has no use for what the agent cannot influence.
"""

import math
from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import Trunk, linear, make_trunk
from ngu.spaces import ActionSpec

PAIR_WIDTH = 128
"""Width of the layer that reads two embeddings side by side."""


class LastInFloat32(nn.Module):
    """A trunk in any precision, then one linear layer in float32.

    Distances are differences of near numbers: they need the last layer's sums in float32, even
    where convolutions in bfloat16 do.

    Args:
        trunk: Reads observations.
        size: Width of the output.
        generator: Draws the last layer's weights; a CPU one.
    """

    def __init__(self, trunk: Trunk, size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.last = linear(trunk.out_features, size, generator=generator, gain=1.0)

    def forward(self, observations: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch size"]:
        """Return float32 [B, size] for observations [B, *shape], also inside of autocast."""
        return self.project(self.trunk(observations))

    def project(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch size"]:
        """Return float32 [B, size] for the trunk's features, also inside of autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self.last(features.float())


class InverseDynamics(nn.Module):
    """Embedding f and the head h that guesses the action between two states.

    p(a | x_t-1, x_t) = h(f(x_t-1), f(x_t)), h with one hidden layer of 128: a softmax for Discrete,
    a product of softmaxes for MultiDiscrete, a Gaussian of variance 1 for a Box.

    Args:
        observation_space: A Box of one to three dimensions, or a Discrete.
        action_space: A Discrete, a MultiDiscrete or a Box of floats.
        size: Width of the embedding, D; its last layer is linear.
        generator: Draws the weights; a CPU one. Global random state is not touched.

    Raises:
        TypeError: A space is of another kind; names the wrapper that flattens it.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        size: int = 32,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.action_spec = ActionSpec(action_space)
        trunk = make_trunk(observation_space, generator=generator)
        self.embedding = LastInFloat32(trunk, size, generator=generator)
        self.pair = linear(2 * size, PAIR_WIDTH, generator=generator)
        self.action = linear(PAIR_WIDTH, self.action_spec.size, generator=generator, gain=1.0)

    def forward(
        self,
        obs_tm1: Shaped[Tensor, "batch *shape"],
        obs_t: Shaped[Tensor, "batch *shape"],
    ) -> Float[Tensor, "batch outputs"]:
        """Return the logits of the action, or its mean for a Box, float32 [B, outputs]."""
        return self.guess(self.embedding(obs_tm1), self.embedding(obs_t))

    def guess(
        self, embedding_tm1: Float[Tensor, "batch D"], embedding_t: Float[Tensor, "batch D"]
    ) -> Float[Tensor, "batch outputs"]:
        """Return what `forward` does, of states that are embedded already."""
        pair = torch.cat([embedding_tm1, embedding_t], dim=-1)
        with torch.autocast(pair.device.type, enabled=False):
            return self.action(self.pair(pair).relu())

    def loss(
        self,
        obs_tm1: Shaped[Tensor, "batch *shape"],
        action_tm1: Shaped[Tensor, "batch *parts"],
        obs_t: Shaped[Tensor, "batch *shape"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
        """Return the mean negative log-likelihood of the actions, and the share guessed right.

        Args:
            obs_tm1: Observations before the actions [B, *shape].
            action_tm1: The actions [B, *parts], inside the space.
            obs_t: Observations after them [B, *shape].

        Returns:
            The loss in nats, summed over an action's parts; and the share of parts that the most
            likely action gets right, None for a Box.
        """
        return self.embedded_loss(self.embedding(obs_tm1), action_tm1, self.embedding(obs_t))

    def embedded_loss(
        self,
        embedding_tm1: Float[Tensor, "batch D"],
        action_tm1: Shaped[Tensor, "batch *parts"],
        embedding_t: Float[Tensor, "batch D"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
        """Return what `loss` does, of states that are embedded already."""
        outputs = self.guess(embedding_tm1, embedding_t)
        spec = self.action_spec
        if spec.kind == "box":
            squares = (outputs - spec.encode(action_tm1)).square().sum(-1)
            return 0.5 * (squares.mean() + spec.size * math.log(2 * math.pi)), None
        index = spec.index(action_tm1).reshape(outputs.shape[0], -1)
        losses, right = [], []
        for part, logits in enumerate(outputs.split(spec.choices, dim=-1)):
            losses.append(functional.cross_entropy(logits, index[:, part]))
            right.append((logits.detach().argmax(-1) == index[:, part]).float().mean())
        return torch.stack(losses).sum(), torch.stack(right).mean()
