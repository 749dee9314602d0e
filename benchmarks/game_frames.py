"""Colour frames of Atari games by random actions, kept in a folder for the benchmarks of codecs.

One rule for all games: frames far apart, so that they are of many episodes, and actions held for
long, so that these reach many rooms. (A frame every 6 steps, of actions held for 10, is from 9
episodes of Private Eye, of which a held-out one goes where the others have hardly been.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import ale_py
import numpy as np
from ale_py import roms

TRAIN, HELD_OUT = 4000, 256
GAP = 32
"""Steps between two frames that are kept, a mean."""
HELD = 32
"""Steps that an action is held, a mean; each is of four frames of the game."""
LONGEST = 4500
"""Steps of an episode at most."""
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
    """Of other episodes, with other chances; none is equal to one of `train`."""


def game_frames(game: str, folder: Path) -> GameFrames:
    """The frames of a game, from the folder or collected into it."""
    path = folder / f"frames-{game}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(0)
        train = np.stack(list(islice(frames(ROMS[game], 1, generator), TRAIN)))
        known = {_digest(frame) for frame in train}
        others = (f for f in frames(ROMS[game], 2, generator) if _digest(f) not in known)
        held_out = np.stack(list(islice(others, HELD_OUT)))
        np.savez_compressed(path, train=train, test=held_out)
    with np.load(path, allow_pickle=False) as arrays:
        return GameFrames(arrays["train"], arrays["test"])


def frames(rom: str, seed: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Frames of one episode after the other, each the maximum of two as agents see them."""
    ale = ale_py.ALEInterface()
    ale.setLoggerMode(ale_py.LoggerMode.Error)
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(str(roms.get_rom_path(rom)))
    actions = ale.getLegalActionSet()
    action, held, steps = actions[0], 0, 0
    gap = int(generator.integers(1, 2 * GAP))
    while True:
        if ale.game_over() or steps > LONGEST:
            ale.reset_game()
            steps = 0
            for _ in range(int(generator.integers(1, 60))):
                ale.act(actions[0])
        if held <= 0:
            action = actions[int(generator.integers(len(actions)))]
            held = int(generator.geometric(1 / HELD))
        held, steps, gap = held - 1, steps + 1, gap - 1
        for _ in range(3):
            ale.act(action)
        before = ale.getScreenRGB() if gap == 0 else None
        ale.act(action)
        if before is not None:
            yield np.maximum(before, ale.getScreenRGB())
            gap = int(generator.integers(1, 2 * GAP))


def _digest(frame: np.ndarray) -> bytes:
    return hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
