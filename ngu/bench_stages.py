"""The stages of what is timed: what each took, as a table and as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from ngu.session import memory_used

Result = TypeVar("Result")


class Stage(NamedTuple):
    """What one stage took."""

    seconds: float
    flops: float | None
    """Floating-point operations that it did in that time; None where nobody counts them."""
    thread: str
    """"acting" or "learner": stages of different threads overlap."""


def count_flops(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and the floating-point operations that it did."""
    with FlopCounterMode(display=False) as counter:
        result = call()
    return result, float(counter.get_total_flops())


def peak_memory() -> int:
    """Most bytes that this process held, and what its workers hold now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return memory_used()
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    peak = int(line.split()[1]) * 1024
    return peak + memory_used() - memory_used(workers=False)


def print_stages(title: str, stages: Mapping[str, Stage], elapsed: float, steps: int) -> None:
    """Print a table of the stages below a title."""
    table = Table()  # a title of its own would be broken at the table's width
    table.add_column("stage")
    for heading in ("thread", "seconds", "share", "us per step", "GFLOP/s"):
        table.add_column(heading, justify="right")
    for name, stage in stages.items():
        rate = "" if not stage.flops else f"{stage.flops / stage.seconds / 1e9:,.0f}"
        table.add_row(
            name,
            stage.thread,
            f"{stage.seconds:.2f}",
            f"{stage.seconds / elapsed:.1%}",
            f"{stage.seconds / steps * 1e6:,.1f}",
            rate,
        )
    console = Console(width=None if os.isatty(1) else 120)
    console.print(title, table, sep="\n", highlight=False)


def print_json(
    figures: dict[str, Any], stages: Mapping[str, Stage], elapsed: float, steps: int
) -> None:
    """Print figures and stages as one JSON object in a line."""
    content = figures | {
        "stages": {
            name: {
                "seconds": stage.seconds,
                "share": stage.seconds / elapsed,
                "us_per_step": stage.seconds / steps * 1e6,
                "gflops": stage.flops / stage.seconds / 1e9 if stage.flops else None,
                "thread": stage.thread,
            }
            for name, stage in stages.items()
        }
    }
    sys.stdout.write(json.dumps(content) + "\n")
