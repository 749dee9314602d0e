"""What a random agent sees of an Atari game, as in the paper whose probes `ram_probes.py` repeats.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226) and
its authors' code: OpenAI baselines' wrappers without scaling, in eight environments.
"""

from __future__ import annotations

from collections.abc import Iterator

import ale_py
import numpy as np
from ale_py import roms

ENVS, REPEAT, NO_OPS = 8, 4, 30
AT_A_TIME = 250

Frames = np.ndarray
"""uint8 [B, 210, 160, 3]."""


def seen(game: str, steps: int, draw: int = 0) -> Iterator[tuple[Frames, np.ndarray, np.ndarray]]:
    """Frames, memories and episodes of a random agent, `AT_A_TIME` steps at a time.

    Each draw has actions and no-ops of its own.
    """
    episode = -1
    for env in range(ENVS):
        player = RandomAgent(game, 100 + 1000 * draw + env)
        episode += 1
        rows: list[tuple[np.ndarray, np.ndarray, int]] = []
        for step in range(steps // ENVS):
            frame, ended = player.step(player.random_action())
            if ended:
                frame = player.reset()
                episode += 1
            rows.append((frame, player.memory(), episode))
            if len(rows) == AT_A_TIME or step == steps // ENVS - 1:
                frames, ram, episodes = zip(*rows, strict=True)
                yield np.stack(frames), np.stack(ram), np.array(episodes)
                rows = []


class RandomAgent:
    """One game with the wrappers of the paper: no-ops, lives as episodes, fire at their beginning.

    Args:
        game: A ROM's name.
        seed: Of the actions and the no-ops.
    """

    def __init__(self, game: str, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._ale = ale_py.ALEInterface()
        self._ale.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale.setInt("random_seed", seed)
        self._ale.setFloat("repeat_action_probability", 0.0)
        path = roms.get_rom_path(game)
        if path is None:
            raise SystemExit(f"game must be a ROM of ale-py's, got {game!r}")
        self._ale.loadROM(path)
        self._actions = self._ale.getMinimalActionSet()
        self._over = True
        self.reset()

    def random_action(self) -> int:
        """An action, never the one that does nothing."""
        return int(self._generator.integers(1, len(self._actions)))

    def memory(self) -> np.ndarray:
        """The console's memory, uint8 [128]."""
        return self._ale.getRAM().copy()

    def step(self, action: int) -> tuple[np.ndarray, bool]:
        """The brighter of the last two frames, and whether a life is over."""
        frames: list[np.ndarray] = []
        for turn in range(REPEAT):
            self._ale.act(self._actions[action])
            self._over = self._ale.game_over()
            if self._over or turn >= REPEAT - 2:
                frames.append(self._ale.getScreenRGB())
            if self._over:
                break
        lives = self._ale.lives()
        ended = self._over or 0 < lives < self._lives
        self._lives = lives
        return np.maximum(frames[0], frames[-1]), ended

    def reset(self) -> np.ndarray:
        """Begins a game, or goes on with the next life."""
        if self._over:
            self._ale.reset_game()
            for _ in range(self._generator.integers(1, NO_OPS + 1)):
                self._ale.act(ale_py.Action.NOOP)
            self._lives = self._ale.lives()
        else:
            self.step(0)
        self.step(1)
        frame, ended = self.step(2)
        return self.reset() if ended else frame
