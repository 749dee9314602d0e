"""What is known of the states that environments are in, as whole numbers by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ngu_envs.atari import AtariEnvs
from ngu_envs.atari_ram import RAM_LABELS

_KEYS = {
    "lives": "lives left",
    "room": "number of the room",
    "row": "row of the agent's cell, from the top",
    "column": "column of the agent's cell, from the left",
}
"""Keys of info that are labels, and what they mean."""


def label_meanings(envs: VectorEnv, info: dict[str, Any]) -> dict[str, str]:
    """What each label means, by name; empty where nothing is known of the states.

    Args:
        envs: The environments.
        info: Of a reset or step of theirs.
    """
    bytes_of = _bytes_of(envs)
    if bytes_of:
        return {name: f"byte {byte} of the console's memory" for name, byte in bytes_of.items()}
    meanings = {key: meaning for key, meaning in _KEYS.items() if key in info}
    for name in envs.metadata.get("achievements", ()):
        meanings[name] = "1 where the episode has unlocked this achievement"
    return meanings


def labels_of(envs: VectorEnv, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """The labels of the states that environments are in, int64 [E] each, by name."""
    bytes_of = _bytes_of(envs)
    if bytes_of:
        labels = {name: info["ram"][:, byte] for name, byte in bytes_of.items()}
    else:
        labels = {key: info[key] for key in _KEYS if key in info}
        for i, name in enumerate(envs.metadata.get("achievements", ())):
            labels[name] = info["achievements"][:, i]
    return {name: np.asarray(values, np.int64) for name, values in labels.items()}


def _bytes_of(envs: VectorEnv) -> dict[str, int]:
    """The bytes of a game's memory that are known; those of no game none."""
    return RAM_LABELS.get(envs.rom, {}) if isinstance(envs, AtariEnvs) else {}
