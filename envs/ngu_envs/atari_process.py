"""The other end of a worker: starts it, writes commands, reads answers, notices its death."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from ngu_envs import atari_wire as wire
from ngu_envs.atari_game import GameSettings

logger = logging.getLogger(__name__)

_SECONDS_TO_END = 5
_PIPE_BYTES = 1 << 20


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()


def _widen(pipe: int) -> None:
    """Let a pipe hold a step's observations, so that a worker need not wait for its reader."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (AttributeError, OSError) as error:
        # Only Linux can, up to a limit of its own; elsewhere steps are slower.
        logger.debug("pipes to Atari workers keep their size: %s", error)


class WorkerDiedError(RuntimeError):
    """A process that plays games has ended by itself; its environments cannot go on."""


class WorkerProcess:
    """A worker with `count` games, and what it was asked last.

    Started as a program of its own, not by `multiprocessing`: a user's script needs no guard for
    its main module, and the worker loads nothing that emulation does not need. A session of its own
    keeps Ctrl-C from it. It ends when its input is closed, which the system does even for a process
    that was killed.

    Args:
        rom: Which game.
        first: Number of its first environment, for messages.
        count: How many games.
        settings: How they are played.
        screens: Whether the console's own pictures come with each step.
    """

    def __init__(
        self, rom: str, first: int, count: int, settings: GameSettings, *, screens: bool = False
    ):
        self.share = slice(first, first + count)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, lives as long as the worker
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
            # One thread for each worker's small matrix products; the workers share the cores.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ngu_envs.atari_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _stop, self._process, self._errors)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin.fileno()
        self._output = self._process.stdout.fileno()
        _widen(self._output)
        setup = {
            "rom": rom,
            "count": count,
            "settings": asdict(settings),
            "screens": screens,
        }
        self._owes_answer = False
        self._write(json.dumps(setup).encode() + b"\n")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def _died(self) -> NoReturn:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "it left no message"
        raise WorkerDiedError(
            f"the Atari worker {self.pid} of environments {self.share.start} to "
            f"{self.share.stop - 1} ended with code {code}: {reason}"
        )

    def _send(self, data: bytes) -> None:
        """Sends a command; the caller must read the answer."""
        if self._owes_answer:
            raise RuntimeError(
                "a step of the Atari environments was interrupted before its end, so they cannot "
                "go on: make new ones"
            )
        self._owes_answer = True
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.close.alive:
            raise RuntimeError("the Atari environments are closed")
        try:
            wire.write_all(self._input, data)
        except BrokenPipeError:
            self._died()

    def _receive(self, buffer: memoryview) -> None:
        if not wire.read_into(self._output, buffer):
            self._died()

    def create(self, seeds: np.ndarray) -> None:
        """Makes the games anew; `read_created` must follow."""
        self._send(wire.CREATE + seeds.astype(np.uint64).tobytes())

    def read_created(self) -> tuple[int, int]:
        """Number of actions of the games made, and rows of the pictures that come with steps."""
        answer = bytearray(2)
        self._receive(memoryview(answer))
        self._owes_answer = False
        return answer[0], answer[1]

    def reset(self) -> None:
        """Begins an episode in each game; `read_step` must follow."""
        self._send(wire.RESET)

    def step(self, actions: np.ndarray) -> None:
        """Steps each game; `read_step` must follow."""
        self._send(wire.STEP + actions.astype(np.uint8).tobytes())

    def read_step(self, *arrays: np.ndarray) -> None:
        """Writes what the worker answers into this worker's share of arrays.

        Args:
            arrays: observations and records [E, ...], and pictures where they come too.
        """
        for array in arrays:
            self._receive(wire.bytes_of(array[self.share]))
        self._owes_answer = False

    def save(self) -> list[dict[str, np.ndarray]]:
        """The state of each game."""
        self._send(wire.SAVE)
        block = wire.read_block(self._output)
        if block is None:
            self._died()
        self._owes_answer = False
        count = self.share.stop - self.share.start
        states: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
        for key, array in block.items():
            number, name = key.split("/")
            states[int(number)][name] = array
        return states

    def load(self, states: list[dict[str, np.ndarray]]) -> None:
        """Sets the state of each game."""
        arrays = {f"{i}/{key}": a for i, state in enumerate(states) for key, a in state.items()}
        self._send(wire.LOAD + wire.pack(arrays))
        self._receive(memoryview(bytearray(1)))
        self._owes_answer = False

    def snapshot(self, where: np.ndarray) -> None:
        """Asks for snapshots of the games in `where` [count]; `read_snapshots` must follow."""
        self._send(wire.SNAPSHOT + where.tobytes())

    def read_snapshots(self, count: int) -> list[bytes]:
        """The snapshots asked for."""
        parts = wire.read_parts(self._output, count)
        if parts is None:
            self._died()
        self._owes_answer = False
        return parts

    def restore(self, where: np.ndarray, snapshots: list[bytes]) -> None:
        """Takes the games in `where` [count] back; `read_restored` must follow."""
        self._send(wire.RESTORE + where.tobytes() + wire.join(snapshots))

    def read_restored(self, observations: np.ndarray, records: np.ndarray) -> None:
        """Fills arrays with a row for each game taken back."""
        self._receive(wire.bytes_of(observations))
        self._receive(wire.bytes_of(records))
        self._owes_answer = False
