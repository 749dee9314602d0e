"""What training shows while it runs: one live panel on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

logger = logging.getLogger(__name__)

_NONE = "-"
_WIDE = 68
# How far the episodes got, where it is not told in rooms.
_PLACES = (("coverage",), ("achievements_per_episode", "crafter_score"))
# The stages of World Models, and what the losses of those begin with that train a network.
_STAGES = ("collect", "see", "predict", "control")
_TRAINED = {1: "see/", 2: "predict/"}


class Display:
    """Shows how training goes; a context manager around the loop.

    Metrics are merged into what was shown before, so parts may be updated at their own pace. Those
    not known yet are shown as a dash.
    """

    def __init__(self, total_frames: int, title: str = "ngu", console: Console | None = None):
        """Prepares the display.

        Args:
            total_frames: Frames at which training ends.
            title: What is trained on what, over the panel.
            console: Where to show it, the terminal unless told.

        Raises:
            ValueError: ``total_frames`` is below 1.
        """
        if total_frames < 1:
            raise ValueError(f"total_frames is {total_frames}, expected at least 1")
        self.console = console or Console()
        self._total = total_frames
        self._title = title
        self._metrics: dict[str, Any] = {}
        self._updated = time.monotonic()
        self._saved: float | None = None
        self._announced = False
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self.console, refresh_per_second=2
            )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, metrics: Mapping[str, Any], log_point: bool = True) -> None:
        """Shows new values.

        Args:
            metrics: Values by the names of ``metrics.jsonl``; None where there is none.
            log_point: Whether this is a log point, which gets a line where there is no terminal.
        """
        self._metrics = {**self._metrics, **metrics}
        self._updated = time.monotonic()
        if not self._announced and self._remaining() is not None:
            self._announced = True
            self._say(self._announcement())
        if log_point and self._live is None:
            logger.info("%s", self._line())

    def saved(self, path: Path) -> None:
        """Shows that a checkpoint was written.

        Args:
            path: Its file.
        """
        self._saved = time.monotonic()
        if self._live is None:
            logger.info("checkpoint %s", path)

    def _say(self, sentence: str) -> None:
        if self._live is None:
            logger.info("%s", sentence)
        else:
            self.console.print(sentence, highlight=False)

    def _value(self, name: str) -> float | None:
        value = self._metrics.get(name)
        return None if value is None or not math.isfinite(value) else float(value)

    def _frames_per_second(self) -> float | None:
        """Frames/s: a step is several frames where the environment repeats actions."""
        rate, frames, steps = map(self._value, ("steps_per_second", "frames", "steps"))
        return rate * frames / steps if rate and frames and steps else None

    def _stage(self) -> int | None:
        return self._metrics.get("stage")

    def _remaining(self) -> float | None:
        rate = self._frames_per_second()
        if rate is None or self._stage() in _TRAINED:  # frames go slowly there, and fast after it
            return None
        return max(0.0, self._total - (self._value("frames") or 0.0)) / rate

    def _frames(self) -> str:
        frames = self._value("frames") or 0.0
        return f"{frames:,.0f} / {self._total:,} ({min(1.0, frames / self._total):.1%})"

    def _announcement(self) -> str:
        rate, remaining = self._frames_per_second() or 0.0, self._remaining() or 0.0
        left = max(0, self._total - int(self._value("frames") or 0))
        return (
            f"{left:,} frames to go at {rate:,.0f} frames/s: about {_roughly(remaining)}. "
            "Ctrl-C stops at any time and keeps everything."
        )

    def _pairs(self) -> list[tuple[str, str]]:
        """The names and values shown besides the losses, side by side in twos."""
        places = next((names for names in _PLACES if names[0] in self._metrics), ("rooms",))
        far = [(name.replace("_", " "), _number(self._value(name))) for name in places]
        rate, remaining, seconds = (
            self._frames_per_second(),
            self._remaining(),
            self._value("seconds"),
        )
        passed = time.monotonic() - self._updated
        share = self._value("replay_fill")
        replay = [
            "" if share is None else f"{share:.0%}",
            _gigabytes(self._value("replay_gb")),
        ]
        pairs = [
            ("frames/s", _NONE if rate is None else f"{rate:,.0f}"),
            ("remaining", _clock(None if remaining is None else max(0.0, remaining - passed))),
            ("elapsed", _clock(None if seconds is None else seconds + passed)),
            ("memory used", _gigabytes(self._value("memory_gb")) or _NONE),
        ]
        if "cells" in self._metrics:
            return [
                *pairs,
                ("best score", _number(self._value("score_best"))),
                *far,
                ("cells", _number(self._value("cells"))),
                ("archive", _gigabytes(self._value("archive_gb"))),
            ]
        episodes = [
            ("episode return", _number(self._value("episode_return"))),
            ("episodes", _number(self._value("episodes"))),
        ]
        if (stage := self._stage()) is not None:
            share = "" if stage == len(_STAGES) - 1 else f", {self._metrics['stage_share']:.0%}"
            return [
                *pairs,
                *episodes,
                ("stage", f"{stage + 1} of {len(_STAGES)}: {_STAGES[stage]}{share}"),
                ("generation", _number(self._value("generation"))),
                ("fitness", _number(self._value("fitness"))),
                ("best fitness", _number(self._value("fitness_best"))),
            ]
        return [
            *pairs,
            *episodes,
            *far,
            ("intrinsic reward", _number(self._value("intrinsic_reward"))),
            ("episodic novelty", _number(self._value("episodic_novelty"))),
            ("lifelong modulator", _number(self._value("lifelong_modulator"))),
            ("updates", _number(self._value("updates"))),
            ("replay", ", ".join(filter(None, replay)) or _NONE),
        ]

    def _losses(self) -> list[tuple[str, str]]:
        prefix = _TRAINED.get(self._stage() or 0, "loss/")
        return [
            (name, _number(self._value(name)))
            for name in sorted(self._metrics)
            if name.startswith(prefix)
        ]

    def _line(self) -> str:
        known = [pair for pair in [*self._pairs(), *self._losses()] if pair[1] != _NONE]
        return " | ".join(
            [f"frames {self._frames()}", *(f"{name} {value}" for name, value in known)]
        )

    def _render(self) -> RenderableType:
        pairs = self._pairs()
        saved = _NONE if self._saved is None else f"{_roughly(time.monotonic() - self._saved)} ago"
        pairs += [("checkpoint", saved), *self._losses()]
        columns = 2 if self.console.width >= _WIDE else 1
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(columns):
            table.add_column(style="dim", no_wrap=True)
            table.add_column(no_wrap=True, ratio=1)
        for i in range(0, len(pairs), columns):
            table.add_row(*(text for pair in pairs[i : i + columns] for text in pair))
        frames = min(self._value("frames") or 0.0, self._total)
        progress = Table.grid(padding=(0, 1, 0, 0), expand=True)
        progress.add_column(ratio=1)
        progress.add_column(no_wrap=True)
        progress.add_row(ProgressBar(total=self._total, completed=frames), self._frames())
        return Panel(
            Group(progress, table),
            title=Text(self._title),
            subtitle=Text("Ctrl-C stops and keeps everything", style="dim"),
            box=ROUNDED,
        )


def _number(value: float | None) -> str:
    """Four significant digits, or all of a whole number."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _gigabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} GB"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return str(timedelta(seconds=round(seconds))) if seconds < 8_640_000 else _roughly(seconds)


def _roughly(seconds: float) -> str:
    """A time as one says it: 40 seconds, 12 minutes, 3.5 hours, 2.1 days."""
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
