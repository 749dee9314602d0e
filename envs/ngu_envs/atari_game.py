"""One Atari game: emulator, preprocessing, random start, time limit, and its state as bytes.

Source: Machado et al., Revisiting the Arcade Learning Environment (arXiv 1709.06009) for sticky
actions; Mnih et al., Nature 2015 for no-ops, action repeat and the maximum over two frames.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import ale_py
import numpy as np
from ale_py import roms

from ngu_envs.atari_frames import SCREEN_WIDTH, AreaResize
from ngu_envs.atari_names import ROOM_BYTES

RAM_BYTES = 128
"""Of the console's memory."""

# What a step gives besides the observation, as it travels between processes.
RECORD = np.dtype(
    [
        ("reward", np.float32),
        ("terminated", np.bool_),
        ("truncated", np.bool_),
        ("lives", np.int32),
        ("room", np.int32),
        ("ram", np.uint8, (RAM_BYTES,)),
    ]
)

_ELAPSED = struct.Struct("<I")


@dataclass(frozen=True)
class GameSettings:
    """How one game is played; all numbers decided."""

    sticky_probability: float
    """Chance at each frame that the emulator repeats the previous action."""
    frame_stack: int
    """Latest frames in an observation."""
    noop_max: int
    """An episode begins with 1 to this many frames without action; 0 for none."""
    full_action_set: bool
    """All 18 actions of the console, or only those that do something in this game."""
    action_repeat: int
    """Frames for which an action is held; the rewards add up."""
    max_steps: int
    """Steps after which an episode is truncated."""


class AtariGame:
    """One game with autoreset in the next step.

    Args:
        rom: For example "montezuma_revenge".
        seed: Decides the no-ops and the sticky actions.
        settings: How it is played.
        observation: uint8 [frames, 84, 84], where each reset and step leaves its observation; it
            is the game's frame stack, so nothing else may write there.
        record: [1] of `RECORD`, where they leave the rest.
        screens: Whether they leave the console's own picture in `screen`.

    Attributes:
        screen: uint8 [height, 160, 3], of an action's last two frames the brighter in each pixel
            and colour; no rows without `screens`.
    """

    def __init__(
        self,
        rom: str,
        seed: int,
        settings: GameSettings,
        observation: np.ndarray,
        record: np.ndarray,
        *,
        screens: bool = False,
    ):
        no_ops, emulator = np.random.SeedSequence(seed).spawn(2)
        self.settings = settings
        self._generator = np.random.default_rng(no_ops)
        self._ale = ale_py.ALEInterface()
        self._ale.setInt("random_seed", int(emulator.generate_state(1)[0] >> 1))
        self._ale.setFloat("repeat_action_probability", settings.sticky_probability)
        path = roms.get_rom_path(rom)
        if path is None:
            raise ValueError(f"rom must be one of ale-py's, got {rom!r}")
        self._ale.loadROM(path)
        full = settings.full_action_set
        self.actions = self._ale.getLegalActionSet() if full else self._ale.getMinimalActionSet()
        self._room_byte = ROOM_BYTES.get(rom)
        height = self._ale.getScreenDims()[0]
        self._resize = AreaResize(height)
        self._screens = np.empty((2, height, SCREEN_WIDTH), np.uint8)
        self.screen = np.zeros((height if screens else 0, SCREEN_WIDTH, 3), np.uint8)
        self._stack = observation
        self._record = record
        self._elapsed = 0
        self._ended = False

    def reset(self) -> None:
        """Begins an episode."""
        self._ale.reset_game()
        if self.settings.noop_max > 0:
            for _ in range(self._generator.integers(1, self.settings.noop_max + 1)):
                self._ale.act(ale_py.Action.NOOP)
                if self._ale.game_over(with_truncation=False):
                    self._ale.reset_game()
        self._elapsed = 0
        self._ale.getScreenGrayscale(self._screens[0])
        if len(self.screen):
            self._ale.getScreenRGB(self.screen)
        self._stack[:] = 0
        self._stack[-1] = self._resize(self._screens[0])
        self._leave(0.0, terminated=False)

    def step(self, action: int) -> None:
        """Holds an action, or resets where the episode has ended."""
        if self._ended:
            self.reset()
            return
        ale, repeat = self._ale, self.settings.action_repeat
        chosen = self.actions[action]
        reward = 0.0
        seen = 0
        terminated = False
        for frame in range(repeat):
            reward += ale.act(chosen)
            terminated = ale.game_over(with_truncation=False)
            if frame >= repeat - 2 or terminated:
                ale.getScreenGrayscale(self._screens[seen])
                if len(self.screen):
                    drawn = ale.getScreenRGB()
                    self.screen[:] = np.maximum(self.screen, drawn) if seen else drawn
                seen += 1
            if terminated:
                break
        # Many games draw some things in every second frame only.
        if seen == 2:
            np.maximum(self._screens[0], self._screens[1], out=self._screens[0])
        self._elapsed += 1
        # One by one: numpy would copy a whole overlapping block twice.
        for i in range(len(self._stack) - 1):
            self._stack[i] = self._stack[i + 1]
        self._stack[-1] = self._resize(self._screens[0])
        self._leave(reward, terminated)

    def _leave(self, reward: float, terminated: bool) -> None:
        truncated = not terminated and self._elapsed >= self.settings.max_steps
        self._ended = terminated or truncated
        ram = self._ale.getRAM()
        room = -1 if self._room_byte is None else ram[self._room_byte]
        self._record[0] = (reward, terminated, truncated, self._ale.lives(), room, ram)

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that the next steps depend on, as arrays."""
        emulator = self._ale.cloneState(include_rng=True).serialize()
        generator = json.dumps(self._generator.bit_generator.state).encode()
        return {
            "emulator": np.frombuffer(emulator, np.uint8).copy(),
            "generator": np.frombuffer(generator, np.uint8).copy(),
            "stack": self._stack.copy(),
            "elapsed": np.array(self._elapsed),
            "ended": np.array(self._ended),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken, sticky actions and no-ops included."""
        self._ale.restoreState(ale_py.ALEState(state["emulator"].tobytes()))
        self._generator.bit_generator.state = json.loads(state["generator"].tobytes())
        self._stack[...] = state["stack"]
        self._elapsed = int(state["elapsed"])
        self._ended = bool(state["ended"])

    def snapshot(self) -> bytes:
        """What `restore` goes back to: the game, but not the chances that lie ahead of it."""
        emulator = self._ale.cloneState().serialize()
        whole = _ELAPSED.pack(self._elapsed) + self._stack.tobytes() + emulator
        return zlib.compress(whole, level=1)

    def restore(self, snapshot: bytes) -> None:
        """Goes back to where `snapshot` was taken, in this or another game of the same kind.

        Raises:
            ValueError: It is no snapshot of such a game.
        """
        try:
            whole = memoryview(zlib.decompress(snapshot))
            (self._elapsed,) = _ELAPSED.unpack_from(whole)
            stack = np.frombuffer(whole, np.uint8, self._stack.size, _ELAPSED.size)
            emulator = whole[_ELAPSED.size + self._stack.size :].tobytes()
            self._ale.restoreState(ale_py.ALEState(emulator))
        except (zlib.error, struct.error, ValueError, RuntimeError) as error:
            raise ValueError(f"this is no snapshot of the game: {error}") from error
        self._stack[...] = stack.reshape(self._stack.shape)
        self._leave(0.0, terminated=False)
