"""How many bits an embedding takes, and how many of them are redundant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ngu.analysis.coding import Redundancy
from ngu.analysis.coding.rate_distortion import Point
from ngu.analysis.estimate import NotMeasured
from ngu.analysis.report.section import Figure, Number, Section, bars, error_bars

_CODES = {
    "independent": "each dimension by itself",
    "principal": "each principal direction by itself",
    "learned": "learned transform and context",
}
"""What the report calls the codes of `Redundancy.curves`."""


def coding_section(found: Redundancy, spread: float) -> Section:
    """Redundancy, bits per state and per dimension, and rate-distortion curves.

    Args:
        found: as measured.
        spread: root of the mean variance of the dimensions.
    """
    return Section(
        key="coding",
        title="How many bits it takes, and how many are redundant",
        how=(
            "The same held-out states are written to files by several codes, and read back "
            "exactly. A curve shows the bits of a state over the precision that is kept: further "
            "right is more precise, lower is better. The bits that the lowest curve saves at equal "
            "precision are the redundancy: what the dimensions say twice. The bars are what each "
            "dimension costs by itself; one of 0 bits holds nothing at this resolution. "
            f"Intervals are {found.intervals}, of the {found.held_out:,} states held out."
        ),
        numbers=(
            Number(
                "redundancy",
                "redundancy",
                found.redundancy,
                "share of the bits of independent dimensions that a joint code saves at equal "
                "error",
                "%",
            ),
            Number(
                "bits_per_state",
                "bits per state",
                found.bits_per_state,
                "of the joint code, at a sixteenth of the embedding's spread as step",
                "bits",
            ),
        ),
        figures=(_curves(found, spread), _dimensions(found)),
    )


def _curves(found: Redundancy, spread: float) -> Figure | NotMeasured:
    if isinstance(found.redundancy, NotMeasured) and not found.curves:
        return found.redundancy
    traces = [
        _curve(_CODES.get(name, name), points, spread) for name, points in found.curves.items()
    ]
    return Figure(
        traces=traces,
        layout={
            "title": {"text": "Bits of a state over precision"},
            "xaxis": {"title": {"text": "signal to error, dB"}},
            "yaxis": {"title": {"text": "bits per state"}, "rangemode": "tozero"},
        },
        summary="rate-distortion curves of " + ", ".join(trace["name"] for trace in traces),
    )


def _curve(name: str, points: Sequence[Point], spread: float) -> dict[str, Any]:
    kept = [point for point in points if point.squared_error.value > 0]
    decibels = [-10 * math.log10(point.squared_error.value / spread**2) for point in kept]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": decibels,
        "y": [point.bits.value for point in kept],
        "error_y": error_bars([point.bits for point in kept]),
        "name": name,
        "hovertemplate": "%{x:.1f} dB: %{y:.4g} bits<extra>%{fullData.name}</extra>",
    }


def _dimensions(found: Redundancy) -> Figure | NotMeasured:
    bits = found.bits_per_dimension
    if isinstance(bits, NotMeasured):
        return bits
    total = sum(estimate.value for estimate in bits)
    return bars(
        bits,
        "Bits of each dimension by itself",
        "bits per state",
        f"{len(bits)} dimensions take {total:.4g} bits by themselves",
    )
