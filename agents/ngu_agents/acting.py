"""The acting side of a recurrent agent: E environments, each with a policy and a share of chance.

It plays a copy of the network that changes only when it is handed new weights, so that the network
may train at the same time in another thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ngu.seeding import generator_state, set_generator_state
from ngu_agents.networks import Inputs, RecurrentQNetwork


def policy_probabilities(values: Tensor, temperature: float) -> np.ndarray:
    """The chances [E, A] of the actions of values [E, A] that are not random ones.

    The greatest value's action is certain, or at a temperature above 0 each one's chance is
    proportional to exp(Q / temperature).
    """
    if temperature:
        return torch.softmax(values / temperature, dim=-1).cpu().numpy()
    return one_hot(values.argmax(dim=-1), values.shape[-1]).float().cpu().numpy()


class Actor:
    """Plays in E environments, now and then at random, and remembers what the network reads next.

    Args:
        network: played as it is; the caller hands it weights (see :meth:`load_weights`).
        epsilons: share of random actions of each environment, [E].
        generator: draws the random actions and, at each episode's start, the policy.
        device: of the network.
        policies: index of the policy of each environment, [E]; None draws one uniformly from the
            family whenever an episode begins, as NGU's actors do.
        temperature: of the other actions, see :func:`policy_probabilities`.
    """

    def __init__(
        self,
        network: RecurrentQNetwork,
        epsilons: np.ndarray,
        *,
        generator: np.random.Generator,
        device: torch.device,
        policies: np.ndarray | None = None,
        temperature: float = 0.0,
    ) -> None:
        num_envs = len(epsilons)
        self.network = network.requires_grad_(False)
        self.epsilons = np.asarray(epsilons, dtype=np.float64)
        self.policy = np.zeros(num_envs, dtype=np.int64)
        self.first = np.ones(num_envs, dtype=bool)
        self.action = np.zeros(num_envs, dtype=np.int64)
        self.reward_ext = np.zeros(num_envs, dtype=np.float32)
        self.reward_int = np.zeros(num_envs, dtype=np.float32)
        self.state = torch.zeros(2, num_envs, network.lstm.hidden_size, device=device)
        self._policies = policies
        self._temperature = temperature
        self._generator = generator
        self._device = device
        self.begin(np.ones(num_envs, dtype=bool))

    def begin(self, where: np.ndarray) -> None:
        """Start new episodes in the environments ``where`` [E] is True."""
        self.first = where
        if self._policies is None:
            drawn = self._generator.integers(self.network.num_policies, size=len(where))
        else:
            drawn = self._policies
        self.policy = np.where(where, drawn, self.policy)

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose an action in each environment and advance the recurrent state.

        Args:
            observation: [E, ...], what the environments show now.

        Returns:
            Actions counted from zero [E] int64, and the probabilities with which they were taken
            [E] float32.
        """
        inputs = Inputs(
            observation=self._row(observation),
            first=self._row(self.first),
            policy=self._row(self.policy),
            action_tm1=self._row(self.action),
            reward_ext_tm1=self._row(self.reward_ext),
            reward_int_tm1=self._row(self.reward_int),
        )
        values, self.state = self.network(inputs, self.state)
        chances = policy_probabilities(values[0], self._temperature)
        num_envs, num_actions = chances.shape
        chosen = chances.argmax(-1)
        if self._temperature:
            drawn = self._generator.random((num_envs, 1)) < chances.cumsum(-1)
            chosen = np.where(drawn.any(-1), drawn.argmax(-1), chosen)
        at_random = self._generator.random(num_envs) < self.epsilons
        drawn = self._generator.integers(num_actions, size=num_envs)
        self.action = np.where(at_random, drawn, chosen)
        taken = chances[np.arange(num_envs), self.action]
        probability = (1 - self.epsilons) * taken + self.epsilons / num_actions
        return self.action, probability.astype(np.float32)

    def observe(self, reward_ext: np.ndarray, reward_int: np.ndarray, first: np.ndarray) -> None:
        """Take the rewards [E] that came with the next observations, and where episodes begin."""
        self.reward_ext = reward_ext.astype(np.float32, copy=False)
        self.reward_int = reward_int.astype(np.float32, copy=False)
        self.begin(first)

    def load_weights(self, network: torch.nn.Module) -> None:
        """Play what ``network`` holds now, rounded to the precision that this one plays in."""
        copy_weights(network, self.network)

    def state_dict(self) -> dict[str, Any]:
        """Weights, recurrent state, what is read next, and the generator."""
        return {
            "network": self.network.state_dict(),
            "state": self.state,
            "policy": self.policy,
            "first": self.first,
            "action": self.action,
            "reward_ext": self.reward_ext,
            "reward_int": self.reward_int,
            "generator": generator_state(self._generator),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.state = state["state"].to(self._device)
        for name in ("policy", "first", "action", "reward_ext", "reward_int"):
            setattr(self, name, state[name])
        set_generator_state(self._generator, state["generator"])

    def _row(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device).unsqueeze(0)


@torch.no_grad()
def copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Copy all parameters, converted to the dtype that ``target`` holds them in."""
    for weight, held in zip(source.parameters(), target.parameters(), strict=True):
        held.copy_(weight)
