"""What a run is made of, put together from its settings: environments, intrinsic reward, agent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv

from ngu.bonuses import make_bonus
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.ngu import NGU
from ngu.settings import (
    SettingsError,
    TrainSettings,
    disagrees_in_latents,
    remembers_latents,
    resolve_device,
)
from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.demonstrated import Shown
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.base import Agent
from ngu_agents.demonstrations import Demonstrations
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.latent_memory import AsGiven, latent_space
from ngu_agents.ppo import PPOAgent
from ngu_agents.random_agent import RandomAgent
from ngu_agents.recurrent_replay import RecurrentReplayAgent
from ngu_agents.world_models.agent import WorldModelsAgent
from ngu_envs import is_restorable, make
from ngu_envs.atari import AtariConfig


def make_envs(settings: TrainSettings, num_envs: int, seed: int) -> VectorEnv:
    """The environments of a run's settings."""
    options: dict[str, Any] = settings.options or {}
    if dataclasses.is_dataclass(settings.options):
        fields = dataclasses.fields(settings.options)
        options = {field.name: getattr(settings.options, field.name) for field in fields}
    return make(settings.env, num_envs, seed, **options)


def without_chance(settings: TrainSettings) -> TrainSettings:
    """Settings of environments of the same kind without sticky actions, where they have some."""
    if not isinstance(settings.options, AtariConfig):
        return settings
    return dataclasses.replace(
        settings, options=dataclasses.replace(settings.options, sticky_probability=0.0)
    )


def make_agent(settings: TrainSettings, envs: VectorEnv) -> Agent:
    """The agent of a run's settings, with its intrinsic reward, for these environments."""
    observation_space, action_space = envs.single_observation_space, envs.single_action_space
    num_envs, seed = envs.num_envs, settings.seed
    if settings.agent == "random":
        return RandomAgent(action_space, num_envs, seed=seed)
    if settings.agent == "archive":
        return ArchiveAgent(
            action_space,
            num_envs,
            repeat_probability=settings.learning.repeat_probability,
            seed=seed,
        )
    device = resolve_device(settings.device)
    if settings.agent == "world-models":
        return WorldModelsAgent(
            observation_space,
            action_space,
            num_envs,
            config=settings.learning,
            seed=seed,
            device=device,
            precision=settings.precision,
        )
    bonus = make_novelty(settings, envs, device)
    if settings.agent == "ppo":
        return PPOAgent(
            observation_space,
            action_space,
            num_envs,
            bonus=bonus,
            config=settings.learning,
            seed=seed,
            device=device,
            precision=settings.precision,
        )
    if settings.agent == "dreamer":
        return DreamerAgent(
            observation_space,
            action_space,
            num_envs,
            bonus=bonus,
            disagreement=settings.novelty
            if disagrees_in_latents(settings.agent, settings.bonus)
            else None,
            config=settings.learning,
            replay=settings.replay,
            seed=seed,
            stack=envs.metadata.get("frame_stack", 1),
            device=device,
            precision=settings.precision,
        )
    return RecurrentReplayAgent(
        observation_space,
        action_space,
        num_envs,
        bonus=bonus,
        config=settings.learning,
        replay=settings.replay,
        demonstrations=demonstrations(settings, envs),
        seed=seed,
        stack=envs.metadata.get("frame_stack", 1),
        device=device,
        precision=settings.precision,
    )


def make_novelty(
    settings: TrainSettings, envs: VectorEnv, device: torch.device
) -> IntrinsicReward | None:
    """The intrinsic reward of a run's settings; None where what is experienced is not paid."""
    spaces = envs.single_observation_space, envs.single_action_space
    shared: dict[str, Any] = {
        "config": settings.novelty,
        "seed": settings.seed,
        "device": device,
        "precision": settings.precision,
    }
    if remembers_latents(settings):
        latents = latent_space(settings.learning.world.rssm)
        return NGU(latents, spaces[1], envs.num_envs, encoder=AsGiven(), **shared)
    in_latents = disagrees_in_latents(settings.agent, settings.bonus)
    name = "none" if in_latents else settings.bonus
    return make_bonus(name, *spaces, envs.num_envs, **shared)


def returning(envs: VectorEnv, settings: TrainSettings) -> ReturningEnvs:
    """The environments of an archive's run.

    Raises:
        ValueError: They cannot go back to a state, or not by the same actions.
    """
    if not is_restorable(envs):
        raise ValueError(
            f"the archive goes back to saved states, which {settings.env} has none of; Atari "
            "games, deep-sea, CartPole, MountainCar and Acrobot have them"
        )
    if not envs.repeatable:
        raise ValueError(
            f"the archive's trajectories must lead to the same states again, but {settings.env} "
            "draws chance at its steps; Atari games without sticky actions (--options.protocol "
            "paper), deep-sea, CartPole, MountainCar and Acrobot do not"
        )
    stack = envs.metadata.get("frame_stack", 1)
    if settings.agent == "archive-ngu" and stack > 1:
        raise ValueError(
            "the archive-ngu agent replays what begins in the middle of a game, where no frames "
            f"stand before the first: options.frame_stack must be 1, got {stack}"
        )
    config = settings.learning if settings.agent == "archive" else settings.learning.archive
    return ReturningEnvs(envs, config=config, seed=settings.seed)


def demonstrations(settings: TrainSettings, envs: VectorEnv) -> Demonstrations | None:
    """What the file that a run's settings name demonstrates; None where they name none.

    Args:
        settings: of the run, Never Give Up's.
        envs: its environments.

    Raises:
        SettingsError: the file holds no demonstrations, or those of other environments.
        OSError: it cannot be read.
        DamagedCheckpoint: it is damaged.
    """
    learning = settings.learning
    if learning.demonstrations is None:
        return None
    return Demonstrations(
        shown_to(settings, envs).demonstrated,
        num_actions=int(cast(Discrete, envs.single_action_space).n),
        unroll_length=settings.replay.unroll_length,
        recurrent_size=learning.hidden,
        stack=envs.metadata.get("frame_stack", 1),
        share=learning.demonstration_share,
        seed=settings.seed,
    )


def shown_to(settings: TrainSettings, envs: VectorEnv) -> Shown:
    """What the file holds that a run's settings name.

    Args:
        settings: of the run, which name one.
        envs: environments that the demonstrations are to fit.

    Raises:
        SettingsError: the file holds no demonstrations, or those of other environments.
        OSError: it cannot be read.
        DamagedCheckpoint: it is damaged.
    """
    path = Path(settings.learning.demonstrations)
    try:
        shown = Shown.load(path)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    frames = shown.demonstrated.frames
    stack = envs.metadata.get("frame_stack", 1)
    shape = envs.single_observation_space.shape or ()
    num_actions = int(cast(Discrete, envs.single_action_space).n)
    for what, there, here in (
        ("environment", shown.env, settings.env),
        ("number of actions", shown.actions, num_actions),
        ("shape of a frame", frames.shape[1:], shape[1:] if stack > 1 else shape),
    ):
        if there != here:
            raise SettingsError(
                f"the {what} of the demonstrations in {path} is {there}, that of the run is {here}"
            )
    return shown
