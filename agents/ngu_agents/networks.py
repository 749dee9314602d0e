"""The universal value function of Never Give Up: one recurrent network for all its policies.

Source: arXiv 2002.06038, appendix F: convolutions, 512 features, LSTM of 512, dueling heads; beside
the frame it reads which policy plays, the previous action, and both previous rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.lstm import ResettableLSTM
from ngu.nets import linear, make_torso
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.losses import signed_hyperbolic


class Inputs(NamedTuple):
    """What the network reads at T steps of B sequences."""

    observation: Shaped[Tensor, "T B *shape"]
    """Observations as they come, bytes included."""
    first: Bool[Tensor, "T B"]
    """True where an observation is the first of its episode: nothing precedes it."""
    policy: Int[Tensor, "T B"]
    """Index of the policy that plays."""
    action_tm1: Int[Tensor, "T B"]
    """Action that led here, counted from zero; ignored where ``first``."""
    reward_ext_tm1: Float[Tensor, "T B"]
    """Extrinsic reward that came with the observation; ignored where ``first``."""
    reward_int_tm1: Float[Tensor, "T B"]
    """Intrinsic reward that came with the observation; ignored where ``first``."""

    def steps(self, start: int, stop: int | None = None) -> Inputs:
        """The steps from ``start`` to before ``stop``."""
        return Inputs(*(field[start:stop] for field in self))


class RecurrentQNetwork(nn.Module):
    """Q(x, a, beta_i) for all actions.

    The previous rewards pass through h(x) = sign(x) (sqrt(|x| + 1) - 1) first: the paper feeds them
    as they are, but a reward of thousands would saturate the gates.

    Args:
        observation_space: of a single environment.
        num_actions: actions A of the discrete action space.
        num_policies: policies N of the family.
        features: width of the torso's output.
        hidden: units H of the LSTM and width of the heads.
        recurrent: whether the LSTM remembers; without, each step is read as an episode's first.
        generator: draws the initial weights; a CPU one.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        *,
        num_actions: int,
        num_policies: int,
        features: int,
        hidden: int,
        recurrent: bool = True,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._recurrent = recurrent
        self.num_actions = num_actions
        self.num_policies = num_policies
        self.torso = make_torso(observation_space, features, generator=generator)
        self.lstm = ResettableLSTM(
            features + num_policies + num_actions + 2, hidden, generator=generator
        )
        self.value = nn.Sequential(
            linear(hidden, hidden, generator=generator),
            nn.ReLU(),
            linear(hidden, 1, generator=generator, gain=1.0),
        )
        self.advantage = nn.Sequential(
            linear(hidden, hidden, generator=generator),
            nn.ReLU(),
            linear(hidden, num_actions, generator=generator, gain=1.0),
        )

    def forward(
        self, inputs: Inputs, state: Float[Tensor, "2 B H"]
    ) -> tuple[Float[Tensor, "T B A"], Float[Tensor, "2 B H"]]:
        """Action values, in the units of the value transform, and the recurrent state after them.

        Args:
            inputs: T steps of B sequences.
            state: recurrent state before the first step.
        """
        outputs, state = self._follow(inputs, state)
        return self.value(outputs).float() + self._advantages(outputs), state

    def advantages(
        self,
        inputs: Inputs,
        state: Float[Tensor, "2 B H"],
        thinned: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "T B A"], Float[Tensor, "2 B H"]]:
        """Action values less their mean: all that a policy in proportion to exp(Q) depends on.

        The value head is left out. What only such a policy is trained by has no gradient in it but
        rounding errors, and Adam, which divides gradients by their size, makes steps of these.

        Args:
            inputs: T steps of B sequences.
            state: recurrent state before the first step.
            thinned: hides a part of the torso's features and of what the LSTM puts out; None hides
                nothing.
        """
        outputs, state = self._follow(inputs, state, thinned)
        return self._advantages(outputs), state

    def _follow(
        self,
        inputs: Inputs,
        state: Tensor,
        thinned: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the LSTM puts out, of the heads' type, and its state."""
        features = self.torso(inputs.observation)
        if thinned is not None:
            features = thinned(features)
        dtype = features.dtype
        first = inputs.first if self._recurrent else torch.ones_like(inputs.first)
        known = (~first).to(dtype).unsqueeze(-1)
        rewards = torch.stack((inputs.reward_ext_tm1, inputs.reward_int_tm1), dim=-1)
        read = torch.cat(
            (
                features,
                functional.one_hot(inputs.policy, self.num_policies).to(dtype),
                functional.one_hot(inputs.action_tm1, self.num_actions).to(dtype) * known,
                signed_hyperbolic(rewards, epsilon=0.0).to(dtype) * known,
            ),
            dim=-1,
        )
        outputs, state = self.lstm(read, first, state)
        outputs = outputs.to(dtype)
        return outputs if thinned is None else thinned(outputs), state

    def _advantages(self, outputs: Tensor) -> Tensor:
        advantage = self.advantage(outputs).float()
        return advantage - advantage.mean(dim=-1, keepdim=True)


def make_network(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: RecurrentReplayConfig,
    *,
    generator: torch.Generator,
) -> RecurrentQNetwork:
    """The network of an agent's settings, for the spaces of a single environment.

    Raises:
        TypeError: the action space is not Discrete.
    """
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise TypeError(
            "action_space must be Discrete for an agent that learns action values, got "
            f"{action_space}"
        )
    return RecurrentQNetwork(
        observation_space,
        num_actions=int(action_space.n),
        num_policies=config.num_policies,
        features=config.features,
        hidden=config.hidden,
        recurrent=config.recurrent,
        generator=generator,
    )
