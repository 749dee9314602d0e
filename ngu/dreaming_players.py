"""Who plays an evaluation with a world model: the dreamer's policy, World Models' controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from ngu.played_novelty import Figures, Novelty
from ngu.precision import resolve_precision
from ngu.seeding import Seeds
from ngu.settings import SettingsError, TrainSettings, remembers_latents
from ngu.world.model import WorldModel
from ngu_agents.base import Step
from ngu_agents.dreamer_acting import DreamerActor
from ngu_agents.dreamer_network import make_behaviour
from ngu_agents.latent_memory import LatentFollower
from ngu_agents.world_models.acting import WorldModelsActor


class DreamerPlayer:
    """Plays the policy that a dreamer learned in imagination, and measures the novelty it reaches.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it; the replay is not needed.
        seed: Of the model's states and the actions.
        device: Where the networks play.

    Attributes:
        model: The world model.

    Raises:
        KeyError, RuntimeError, ValueError: The state is not of a run with these settings.
    """

    def __init__(
        self,
        envs: VectorEnv,
        settings: TrainSettings,
        state: Mapping[str, Any],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        spaces = envs.single_observation_space, envs.single_action_space
        learned = state["learner"]
        self.model = WorldModel(*spaces, settings.learning.world)
        self.model.load_state_dict(learned["model"])
        self.model.to(device)
        behaviour = make_behaviour(
            envs.single_action_space,
            settings.learning,
            intrinsic=any(name.startswith("critics.int.") for name in learned["behaviour"]),
            generator=torch.Generator(),
        )
        behaviour.load_state_dict(learned["behaviour"])
        dtype = resolve_precision(settings.precision, device)
        latents = None
        if remembers_latents(settings):
            latents = LatentFollower(self.model, envs.num_envs, versions=1, dtype=dtype)
        self._actor = DreamerActor(
            self.model,
            behaviour.to(device),
            envs.num_envs,
            generator=Seeds(seed).torch("evaluation acting", device),
            dtype=dtype,
        )
        self.novelty = Novelty(envs, settings, state, device, latents)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Begin an episode everywhere, from observations [E, ...]; there is one policy."""
        self._observation = observation
        self._actor.begin(np.ones(len(observation), dtype=bool))
        self.novelty.begin(observation)

    def restart(self, where: np.ndarray) -> None:
        """Begin the next episode in the environments ``where`` [E]."""
        self._actor.begin(where)
        self.novelty.restart(where)

    def act(self) -> np.ndarray:
        """Actions [E, ...], drawn from the policy for the last observations."""
        return self._actor.act(self._observation)

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """Score the states reached where ``playing``; returns intrinsic reward and its parts."""
        self._observation = step.observation
        self._actor.begin(np.zeros(len(playing), dtype=bool))
        return self.novelty.score(self._actor.action, step.observation, playing)


class WorldModelsPlayer:
    """Plays the controller in the middle of a World Models agent's evolution.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it; the pictures are not needed.
        device: Where the networks play.

    Raises:
        KeyError, RuntimeError, ValueError: The state is not of a run with these settings.
        SettingsError: The run has no controller yet.
    """

    def __init__(
        self,
        envs: VectorEnv,
        settings: TrainSettings,
        state: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self._actor = WorldModelsActor(
            envs.single_observation_space,
            envs.single_action_space,
            envs.num_envs,
            config=settings.learning,
            seed=settings.seed,
            device=device,
            dtype=resolve_precision(settings.precision, device),
        )
        predicting, enough = state["predicting"], settings.learning.predicting.updates
        if predicting is None or predicting["updates"] < enough:
            raise SettingsError(
                "the run still learns to see and to predict, it has no controller yet"
            )
        self._actor.vae.load_state_dict(state["vae"])
        self._actor.rnn.load_state_dict(predicting["rnn"])
        mean = state["evolution"]["strategy"]["mean"]
        self._weights = np.repeat(mean[None], envs.num_envs, axis=0)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Begin an episode everywhere, from observations [E, ...]; there is one policy."""
        self._observation = observation
        self._actor.begin(np.ones(len(observation), dtype=bool))

    def restart(self, where: np.ndarray) -> None:
        """Begin the next episode in the environments ``where`` [E]."""
        self._actor.begin(where)

    def act(self) -> np.ndarray:
        """Actions [E, ...] for the last observations."""
        return self._actor.act(self._observation, self._weights)

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """No figures."""
        self._observation = step.observation
        return {}
