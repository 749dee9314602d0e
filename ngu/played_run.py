"""A trained run, made ready to be played: which policies, in what environments, by whom."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ngu.dreaming_players import DreamerPlayer, WorldModelsPlayer
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.players import FamilyPlayer, Player, PPOPlayer, RandomPlayer, TrajectoryPlayer
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.sentences import reason
from ngu.settings import ARCHIVE_AGENTS, SettingsError, TrainSettings, resolve_device
from ngu_envs import is_restorable

MOST_POLICIES = 8
"""Policies that play unless others are asked for."""


def policies_type(text: str) -> list[int] | str:
    """Indices of policies as a command line gives them: ``0,5,31`` or ``all``."""
    if text == "all":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected indices as in 0,5,31, or all, got {text!r}"
        ) from None


def chosen_policies(asked: list[int] | str | None, settings: TrainSettings) -> list[int]:
    """The policies to play; agents other than NGU's have one, without an index of its own.

    Args:
        asked: Indices, or "all"; None: up to 8, spread from the first to the last.
        settings: Of the run.

    Raises:
        SettingsError: One is not in the family, or comes twice, or there is no family.
    """
    if settings.agent != "ngu":
        if asked is not None:
            raise SettingsError(
                f"--policies is of no use here: the {settings.agent} agent has no family of them"
            )
        return [0]
    count = settings.learning.num_policies
    if asked is None:
        return _spread(count)
    policies = list(range(count)) if isinstance(asked, str) else asked
    _check_policies(policies, count)
    return policies


def with_options(folder: RunFolder, arguments: Sequence[str], prog: str) -> TrainSettings:
    """The settings of a run, but for options of its environments.

    Args:
        folder: Of the run.
        arguments: Of the command line, such as --options.protocol sticky.
        prog: Name of the command.

    Raises:
        SettingsError: One is no option of the environments.
    """
    for word in arguments:
        if word.startswith("--") and not word.startswith("--options."):
            raise SettingsError(
                f"unrecognized argument {word}: of the run's settings only the options of its "
                "environments can be changed here, --options.NAME VALUE"
            )
    settings, _, _ = parse(arguments, prog, base=folder.path / "config.yaml")
    return settings


def make_played_envs(settings: TrainSettings, num_envs: int, seed: int) -> VectorEnv:
    """Environments of a run's settings for new episodes.

    Raises:
        SettingsError: They cannot be made; says why.
    """
    try:
        # Not the run's own seed: its first episodes would be those that it was trained on.
        return make_envs(settings, num_envs, Seeds(seed).integer("evaluation environments"))
    except (ValueError, TypeError, ImportError) as error:
        raise SettingsError(str(error)) from error


def make_player(
    settings: TrainSettings, envs: VectorEnv, state: Any, path: Path, *, epsilon: float, seed: int
) -> Player:
    """Who plays a run.

    Args:
        settings: Of the run.
        envs: To play in.
        state: Of its checkpoint.
        path: Of its checkpoint, for messages.
        epsilon: Share of random actions of a family's policies.
        seed: Of the actions.

    Raises:
        SettingsError: The checkpoint does not fit, or holds nothing to play; says why.
    """
    if settings.agent == "random":
        return RandomPlayer(envs, seed=seed)
    whole, device = state["session"], resolve_device(settings.device)
    state = whole["agent"]
    try:
        if settings.agent == "ppo":
            return PPOPlayer(envs, settings, state, seed=seed, device=device)
        if settings.agent == "dreamer":
            return DreamerPlayer(envs, settings, state, seed=seed, device=device)
        if settings.agent == "world-models":
            return WorldModelsPlayer(envs, settings, state, device)
        if settings.agent not in ARCHIVE_AGENTS:
            return FamilyPlayer(envs, settings, state, epsilon=epsilon, seed=seed, device=device)
        assert is_restorable(envs)
        player = TrajectoryPlayer(envs, whole["envs"])
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"{path} does not fit the settings of its run, or is of another version: "
            f"{reason(error)}"
        ) from error
    if not player.length:
        raise SettingsError(
            f"there is no trajectory to play: in {path} nothing has a higher score than the "
            "beginning"
        )
    return player


def _spread(num_policies: int) -> list[int]:
    """At most 8 policies spread evenly over a family, its first and last among them."""
    spread = np.linspace(0, num_policies - 1, min(num_policies, MOST_POLICIES))
    return [int(index) for index in np.rint(spread)]


def _check_policies(policies: Sequence[int], num_policies: int) -> None:
    """Check indices of policies.

    Raises:
        SettingsError: One is not in the family, or comes twice.
    """
    for index in policies:
        if not 0 <= index < num_policies:
            raise SettingsError(
                f"there is no policy {index}: this family has {num_policies}, counted from 0"
            )
        if policies.count(index) > 1:
            raise SettingsError(f"policies must be different ones, got {index} twice")
