"""What a report is made of: sections of numbers, figures and tables, of whatever was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ngu.analysis.estimate import Estimate, NotMeasured

COUNT = "counted"
"""Unit of what was counted: it has no interval."""


class Number(NamedTuple):
    """One measured number, as it stands in tables and in ``report.json``."""

    key: str
    """Its name in JSON."""
    name: str
    """Its name for readers."""
    found: Estimate | NotMeasured
    """What was measured."""
    meaning: str
    """What it is, in a sentence without a full stop."""
    unit: str = ""
    """Its unit: bits, dimensions, ...; "%" where the number is a share that readers see in %;
    `COUNT`."""
    listed: bool = True
    """Whether its section lists it; what stands in a table of the section is not repeated."""


class Figure(NamedTuple):
    """A figure as plotly.js draws it; colours of text and grid are the page's."""

    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    summary: str
    """What it shows, for those who cannot see it."""
    height: int = 340
    """In pixels."""


class Table(NamedTuple):
    """A table; cells are text, or what was measured."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Estimate | NotMeasured, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    key: str
    """Its anchor."""
    title: str
    how: str
    """How to read it: a few plain sentences."""
    numbers: tuple[Number, ...] = ()
    figures: tuple[Figure | NotMeasured, ...] = ()
    tables: tuple[Table, ...] = field(default=())


def bars(
    estimates: Sequence[Estimate], title: str, axis: str, summary: str, height: int = 340
) -> Figure:
    """A bar for each dimension with its interval.

    Args:
        estimates: of each dimension, in bits.
        title: of the figure.
        axis: what the bars' height is.
        summary: what it shows.
        height: in pixels.
    """
    return Figure(
        traces=[
            {
                "type": "bar",
                "x": list(range(len(estimates))),
                "y": [estimate.value for estimate in estimates],
                "error_y": error_bars(estimates),
                "hovertemplate": "dimension %{x}: %{y:.3g} bits<extra></extra>",
            }
        ],
        layout={
            "title": {"text": title},
            "xaxis": {"title": {"text": "dimension"}},
            "yaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        },
        summary=summary,
        height=height,
    )


def error_bars(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Intervals as plotly draws them; none where there are none."""
    if any(estimate.low is None or estimate.high is None for estimate in estimates):
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [float(e.high or 0.0) - e.value for e in estimates],
        "arrayminus": [e.value - float(e.low or 0.0) for e in estimates],
        "thickness": 1,
        "width": 2,
    }
