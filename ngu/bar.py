"""How far a command is: a progress bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_SAID_EVERY = 10.0  # seconds, where there is no terminal


class Bar:
    """A progress bar on a terminal, now and then a log line elsewhere.

    Args:
        what: is being done.
        total: units to do.
        done: units that are done already.
        console: where it is shown.
        unit: what a speed counts.
    """

    def __init__(
        self, what: str, total: int, done: int, console: Console, *, unit: str = "pictures"
    ) -> None:
        self._unit = unit
        self._what, self._total, self._first = what, total, done
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=total, completed=done, figures="")
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, per_unit: int = 1, **figures: float) -> None:
        """Show how far it is; ``per_unit`` of what a speed counts are in each unit."""
        now = time.monotonic()
        rate = (done - self._first) * per_unit / max(now - self._begun, 1e-9)
        told = ", ".join(
            [
                f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s",
                *(f"{name} {value:,.1f}" for name, value in figures.items()),
            ]
        )
        self._progress.update(self._task, completed=done, figures=told)
        if self._progress.disable and (now - self._said > _SAID_EVERY or done == self._total):
            self._said = now
            logger.info("%s: %s of %s, %s", self._what, f"{done:,}", f"{self._total:,}", told)
