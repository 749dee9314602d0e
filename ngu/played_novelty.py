"""The novelty that a trained run's bonus would pay while its policies are played."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from ngu.novelty.ngu import NGUConfig
from ngu.parts import make_novelty
from ngu.settings import TrainSettings
from ngu_agents.latent_memory import LatentFollower

Figures = dict[str, np.ndarray]


class Novelty:
    """The novelty of training, its running statistics as they stood, each episode on its own.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it.
        device: Where the networks compute.
        latents: What makes latents of observations where novelty is measured in them.

    Attributes:
        bonus: What pays it; None where the run pays none.
        latents: As given.
        seen: What the bonus saw last, [E, ...]: observations or latents.
    """

    def __init__(
        self,
        envs: VectorEnv,
        settings: TrainSettings,
        state: Mapping[str, Any],
        device: torch.device,
        latents: LatentFollower | None = None,
    ) -> None:
        config = settings.novelty
        if isinstance(config, NGUConfig):
            config = dataclasses.replace(config, episodes_per_memory=1)
        self.bonus = make_novelty(dataclasses.replace(settings, novelty=config), envs, device)
        self.latents = latents
        if self.bonus is not None:
            self.bonus.load_learned(state["bonus"])
            self.bonus.eval()

    def begin(self, observation: np.ndarray) -> None:
        """Begin an episode everywhere."""
        self.seen = observation if self.latents is None else self.latents.begin(observation)
        if self.bonus is not None:
            self.bonus.begin(self.seen)

    def restart(self, where: np.ndarray) -> None:
        """Begin an episode in the environments ``where`` [E], after `score` saw its first state."""
        if self.bonus is not None:
            self.bonus.begin(self.seen, where)

    def score(self, action: np.ndarray, observation: np.ndarray, playing: np.ndarray) -> Figures:
        """Intrinsic reward and its parts of the states reached; none without a bonus."""
        if self.latents is not None:
            observation = self.latents.follow(observation, action, ~playing)
        before, self.seen = self.seen, observation
        if self.bonus is None:
            return {}
        reward = self.bonus.score(before, action, observation, playing)
        return {"intrinsic_reward": reward, **self.bonus.parts}
