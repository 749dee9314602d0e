"""The settings of an autoencoder's training: what pictures, what network, how trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ngu.settings import CheckpointConfig
from ngu.settings_parser import SettingsParser, build, underscored
from ngu.world.convolutions import SMALLEST_SIDE
from ngu.world.vae import VAEConfig
from ngu.world.vae_training import VAETrainingConfig


@dataclass(frozen=True)
class VAESettings:
    """What to train on, how, and where."""

    env: str | None = None
    """Environment that random actions collect pictures from; or see data."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the environment."""
    data: str | None = None
    """Where pictures are instead: a recorded dataset, a run folder with a replay, a .npz file."""
    frames: int = 50_000
    """Pictures to collect, or to read at most."""
    size: int | None = 64
    """Height and width that images are brought to; null leaves them as they are."""
    num_envs: int = 8
    """Environments that step together while pictures are collected."""
    seed: int = 0
    """Seed of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto takes CUDA where there is one."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Float type of the convolutions; auto takes bfloat16 where the device multiplies it."""
    run_dir: str | None = None
    """Folder of the run, which must not exist yet; by default a new one in runs/."""
    vae: VAEConfig = field(default_factory=VAEConfig)
    """The autoencoder."""
    training: VAETrainingConfig = field(default_factory=VAETrainingConfig)
    """Its training."""
    checkpoint: CheckpointConfig = field(default_factory=lambda: CheckpointConfig(seconds=60.0))
    """Checkpoints."""

    def __post_init__(self) -> None:
        if (self.env is None) == (self.data is None):
            given = "none" if self.env is None else "both"
            raise ValueError(f"one of env and data must be given, got {given}")
        for name in ("frames", "num_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size is not None and self.size < SMALLEST_SIDE:
            raise ValueError(f"size must be at least {SMALLEST_SIDE}, got {self.size}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def parse_vae(arguments: Sequence[str], *, base: Path | None = None) -> tuple[VAESettings, str]:
    """Read settings from the command line, on top of a file where one is given.

    Args:
        arguments: of the command line.
        base: settings file of a run that is resumed.

    Returns:
        The settings, and all of them as YAML.

    Raises:
        SettingsError: something in them is wrong; says what and what would be right.
    """
    parser = SettingsParser(
        prog="python -m ngu.train_vae",
        usage="%(prog)s (--env ENV | --data FILE_OR_RUN) [--frames N] [--SETTING VALUE ...]",
        description="Train a variational autoencoder on pictures of an environment.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="A YAML file of settings.")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        default=argparse.SUPPRESS,
        help="Folder of a run to go on with, from its last checkpoint.",
    )
    parser.add_class_arguments(VAESettings)
    words = [] if base is None else [f"--config={base}"]
    namespace = parser.parse_args([*words, *map(underscored, arguments)])
    namespace.pop("config", None)
    return build(VAESettings, namespace, {}), parser.dump(namespace)
