"""A trained policy that takes part where environments are taken back to states of before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from ngu_agents.acting import Actor


class Memory(NamedTuple):
    """What a policy has in mind in a state."""

    state: Float32[Tensor, "2 H"]
    """Of the recurrent network, before it reads the state's observation."""
    action: int
    """That led to the state, counted from zero."""
    reward: float
    """That came with it."""


class Guide:
    """Watches E environments, whoever acts there, and says what its policy would do.

    Args:
        actor: plays the policy; nothing else uses it.
        first_action: of the environments.
    """

    def __init__(self, actor: Actor, first_action: int) -> None:
        self._actor, self._first_action = actor, first_action
        actor.begin(np.ones(len(actor.first), dtype=bool))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Actions [E] for observations [E, ...], one call for each step of the environments."""
        return self._actor.act(observation)[0] + self._first_action

    def observe(self, actions: np.ndarray, reward: np.ndarray) -> None:
        """Take note of the actions [E] taken in fact, and the rewards [E] that they brought."""
        actor = self._actor
        actor.action = actions - self._first_action
        actor.observe(reward, np.zeros_like(reward), first=np.zeros(len(reward), dtype=bool))

    def memory(self, env: int) -> Memory:
        """What the policy has in mind in an environment, after :meth:`observe`."""
        actor = self._actor
        return Memory(
            actor.state[:, env].clone(), int(actor.action[env]), float(actor.reward_ext[env])
        )

    def recall(self, env: int, memory: Memory | None) -> None:
        """An environment was taken back to a state where it had this in mind; None: a beginning."""
        actor = self._actor
        actor.first[env] = memory is None
        if memory is not None:
            actor.state[:, env] = memory.state
            actor.action[env], actor.reward_ext[env] = memory.action, memory.reward
