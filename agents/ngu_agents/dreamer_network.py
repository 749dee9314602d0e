"""Policy and values of the states of a world model: DreamerV3's actor and critics.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104), "Critic learning" and "Actor learning". Decided
here: the extrinsic and the intrinsic return have a critic each.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ngu.nets import linear
from ngu.world.distributions import symexp_bins, two_hot_loss, two_hot_mean
from ngu.world.layers import Dense
from ngu_agents.dreamer_config import DreamerConfig
from ngu_agents.policy_heads import make_policy_head

_UNIFORM_SHARE = 0.01  # of each choice's probabilities, as in the paper


class Critic(nn.Module):
    """A value as a distribution over bins, with a slow copy that regularises it.

    Args:
        features: width S of a state's features.
        hidden: width of the layers.
        layers: how many.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, features: int, hidden: int, layers: int, *, generator: torch.Generator):
        super().__init__()
        self.bins: Tensor
        self.register_buffer("bins", symexp_bins(), persistent=False)
        self.fast = nn.Sequential(
            _body(features, hidden, layers, generator),
            linear(hidden, len(self.bins), generator=generator, gain=0.0),
        )
        self.slow = copy.deepcopy(self.fast).requires_grad_(False)

    def forward(self, features: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """The mean value."""
        return self._mean(self.fast, features)

    def loss(
        self, features: Float[Tensor, "*batch S"], returns: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy with the returns, and with what the slow copy predicts, in nats."""
        logits = self.fast(features).float()
        with torch.no_grad():
            slow = self._mean(self.slow, features)
        return two_hot_loss(logits, returns, self.bins) + two_hot_loss(logits, slow, self.bins)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the slow copy towards the critic."""
        for slow, fast in zip(self.slow.parameters(), self.fast.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def _mean(self, network: nn.Module, features: Tensor) -> Tensor:
        return two_hot_mean(network(features).float().softmax(-1), self.bins)


class Behaviour(nn.Module):
    """Policy and critics.

    Args:
        action_space: of a single environment.
        features: width S of a state's features.
        hidden: width of the layers.
        layers: of the policy and of each critic.
        intrinsic: whether there is an intrinsic return beside the extrinsic one.
        generator: draws the weights; a CPU one. Global random state is not touched.

    Attributes:
        critics: by the return's name, ``"ext"`` and ``"int"``.

    Raises:
        TypeError: the action space is of a kind that is not read.
    """

    def __init__(
        self,
        action_space: gymnasium.Space[Any],
        features: int,
        *,
        hidden: int,
        layers: int,
        intrinsic: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.body = _body(features, hidden, layers, generator)
        self.head = make_policy_head(
            action_space, hidden, uniform_share=_UNIFORM_SHARE, generator=generator
        )
        names = ("ext", "int") if intrinsic else ("ext",)
        self.critics = nn.ModuleDict(
            {name: Critic(features, hidden, layers, generator=generator) for name in names}
        )

    def policy(self, features: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch P"]:
        """Parameters of the policy's distribution, see `ngu_agents.policy_heads`."""
        outputs = self.body(features)
        with torch.autocast(outputs.device.type, enabled=False):
            return self.head(outputs.float())


def make_behaviour(
    action_space: gymnasium.Space[Any],
    config: DreamerConfig,
    *,
    intrinsic: bool,
    generator: torch.Generator,
) -> Behaviour:
    """The behaviour of an agent's settings, see `Behaviour`.

    Raises:
        TypeError: the action space is of a kind that is not read.
    """
    return Behaviour(
        action_space,
        config.world.rssm.features,
        hidden=config.hidden,
        layers=config.layers,
        intrinsic=intrinsic,
        generator=generator,
    )


def _body(inputs: int, hidden: int, layers: int, generator: torch.Generator) -> nn.Module:
    widths = [inputs, *[hidden] * layers]
    return nn.Sequential(
        *(Dense((width,), hidden, generator=generator) for width in widths[:layers])
    )
