"""Two reports' numbers side by side, and their difference.

The interval of a difference from the intervals of both, which need not be symmetric: Zou and
Donner, "Construction of confidence limits about effect measures" (Statistics in Medicine 27, 2008),
equations 3 and 4. The two are taken to be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.section import Number


class Compared(NamedTuple):
    """One number of two embeddings."""

    first: Number
    second: Number
    difference: Estimate | NotMeasured
    """The second less the first."""


def compare(first: Sequence[Number], second: Sequence[Number]) -> list[Compared]:
    """Pair the numbers of two reports by their keys; those that only one has are left out."""
    others = {number.key: number for number in second}
    return [
        Compared(number, others[number.key], difference(number.found, others[number.key].found))
        for number in first
        if number.key in others
    ]


def difference(
    first: Estimate | NotMeasured, second: Estimate | NotMeasured
) -> Estimate | NotMeasured:
    """The second less the first, with an interval where both have one."""
    if isinstance(first, NotMeasured) or isinstance(second, NotMeasured):
        return NotMeasured("it takes both")
    value = second.value - first.value
    if not math.isfinite(value):
        return NotMeasured("one of them is infinite")
    ends = (first.low, first.high, second.low, second.high)
    if any(end is None or not math.isfinite(end) for end in ends):
        return Estimate(value)
    low_1, high_1, low_2, high_2 = (float(end) for end in ends if end is not None)
    below = math.hypot(second.value - low_2, high_1 - first.value)
    above = math.hypot(high_2 - second.value, first.value - low_1)
    return Estimate(value, value - below, value + above)
