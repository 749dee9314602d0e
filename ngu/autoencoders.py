"""Trained autoencoders: a file, a run of `ngu.train_vae`, or a run of the World Models agent."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import torch
import yaml

from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.run_folder import RunFolder
from ngu.sentences import SettingsError, reason
from ngu.world.vae import ConvVAE
from ngu_agents.world_models.acting import WorldModelsActor

FILE = "vae.safetensors"
"""What ``train_vae`` calls it."""


def load_vae(path: Path) -> tuple[ConvVAE, Path]:
    """The autoencoder, and the file that it is from.

    Args:
        path: a file that `ConvVAE.save` wrote, or the folder of a run.

    Raises:
        SettingsError: there is none, or one of another version; says so.
        DamagedCheckpoint: the file is damaged, or none of ours.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise SettingsError(f"there is no file or folder {path}")
    file = path / FILE if path.is_dir() else path
    if not file.exists():
        return _of_world_models(path)
    try:
        return ConvVAE.load(file), file
    except ValueError as error:
        raise SettingsError(reason(error)) from error


def _of_world_models(run: Path) -> tuple[ConvVAE, Path]:
    """What a World Models agent sees with, in the run's latest checkpoint."""
    config = run / "config.yaml"
    if not config.is_file() or yaml.safe_load(config.read_text()).get("agent") != "world-models":
        raise SettingsError(
            f"{run} holds no {FILE}, which a run of ngu.train_vae has when it is done, and is no "
            "run of the world-models agent"
        )
    folder = RunFolder.open(run)
    settings, _, _ = parse([], "ngu.autoencoders", base=config)
    checkpoint, state = folder.checkpoints.latest()
    with closing(make_envs(settings, 1, 0)) as envs:
        actor = WorldModelsActor(
            envs.single_observation_space,
            envs.single_action_space,
            1,
            config=settings.learning,
            seed=0,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
    try:
        actor.vae.load_state_dict(state["session"]["agent"]["vae"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise SettingsError(
            f"{checkpoint} does not fit the settings of its run, or is of another version: "
            f"{reason(error)}"
        ) from error
    return actor.vae, checkpoint
