"""The presets: files of settings that are found by name, one for each kind of run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ngu.sentences import SettingsError, closest
from ngu.settings import UNPAID_AGENTS, TrainSettings, resolve_device
from ngu_envs import environment_family

_PRESET_OF_FAMILY = {
    "disco-maze": "disco-maze",
    "deep-sea": "deep-sea",
    "noisy-tv": "disco-maze",
    "grid": "disco-maze",
    "vector": "classic",
}


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


def default_preset(env: str, device: str, agent: str = TrainSettings.agent) -> str:
    """Name of the preset for an environment's family, a device and an agent."""
    family = environment_family(env)
    on_cuda = resolve_device(device).type == "cuda"
    if agent == "dreamer":
        if family == "atari":
            return "dreamer-atari-gpu" if on_cuda else "dreamer-atari-cpu"
        return "dreamer-crafter" if family == "image" else "dreamer-minigrid"
    if agent == "world-models":
        return "world-models"
    if family in _PRESET_OF_FAMILY:
        return _PRESET_OF_FAMILY[family]
    if agent == "ppo":
        return "atari-ppo" if family == "atari" else "crafter-ppo"
    if env == "crafter":
        return "crafter"
    return "atari-gpu" if on_cuda else "atari-cpu"


def content_of(path: Path) -> dict[str, Any]:
    """Settings by name, as a file states them.

    Raises:
        SettingsError: It cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        says = " ".join(str(error).split())
        raise SettingsError(f"{path} cannot be read as YAML: {says}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingsError(f"{path} must hold settings by name, got {found}")
    return content


def fitting(path: Path, env: str, agent: str, bonus: str) -> dict[str, Any]:
    """What a preset states, without its settings of another environment, agent or bonus."""
    content = content_of(path)
    foreign = set[str]()
    if content.get("env", env) != env:
        foreign |= {"options"}
    same = {"ngu", "archive-ngu"} if agent == "archive-ngu" else {agent}
    if content.get("agent", TrainSettings.agent) not in same:
        foreign |= {"learning", "replay"}
    if content.get("bonus", TrainSettings.bonus) != bonus or agent in UNPAID_AGENTS:
        foreign |= {"novelty"}
    return {name: value for name, value in content.items() if name not in foreign}
