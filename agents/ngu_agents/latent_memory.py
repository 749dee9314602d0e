"""The world model's latents as what a bonus sees: its memory then holds what the model knows.

Source: decided here. Never Give Up (arXiv 2002.06038) measures novelty in an embedding of single
observations; a state of the world model also tells places apart that look alike, and one that is
imagined is compared as it is, where an embedding has to be predicted first.

Shapes: E environments, S features of a state.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import nn

from ngu.novelty.encoder import Versions
from ngu.precision import autocast
from ngu.world.model import WorldModel
from ngu.world.rssm import RSSMConfig, State


def latent_space(config: RSSMConfig) -> gymnasium.spaces.Box:
    """The space of the latents: features of a state, which a bonus measures as they are."""
    return gymnasium.spaces.Box(-math.inf, math.inf, (config.features,), np.float32)


class AsGiven(nn.Module):
    """The encoder of a bonus that sees latents: distances are theirs."""

    def forward(self, latents: Float[torch.Tensor, "B S"]) -> Float[torch.Tensor, "B S"]:
        """The latents."""
        return latents


class LatentFollower(Versions[WorldModel]):
    """Follows E environments with copies of a world model that nothing trains.

    Each environment keeps one copy for as long as its memory lasts, see `Versions`. States are the
    likeliest ones: nothing is drawn, and the same episode has the same latents.

    Args:
        model: what is copied; it belongs to whoever trains it.
        num_envs: environments E.
        versions: copies kept side by side.
        dtype: float type of the matrix products.
    """

    def __init__(
        self, model: WorldModel, num_envs: int, *, versions: int, dtype: torch.dtype
    ) -> None:
        super().__init__(model, num_envs, versions=versions, dtype=dtype)
        self._dtype = dtype
        self._state = model.rssm.initial(num_envs)

    @property
    def latents(self) -> Float[np.ndarray, "E S"]:
        """Of the observations followed last."""
        return self.trained.rssm.features(self._state).cpu().numpy()

    def begin(self, observation: Shaped[np.ndarray, "E ..."]) -> Float[np.ndarray, "E S"]:
        """Latents of observations that are the first of their episodes."""
        nothing = np.zeros((self.num_envs, *self.trained.actions.shape), np.int64)
        return self.follow(observation, nothing, np.ones(self.num_envs, bool))

    @torch.no_grad()
    def follow(
        self,
        observation: Shaped[np.ndarray, "E ..."],
        action_tm1: Shaped[np.ndarray, "E ..."],
        first: Bool[np.ndarray, " E"],
    ) -> Float[np.ndarray, "E S"]:
        """Latents of the observations.

        Args:
            observation: as the environments gave them.
            action_tm1: actions that led to them.
            first: where an observation is the first of its episode, and no action led to it.
        """
        device = self._state.deterministic.device
        seen, taken, begun = (
            torch.from_numpy(part).to(device).unsqueeze(0)
            for part in (observation, action_tm1, first)
        )
        for model, envs in self.rows_by_version(np.ones(self.num_envs, dtype=bool)):
            rows = torch.from_numpy(envs).to(device)
            before = State(*(part[rows] for part in self._state))
            with autocast(device, self._dtype):
                observed = model.observe(seen[:, rows], taken[:, rows], begun[:, rows], before)
            for part, new in zip(self._state, observed.states.at(0), strict=True):
                part[rows] = new
        return self.latents

    def get_extra_state(self) -> dict[str, Any]:
        """Return the states, and which copy each environment uses."""
        return {"state": self._state._asdict(), "use": self.use.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned."""
        for part, saved in zip(self._state, state["state"].values(), strict=True):
            part.copy_(saved)
        self.use.load_state_dict(state["use"])
