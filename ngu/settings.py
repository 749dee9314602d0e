"""The settings of a run: one frozen dataclass, read from presets, files and the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from ngu.novelty.ngu import NGUConfig
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.replay_layout import ReplayConfig
from ngu_envs import config_type, environment_family

set_parsing_settings(docstring_parse_attribute_docstrings=True)

CHANGEABLE_ON_RESUME = frozenset({"frames", "device", "checkpoint", "log", "run_dir"})
"""Settings that may differ when a run is resumed: all that do not shape its state."""

_PRESET_OF_FAMILY = {
    "disco-maze": "disco-maze",
    "deep-sea": "deep-sea",
    "noisy-tv": "disco-maze",
    "grid": "disco-maze",
    "vector": "classic",
}


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state is saved, and how much of it."""

    seconds: float = 300.0
    """Time between checkpoints; what a crash can cost at most."""
    keep: int = 3
    """How many of the last checkpoints stay on disk."""
    replay: bool = True
    """Whether the replay is saved and loaded; without it a resumed run collects a new one."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"checkpoint.seconds must be above 0, got {self.seconds}")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep must be at least 1, got {self.keep}")


@dataclass(frozen=True)
class LogConfig:
    """How often figures are written."""

    steps: int = 10_000
    """Environment steps between log points; counted in steps so that runs repeat exactly."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"log.steps must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class TrainSettings:
    """What to train, where, and for how long."""

    env: str = "MontezumaRevenge"
    """Environment: an Atari game in CamelCase, disco-maze, deep-sea, noisy-tv or a gymnasium id."""
    agent: Literal["ngu", "random"] = "ngu"
    """Who acts: the recurrent replay agent of Never Give Up, or the random baseline."""
    bonus: Literal["ngu", "none"] = "ngu"
    """Which intrinsic reward is paid."""
    frames: int = 1_000_000
    """Emulator frames to train for (environment steps times the action repeat)."""
    num_envs: int = 32
    """Environments that step together."""
    seed: int = 0
    """Seed of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto takes CUDA where there is one."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Float type of the heavy layers; auto takes bfloat16 where the device multiplies it."""
    run_dir: str | None = None
    """Folder of the run, which must not exist yet; by default a new one in runs/."""
    options: Any = None
    """Options of the environments: the dataclass of their kind, or a dict for gymnasium's ids."""
    learning: RecurrentReplayConfig = field(default_factory=RecurrentReplayConfig)
    """The agent."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """Its memory of what happened."""
    novelty: NGUConfig = field(default_factory=NGUConfig)
    """The intrinsic reward."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints."""
    log: LogConfig = field(default_factory=LogConfig)
    """Logging."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


class SettingsError(ValueError):
    """Settings that cannot be used; the message is a sentence for the user."""


def resolve_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    Raises:
        SettingsError: CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise SettingsError("device is cuda, but torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def preset_folder() -> Path:
    """Where the presets are: inside the installed package, or beside it in a checkout."""
    package = Path(str(files("ngu")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """Names of all presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def find_config(name: str) -> Path:
    """The file of a preset's name or of a path.

    Raises:
        SettingsError: there is neither; names the closest presets.
    """
    preset = preset_folder() / f"{name}.yaml"
    if preset.is_file():
        return preset
    if Path(name).is_file():
        return Path(name)
    raise SettingsError(
        f"config must be a preset or a file, got {name!r}; {closest(name, preset_names())}"
    )


def closest(name: str, known: Sequence[str]) -> str:
    """A clause that names what ``name`` may have meant."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)
    return f"the closest are {', '.join(near)}"


def default_preset(env: str, device: str) -> str:
    """Name of the preset for an environment's family and a device."""
    family = environment_family(env)
    if family in _PRESET_OF_FAMILY:
        return _PRESET_OF_FAMILY[family]
    return "atari-gpu" if resolve_device(device).type == "cuda" else "atari-cpu"


def parse(
    arguments: Sequence[str], prog: str, *, base: Path | None = None
) -> tuple[TrainSettings, str, list[str]]:
    """Read settings from the command line, on top of a preset or a file.

    Args:
        arguments: of the command line.
        prog: name of the command.
        base: settings file of a run that is resumed; takes the place of a preset.

    Returns:
        The settings, all of them as YAML, and the names of the files that they come from.

    Raises:
        SettingsError: something in them is wrong; says what and what would be right.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--env", "--device"):
        early.add_argument(name)
    early.add_argument("--config", action="append", default=[])
    known, rest = early.parse_known_args([_underscored(word) for word in arguments])
    sources = [base] if base is not None else []
    sources += [find_config(name) for name in known.config]
    stated = _stated(sources) | {k: v for k, v in vars(known).items() if v and k != "config"}
    env = str(stated.get("env", TrainSettings.env))
    try:
        options_type = config_type(env)
        if not sources:
            sources.append(find_config(default_preset(env, str(stated.get("device", "auto")))))
    except (ValueError, ImportError) as error:
        raise SettingsError(str(error)) from error
    parser = _parser(prog, options_type)
    command_line = [f"--config={path}" for path in sources] + rest
    command_line += [f"--{k}={v}" for k, v in vars(known).items() if v and k != "config"]
    namespace = parser.parse_args(command_line)
    for name in ("config", "resume"):
        namespace.pop(name, None)
    namespace.env = env
    try:
        text = parser.dump(namespace)
        values = parser.instantiate(namespace).as_dict()
        settings = TrainSettings(**values)
    except (ValueError, TypeError) as error:
        raise SettingsError(str(error)) from error
    return settings, text, [path.stem for path in sources]


def check_resumable(settings: TrainSettings, base: Path) -> None:
    """Compare settings with those of the run that they are to go on with.

    Raises:
        SettingsError: one differs that shapes the run's state; names it and both values.
    """
    before, _, _ = parse([], "ngu.train", base=base)
    for name in (f.name for f in dataclasses.fields(settings)):
        if name in CHANGEABLE_ON_RESUME:
            continue
        old, new = getattr(before, name), getattr(settings, name)
        if old == new:
            continue
        if dataclasses.is_dataclass(old) and dataclasses.is_dataclass(new):
            part = next(
                f.name for f in dataclasses.fields(old)
                if getattr(old, f.name) != getattr(new, f.name)
            )  # fmt: skip
            name, old, new = f"{name}.{part}", getattr(old, part), getattr(new, part)
        raise SettingsError(f"the run was made with {name} {old}, it cannot go on with {new}")


def _underscored(word: str) -> str:
    """An option with its dashes as the underscores of the setting's name: --num-envs."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


class _Parser(ArgumentParser):
    """Names the nearest options when one is unknown, and answers in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise SettingsError(_sentence(message, self._names()))

    def _names(self) -> list[str]:
        return [
            option.removeprefix("--")
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--")
        ]


def _parser(prog: str, options_type: type[Any] | None) -> _Parser:
    parser = _Parser(prog=prog, description="Train an agent that explores.")
    parser.add_argument("--config", action="config", help="A preset's name or a YAML file.")
    parser.add_argument(
        "--resume", metavar="RUN", help="Folder of a run to go on with, from its last checkpoint."
    )
    parser.add_class_arguments(TrainSettings, skip={"options"})
    if options_type is None:
        parser.add_argument("--options", type=dict[str, Any], default={}, help="Of the id.")
    else:
        parser.add_class_arguments(options_type, "options")
    return parser


def _sentence(message: str, names: Sequence[str]) -> str:
    """A message of the parser as one sentence, with the nearest names where one is unknown."""
    message = " ".join(message.split())
    unknown = re.search(r"unrecognized arguments: (?:--)?([^\s=]+)", message, re.IGNORECASE)
    if unknown:
        return f"there is no option --{unknown[1]}; {closest(unknown[1], names)}"
    group = re.search(r"Group '([^']*)' does not accept option '([^']*)'", message)
    if group:
        key = f"{group[1]}.{group[2]}"
        return f"there is no setting {key}; {closest(key, names)}"
    return message.replace("Parser key ", "").replace("<class '", "").replace("'>", "")


def _stated(sources: Sequence[Path]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    for path in sources:
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
        if not isinstance(content, dict):
            raise SettingsError(f"{path} must hold settings by name, got {type(content).__name__}")
        stated |= {k: v for k, v in content.items() if k in ("env", "device")}
    return stated
