"""Reads the settings of a run from presets, files and the command line."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from ngu.presets import (
    content_of,
    default_preset,
    find_config,
    fitting,
    preset_folder,
    preset_names,
)
from ngu.sentences import EarlyParser, SettingsError
from ngu.settings import CHANGEABLE_ON_RESUME, TrainSettings, part_types
from ngu.settings_parser import SettingsParser, build, underscored

_PRINT = "--print_config"

_SHAPING = ("env", "agent", "bonus")
"""Settings that decide which other settings there are."""


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
    early = EarlyParser("device", *_SHAPING, repeated=["config"])
    known, rest = early.parse_known_args([underscored(word) for word in arguments])
    given = {k: v for k, v in vars(known).items() if v is not None and k != "config"}
    sources = [base] if base is not None else []
    sources += [find_config(name) for name in known.config]
    stated = _stated(sources) | given
    if not sources:
        sources.append(find_config(_default_preset(stated)))
        stated = _stated(sources) | given
    env, agent, bonus = (str(stated[name]) for name in _SHAPING)
    if base is not None:
        made = content_of(base)
        if "agent" not in made:
            raise SettingsError(f"{base.parent} is no run of ngu.train: {base.name} names no agent")
        for name, value in (("env", env), ("agent", agent), ("bonus", bonus)):
            if value != made.get(name):
                raise SettingsError(
                    f"the run was made with {name} {made.get(name)}, it cannot go on with {value}"
                )
    try:
        parts = part_types(env, agent, bonus)
    except (ValueError, ImportError, gymnasium.error.Error) as error:
        raise SettingsError(str(error)) from error
    parser = _parser(prog, parts)
    command_line = [f"--config={_config(path, env, agent, bonus)}" for path in sources]
    command_line += [word for word in rest if word != _PRINT]
    command_line += [f"--{k}={v}" for k, v in given.items()]
    namespace = parser.parse_args(command_line)
    namespace.pop("config", None)
    namespace.env = env
    settings = build(TrainSettings, namespace, parts)
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


def _stated(sources: Sequence[Path]) -> dict[str, Any]:
    """What decides on the other settings and the preset, as the sources say, or by default."""
    names = ("device", *_SHAPING)
    stated: dict[str, Any] = {name: getattr(TrainSettings, name) for name in names}
    for path in sources:
        stated |= {k: v for k, v in content_of(path).items() if k in names}
    return stated


def _default_preset(stated: Mapping[str, Any]) -> str:
    try:
        return default_preset(str(stated["env"]), str(stated["device"]), str(stated["agent"]))
    except (ValueError, ImportError, gymnasium.error.Error) as error:
        raise SettingsError(str(error)) from error


def _config(path: Path, env: str, agent: str, bonus: str) -> str:
    """A source as the parser takes it: a file, or what fits of a preset."""
    if path.parent != preset_folder():
        return str(path)
    return yaml.safe_dump(fitting(path, env, agent, bonus))


def _parser(prog: str, parts: Mapping[str, type[Any] | None]) -> SettingsParser:
    parser = SettingsParser(
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
    parser.add_class_arguments(TrainSettings, skip=set(parts))
    for name, kind in parts.items():
        if kind is not None:
            parser.add_class_arguments(kind, name)
        elif name == "options":
            parser.add_argument("--options", type=dict[str, Any], default={}, help="Of the id.")
    return parser
