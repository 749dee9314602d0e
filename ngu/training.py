"""Training a session: it steps, logs, shows, saves, and ends well whatever stops it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ngu.checkpoint import DamagedCheckpoint
from ngu.display import Display
from ngu.run_folder import RunFolder
from ngu.sentences import SettingsError, reason
from ngu.session import Session
from ngu.training_states import TrainingStates

logger = logging.getLogger(__name__)

SHOWN_EVERY = 0.5
"""Seconds between updates of the display."""
RATE_AFTER = 5.0
"""Seconds over which a speed is measured before it is shown."""


class Stop:
    """Remembers the first SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            show_cursor = b"\x1b[?25h" if os.isatty(2) else b""
            os.write(2, show_cursor + b"\nstopped at once; the last checkpoint is whole\n")
            os._exit(128 + number)
        self.signal = number


class Training:
    """A session with its folder and display.

    Args:
        session: begun, or about to be resumed.
        folder: of the run.
        display: shows how it goes.
    """

    def __init__(self, session: Session, folder: RunFolder, display: Display) -> None:
        self._session, self._folder, self._display = session, folder, display
        self._settings = session.settings
        self._states: TrainingStates | None = None
        if self._settings.states.environments:
            self._states = TrainingStates(session, folder.path)
        self._replay_folder = folder.checkpoints.folder / "replay"
        self._replay_folder.mkdir(parents=True, exist_ok=True)
        self._needed: dict[Path, set[str]] = {}
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._mark()

    @property
    def seconds(self) -> float:
        """Time spent training, what came before a resume included."""
        return self._seconds_before + time.monotonic() - self._started

    def run(self, stop: Stop) -> None:
        """Train until the frames are done or a signal asks to stop, then save.

        Where the frames are done is a last log point.

        Raises:
            FloatingPointError: a loss is not finite; the checkpoints stay as they are.
        """
        try:
            self._run(stop)
        finally:
            if self._states is not None:
                self._states.close()

    def _run(self, stop: Stop) -> None:
        settings, session = self._settings, self._session
        log_point = session.loop.steps // settings.log.steps
        saved = shown = time.monotonic()
        self._mark()  # what it took to begin is no part of the speed
        if session.frames < settings.frames:
            for progress in session:
                if self._states is not None:
                    self._states.add(progress)
                if progress.steps // settings.log.steps > log_point:
                    log_point = progress.steps // settings.log.steps
                    self._log()
                now = time.monotonic()
                if now - shown > SHOWN_EVERY:
                    shown = now
                    self._show_status()
                if stop.signal is not None:
                    logger.info("stopping: a checkpoint is being written; once more stops at once")
                if session.frames >= settings.frames or stop.signal is not None:
                    break
                if now - saved > settings.checkpoint.seconds:
                    self.save()
                    saved = time.monotonic()
        if session.frames >= settings.frames and session.loop.steps > self._marked[1]:
            self._log()
        self.save()

    def save(self) -> bool:
        """Write a checkpoint; where the disk is full the last one stays and training goes on."""
        session, checkpoints = self._session, self._folder.checkpoints
        try:
            state = {"session": session.save(self._replay_folder), "seconds": self.seconds}
            path = checkpoints.save(session.loop.steps, state)
        except OSError as error:
            stays = "the one before stays" if checkpoints.paths() else "and there is none yet"
            logger.error("no checkpoint was written, %s: %s", stays, error)
            return False
        self._needed[path] = session.agent.files(state["session"]["agent"])
        self._prune()
        self._display.saved(path)
        return True

    def resume(self) -> None:
        """Go on from the newest checkpoint that is whole, its replay included.

        A run that ended before its first checkpoint begins anew.

        Raises:
            DamagedCheckpoint: none is whole.
            SettingsError: the newest one is that of other settings.
        """
        session, checkpoints = self._session, self._folder.checkpoints
        if not checkpoints.paths():
            logger.info("the run ended before its first checkpoint: it begins anew")
            session.begin()
            self._prune()
            self._folder.resume(0)
            return
        resumed = False
        for path, state in checkpoints.whole():
            if not resumed:
                try:
                    session.load(self._replay_folder, state["session"])
                except DamagedCheckpoint as error:
                    logger.warning("damaged checkpoint passed over: %s: %s", path, error)
                    checkpoints.mark_damaged(path)
                    continue
                except (ValueError, TypeError, KeyError, RuntimeError) as error:
                    raise SettingsError(
                        f"{path} does not fit the settings in {self._folder.path}, or is of "
                        f"another version: {reason(error)}"
                    ) from error
                resumed = True
                self._seconds_before = state["seconds"]
                logger.info("going on from %s, at %d steps", path, session.loop.steps)
            self._needed[path] = session.agent.files(state["session"]["agent"])
        if not resumed:
            raise DamagedCheckpoint(
                f"no checkpoint in {checkpoints.folder} is whole; if only files of the replay are "
                "damaged, --checkpoint.replay false goes on without it"
            )
        self._prune()
        self._folder.resume(session.loop.steps)

    def final_figures(self) -> dict[str, Any]:
        """What the run came to: the last known value of each figure that was logged."""
        settings, figures = self._settings, {}
        for row in [*self._folder.metrics(), self._session.collect()]:
            figures |= {name: value for name, value in row.items() if value is not None}
        run = {"env": settings.env, "agent": settings.agent, "seed": settings.seed}
        return run | figures | {"seconds": self.seconds}

    def _log(self) -> None:
        figures = self._session.collect()
        timed = figures | {"seconds": self.seconds, "steps_per_second": self._rate()}
        self._mark()
        self._folder.log(timed)
        self._show(timed, log_point=True)

    def _show_status(self) -> None:
        figures = self._session.status() | {"seconds": self.seconds}
        if time.monotonic() - self._marked[0] > RATE_AFTER:
            figures["steps_per_second"] = self._rate()
        self._show(figures, log_point=False)

    def _show(self, figures: Mapping[str, int | float | None], *, log_point: bool) -> None:
        """Show what is known; what no episode told since the last log point stays as it was."""
        known = {name: value for name, value in figures.items() if value is not None}
        self._display.update(known, log_point=log_point)

    def _mark(self) -> None:
        self._marked = (time.monotonic(), self._session.loop.steps)

    def _rate(self) -> float:
        """Steps per second since the last log point."""
        then, steps = self._marked
        return (self._session.loop.steps - steps) / max(time.monotonic() - then, 1e-9)

    def _prune(self) -> None:
        """Delete the replay's files that no checkpoint on disk needs."""
        self._needed = {path: names for path, names in self._needed.items() if path.exists()}
        needed = set[str]().union(*self._needed.values())
        for file in self._replay_folder.iterdir():
            if file.name not in needed:
                file.unlink()
