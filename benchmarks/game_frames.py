"""Colour frames of Atari games by random actions, kept in a folder for the benchmarks of codecs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import ale_py
import numpy as np
from ale_py import roms

TRAIN, HELD_OUT = 4000, 256
GAP = 6
"""Steps between two frames that are kept, a mean."""
ROMS = {
    "MontezumaRevenge": "montezuma_revenge",
    "Pitfall": "pitfall",
    "PrivateEye": "private_eye",
    "Freeway": "freeway",
    "Venture": "venture",
    "Hero": "hero",
}


class GameFrames(NamedTuple):
    """Frames of one game, uint8 [N, 210, 160, 3]."""

    train: np.ndarray
    """To learn from."""
    held_out: np.ndarray
    """Of other episodes, with other chances."""


def game_frames(game: str, folder: Path) -> GameFrames:
    """The frames of a game, from the folder or collected into it."""
    path = folder / f"frames-{game}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(0)
        train = collected(ROMS[game], TRAIN, 1, generator)
        held_out = collected(ROMS[game], HELD_OUT, 2, generator)
        np.savez_compressed(path, train=train, test=held_out)
    with np.load(path, allow_pickle=False) as arrays:
        return GameFrames(arrays["train"], arrays["test"])


def collected(rom: str, count: int, seed: int, generator: np.random.Generator) -> np.ndarray:
    """Frames of episodes of random actions, each held for ten steps of four frames in the mean."""
    ale = ale_py.ALEInterface()
    ale.setLoggerMode(ale_py.LoggerMode.Error)
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(str(roms.get_rom_path(rom)))
    actions = ale.getLegalActionSet()
    frames: list[np.ndarray] = []
    action, held, steps = actions[0], 0, 0
    gap = int(generator.integers(1, 2 * GAP))
    while len(frames) < count:
        if ale.game_over() or steps > 4500:
            ale.reset_game()
            steps = 0
            for _ in range(int(generator.integers(1, 60))):
                ale.act(actions[0])
        if held <= 0:
            action = actions[int(generator.integers(len(actions)))]
            held = int(generator.geometric(0.1))
        held -= 1
        steps += 1
        for _ in range(3):
            ale.act(action)
        before = ale.getScreenRGB()
        ale.act(action)
        gap -= 1
        if gap == 0:
            frames.append(np.maximum(before, ale.getScreenRGB()))
            gap = int(generator.integers(1, 2 * GAP))
    return np.stack(frames)
