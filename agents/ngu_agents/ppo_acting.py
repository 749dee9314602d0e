"""The acting side of PPO: what the network says of the latest observations, and actions drawn.

Both are apart, so that the network can read observations while the novelty of the same observations
is scored, and so that its values are known before any action is drawn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ngu.precision import autocast
from ngu_agents.ppo_network import ActorCritic


class Inference(NamedTuple):
    """What the network says of the observations of E environments."""

    parameters: Float[Tensor, "E P"]
    """Of the policy's distribution."""
    value: Float[Tensor, "E 2"]
    """Values of the extrinsic and of the intrinsic return."""
    state: Float[Tensor, "2 E H"]
    """Recurrent state after the observations."""


class PPOActor:
    """Plays a network in E environments.

    Args:
        network: played as it is.
        num_envs: environments E.
        generator: draws the actions; a CPU one.
        device: of the network.
        dtype: float type of the heavy layers.
    """

    def __init__(
        self,
        network: ActorCritic,
        num_envs: int,
        *,
        generator: torch.Generator,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network
        self.first = np.ones(num_envs, dtype=bool)
        self.state = torch.zeros(2, num_envs, network.recurrent_size, device=device)
        self._generator = generator
        self._device, self._dtype = device, dtype

    def begin(self, where: np.ndarray) -> None:
        """Say in which environments [E] the next observation is the first of its episode."""
        self.first = where

    @torch.no_grad()
    def infer(self, observation: np.ndarray) -> Inference:
        """Read the next observations [E, ...]; changes nothing."""
        with autocast(self._device, self._dtype):
            parameters, value, state = self.network(
                torch.from_numpy(observation).to(self._device).unsqueeze(0),
                torch.from_numpy(self.first).to(self._device).unsqueeze(0),
                self.state,
            )
        return Inference(parameters[0], value[0], state)

    def act(self, inference: Inference) -> Tensor:
        """Take the step that `infer` looked at; returns the actions [E, D] as the agent keeps them.

        ``network.policy.for_environments`` makes of them what environments take.
        """
        self.state = inference.state
        return self.network.policy.sample(inference.parameters, self._generator)

    def state_dict(self) -> dict[str, Any]:
        """The recurrent state, where episodes begin, and the generator."""
        return {
            "state": self.state,
            "first": self.first,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.state = state["state"].to(self._device)
        self.first = state["first"]
        self._generator.set_state(state["generator"].cpu())
