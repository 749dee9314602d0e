"""The program of a worker process: steps its share of the games when told to.

`ale_py` holds Python's lock while it emulates, so threads of one process would take turns. A worker
reads its set-up as one line of JSON, then commands (`atari_wire`); it ends when its input does, so
that none is left behind whatever happens to the process that started it.
"""

from __future__ import annotations

import json
import os
import sys

import ale_py
import numpy as np

from ngu_envs import atari_wire as wire
from ngu_envs.atari_frames import SIDE
from ngu_envs.atari_game import RECORD, AtariGame, GameSettings


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line


class Worker:
    """The games of one worker.

    Args:
        rom: Which game.
        count: How many of it.
        settings: How they are played.
        screens: Whether the console's own pictures are answered too.
        commands: Descriptor that commands come from.
        answers: Descriptor that answers go to.
    """

    def __init__(
        self,
        rom: str,
        count: int,
        settings: GameSettings,
        *,
        screens: bool,
        commands: int,
        answers: int,
    ):
        self._rom = rom
        self._settings = settings
        self._commands = commands
        self._answers = answers
        self._games: list[AtariGame] = []
        self._seeds = np.zeros(count, np.uint64)
        self._actions = np.zeros(count, np.uint8)
        self._observations = np.zeros((count, settings.frame_stack, SIDE, SIDE), np.uint8)
        self._records = np.zeros(count, RECORD)
        self._screens = screens

    def run(self) -> None:
        """Follows commands until the input ends."""
        command = bytearray(1)
        while wire.read_into(self._commands, memoryview(command)):
            if not self._follow(bytes(command)):
                return

    def _follow(self, command: bytes) -> bool:
        """Follows one command; False where the input ended within it."""
        if command == wire.CREATE:
            if not wire.read_into(self._commands, wire.bytes_of(self._seeds)):
                return False
            self._games = [
                AtariGame(
                    self._rom,
                    int(seed),
                    self._settings,
                    self._observations[i],
                    self._records[i : i + 1],
                    screens=self._screens,
                )
                for i, seed in enumerate(self._seeds)
            ]
            game = self._games[0]
            wire.write_all(self._answers, bytes([len(game.actions), len(game.screen)]))
        elif command == wire.RESET:
            for game in self._games:
                game.reset()
            self._answer_step()
        elif command == wire.STEP:
            if not wire.read_into(self._commands, wire.bytes_of(self._actions)):
                return False
            for game, action in zip(self._games, self._actions.tolist(), strict=True):
                game.step(action)
            self._answer_step()
        elif command == wire.SAVE:
            states = [game.state_dict() for game in self._games]
            arrays = {f"{i}/{key}": a for i, state in enumerate(states) for key, a in state.items()}
            wire.write_all(self._answers, wire.pack(arrays))
        elif command == wire.LOAD:
            block = wire.read_block(self._commands)
            if block is None:
                return False
            for i, game in enumerate(self._games):
                prefix = f"{i}/"
                game.load_state_dict(
                    {k.removeprefix(prefix): a for k, a in block.items() if k.startswith(prefix)}
                )
            wire.write_all(self._answers, wire.LOAD)
        elif command in (wire.SNAPSHOT, wire.RESTORE):
            return self._follow_snapshots(command)
        else:
            raise ValueError(f"unknown command {command!r}")
        return True

    def _follow_snapshots(self, command: bytes) -> bool:
        asked = np.zeros(len(self._games), np.bool_)
        if not wire.read_into(self._commands, wire.bytes_of(asked)):
            return False
        games = [game for game, wanted in zip(self._games, asked, strict=True) if wanted]
        if command == wire.SNAPSHOT:
            wire.write_all(self._answers, wire.join([game.snapshot() for game in games]))
            return True
        snapshots = wire.read_parts(self._commands, len(games))
        if snapshots is None:
            return False
        for game, snapshot in zip(games, snapshots, strict=True):
            game.restore(snapshot)
        wire.write_all(self._answers, wire.bytes_of(self._observations[asked]))
        wire.write_all(self._answers, wire.bytes_of(self._records[asked]))
        return True

    def _answer_step(self) -> None:
        wire.write_all(self._answers, wire.bytes_of(self._observations))
        wire.write_all(self._answers, wire.bytes_of(self._records))
        if self._screens:
            for game in self._games:
                wire.write_all(self._answers, wire.bytes_of(game.screen))


def main() -> None:
    """Runs a worker on standard input and output."""
    commands = sys.stdin.fileno()
    answers = os.dup(sys.stdout.fileno())
    # Whatever else writes to standard output must not get between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    line = _read_line(commands)
    if not line:
        return
    setup = json.loads(line)
    settings = GameSettings(**setup["settings"])
    worker = Worker(
        setup["rom"],
        setup["count"],
        settings,
        screens=setup["screens"],
        commands=commands,
        answers=answers,
    )
    try:
        worker.run()
    except BrokenPipeError:
        return  # whoever started this has gone, nobody is left to tell


if __name__ == "__main__":
    main()
