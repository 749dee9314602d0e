"""The acting side of the dreamer: it follows environments with the world model, and draws actions.

Shapes: E environments, S features of a state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ngu.precision import autocast
from ngu.world.model import WorldModel
from ngu.world.rssm import State
from ngu_agents.dreamer_network import Behaviour


class DreamerActor:
    """Plays a behaviour in E environments.

    Args:
        model: follows them; played as it is.
        behaviour: played as it is.
        num_envs: environments E.
        generator: draws states and actions; on the networks' device.
        dtype: float type of the matrix products.

    Attributes:
        first: where the next observation is the first of its episode, [E].
        action: the last actions, as the environments take them, [E, ...].
        state: of the model after the last observations.
    """

    def __init__(
        self,
        model: WorldModel,
        behaviour: Behaviour,
        num_envs: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        self._model, self._behaviour = model, behaviour
        self._generator, self._dtype = generator, dtype
        self.first = np.ones(num_envs, dtype=bool)
        self.action = np.zeros((num_envs, *model.actions.shape), np.int64)
        self.state = model.rssm.initial(num_envs)

    def begin(self, where: np.ndarray) -> None:
        """Say in which environments [E] the next observation is the first of its episode."""
        self.first = where

    @property
    def features(self) -> Float[Tensor, "E S"]:
        """Of the state after the last observations."""
        return self._model.rssm.features(self.state)

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Follow the observations [E, ...], and draw actions for them."""
        device = self._generator.device
        with autocast(device, self._dtype):
            seen = self._model.observe(
                torch.from_numpy(observation).to(device).unsqueeze(0),
                torch.from_numpy(self.action).to(device).unsqueeze(0),
                torch.from_numpy(self.first).to(device).unsqueeze(0),
                self.state,
                self._generator,
            )
            self.state = seen.states.at(0)
            parameters = self._behaviour.policy(self.features)
        head = self._behaviour.head
        self.action = head.for_environments(head.sample(parameters, self._generator))
        return self.action

    def state_dict(self) -> dict[str, Any]:
        """State, last actions, where episodes begin, and the generator."""
        return {
            "state": self.state._asdict(),
            "action": self.action,
            "first": self.first,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        device = self._generator.device
        self.state = State(**{name: part.to(device) for name, part in state["state"].items()})
        self.action, self.first = state["action"], state["first"]
        self._generator.set_state(state["generator"].cpu())
