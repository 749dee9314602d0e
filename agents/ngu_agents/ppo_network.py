"""The network of the PPO agent: one torso, a policy, and a value for each of two returns.

Source: Burda et al. (arXiv 1810.12894, section A and the published code): convolutions, 256 and 448
features, one more layer around which the features also pass for the policy, another for the values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from ngu.lstm import ResettableLSTM
from ngu.nets import linear, make_torso
from ngu_agents.policy_heads import make_policy_head
from ngu_agents.ppo_config import PPOConfig

# Gains of the published code: the layers around which features pass, and the values' last one.
_RESIDUAL_GAIN = 0.1
_VALUE_GAIN = 0.01


class Outputs(NamedTuple):
    """What the network says of T steps of B sequences."""

    parameters: Float[Tensor, "T B P"]
    """Of the policy's distribution, see `ngu_agents.policy_heads`."""
    value: Float[Tensor, "T B 2"]
    """Values of the extrinsic and of the intrinsic return."""
    state: Float[Tensor, "2 B H"]
    """Recurrent state after the last step; as it was without an LSTM."""


class ActorCritic(nn.Module):
    """Policy and values of observations, or of sequences of them.

    Args:
        observation_space: of a single environment.
        action_space: of a single environment.
        features: width of the torso's output.
        hidden: width of the layers after it, or units of the LSTM.
        recurrent: whether the first of these layers is an LSTM.
        generator: draws the initial weights; a CPU one.

    Attributes:
        recurrent_size: units H of the recurrent state, 0 without an LSTM.

    Raises:
        TypeError: a space is of a kind that is not read; names the wrapper to use.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        features: int,
        hidden: int,
        recurrent: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.recurrent_size = hidden if recurrent else 0
        self.torso = make_torso(observation_space, features, generator=generator)
        if recurrent:
            self.lstm = ResettableLSTM(features, hidden, generator=generator)
        else:
            self.body = linear(features, hidden, generator=generator)
        self.policy_body = linear(hidden, hidden, generator=generator, gain=_RESIDUAL_GAIN)
        self.value_body = linear(hidden, hidden, generator=generator, gain=_RESIDUAL_GAIN)
        self.policy = make_policy_head(action_space, hidden, generator=generator)
        self.value = linear(hidden, 2, generator=generator, gain=_VALUE_GAIN)

    def forward(
        self,
        observation: Shaped[Tensor, "T B *shape"],
        first: Bool[Tensor, "T B"],
        state: Float[Tensor, "2 B H"],
    ) -> Outputs:
        """Policy and values at each step.

        Args:
            observation: Observations as they come, bytes included.
            first: True where an observation is the first of its episode.
            state: Recurrent state before the first step, float32.
        """
        features = self.torso(observation)
        if self.recurrent_size:
            outputs, state = self.lstm(features, first, state)
            features = outputs.to(features.dtype)
        else:
            features = self.body(features).relu()
        policy = features + self.policy_body(features).relu()
        value = features + self.value_body(features).relu()
        # What is left is small, and the ratio of two probabilities needs its digits.
        with torch.autocast(features.device.type, enabled=False):
            return Outputs(self.policy(policy.float()), self.value(value.float()), state)


def make_actor_critic(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: PPOConfig,
    *,
    generator: torch.Generator,
) -> ActorCritic:
    """The network of an agent's settings, for the spaces of a single environment.

    Raises:
        TypeError: a space is of a kind that is not read; names the wrapper to use.
        ValueError: the observation space has no or more than three dimensions.
    """
    return ActorCritic(
        observation_space,
        action_space,
        features=config.features,
        hidden=config.hidden,
        recurrent=config.recurrent,
        generator=generator,
    )
