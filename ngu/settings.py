"""The settings of a run: one frozen dataclass, read from presets, files and the command line."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_type_hints

import gymnasium
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from ngu.novelty.ngu import NGUConfig
from ngu.sentences import EarlyParser, closest, sentence
from ngu.sentences import SettingsError as SettingsError
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.replay_layout import ReplayConfig
from ngu_envs import config_type, environment_family

set_parsing_settings(docstring_parse_attribute_docstrings=True)

CHANGEABLE_ON_RESUME = frozenset({"frames", "device", "checkpoint", "log"})
"""Settings that may differ when a run is resumed: all that do not shape its state."""

_PRINT = "--print_config"

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
            raise ValueError(f"seconds must be above 0, got {self.seconds}")
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")


@dataclass(frozen=True)
class LogConfig:
    """How often figures are written."""

    steps: int = 10_000
    """Environment steps between log points; counted in steps so that runs repeat exactly."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


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
    early = EarlyParser("env", "device", repeated=["config"])
    known, rest = early.parse_known_args([_underscored(word) for word in arguments])
    given = {k: v for k, v in vars(known).items() if v is not None and k != "config"}
    sources = [base] if base is not None else []
    sources += [find_config(name) for name in known.config]
    stated = _stated(sources) | given
    env = str(stated.get("env", TrainSettings.env))
    if base is not None and env != (made := _stated([base]).get("env")):
        raise SettingsError(f"the run was made with env {made}, it cannot go on with {env}")
    try:
        options_type = config_type(env)
        if not sources:
            sources.append(find_config(default_preset(env, str(stated.get("device", "auto")))))
    except (ValueError, ImportError, gymnasium.error.Error) as error:
        raise SettingsError(str(error)) from error
    parser = _parser(prog, options_type)
    command_line = [f"--config={path}" for path in sources]
    command_line += [word for word in rest if word != _PRINT]
    command_line += [f"--{k}={v}" for k, v in given.items()]
    namespace = parser.parse_args(command_line)
    namespace.pop("config", None)
    namespace.env = env
    settings = _build(TrainSettings, namespace, options_type)
    text = parser.dump(namespace)
    if _PRINT in rest:
        sys.stdout.write(text)
        raise SystemExit(0)
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
    """Answers in one sentence, which names the nearest options where one is unknown."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise SettingsError(sentence(message, self._names()))

    def _names(self) -> list[str]:
        words = [
            option.removeprefix("--")
            for action in self._actions
            for option in action.option_strings
            if option.startswith("--") and option != "--print_shtab"
        ]
        return [word for word in words if not any(w.startswith(f"{word}.") for w in words)]


def _parser(prog: str, options_type: type[Any] | None) -> _Parser:
    parser = _Parser(
        prog=f"python -m {prog}",
        usage="%(prog)s [--env ENV] [--config PRESET_OR_FILE] [--frames N] [--SETTING VALUE ...]",
        description="Train an agent that explores. The defaults below are those of the library; a "
        "preset is put over them, and --print_config shows what comes out.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        action="config",
        help=f"A preset ({', '.join(preset_names())}) or a YAML file; where several are given, "
        "later ones are put over earlier ones; without any, the preset of the environment's kind.",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        default=argparse.SUPPRESS,
        help="Folder of a run to go on with, from its last checkpoint.",
    )
    parser.add_class_arguments(TrainSettings, skip={"options"})
    if options_type is None:
        parser.add_argument("--options", type=dict[str, Any], default={}, help="Of the id.")
    else:
        parser.add_class_arguments(options_type, "options")
    return parser


def _build(
    kind: type[Any], namespace: Namespace, options_type: type[Any] | None, prefix: str = ""
) -> Any:
    """A dataclass of settings, its parts included, from what the parser found.

    Raises:
        SettingsError: a value is missing or out of range; names it in full.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name in (f.name for f in dataclasses.fields(kind)):
        value, full_name = namespace[name], f"{prefix}{name}"
        part = options_type if full_name == "options" else hints[name]
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            if not isinstance(value, Namespace):
                raise SettingsError(f"{full_name} must hold settings by name, got {value}")
            value = _build(part, value, None, f"{full_name}.")
        elif value is None and part is not Any and type(None) not in get_args(part):
            raise SettingsError(f"{full_name} must have a value, got null")
        values[name] = value
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        says = str(error)
        group = prefix if says.split()[0] in values else prefix and f"{prefix[:-1]}: "
        raise SettingsError(f"{group}{says}") from error


def _stated(sources: Sequence[Path]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    for path in sources:
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            says = " ".join(str(error).split())
            raise SettingsError(f"{path} cannot be read as YAML: {says}") from error
        if not isinstance(content, dict):
            found = "nothing" if content is None else f"a {type(content).__name__}"
            raise SettingsError(f"{path} must hold settings by name, got {found}")
        stated |= {k: v for k, v in content.items() if k in ("env", "device")}
    return stated
