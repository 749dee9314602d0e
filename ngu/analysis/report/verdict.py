"""The numbers in words: what somebody wants to know who has a minute.

Each rule names its thresholds; what was not measured is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.section import Number
from ngu.analysis.report.words import interval, per_cent, rounded

KNOWN, HALF_KNOWN = 0.8, 0.5
"""F1 or R2 from which a variable is read well, and from which in part."""
_NAMED = 4
"""Of variables or reasons, so many are named in a sentence."""


def verdict(
    numbers: Mapping[str, Number], dim: int, known: Mapping[str, tuple[str, float]]
) -> tuple[str, ...]:
    """Sentences on an embedding.

    Args:
        numbers: what was measured, by key.
        dim: dimensions D.
        known: of the variables that a linear probe reads, "F1" or "R2" and how much, by name, the
            best first.
    """
    sentences = [
        _dimensions(numbers, dim),
        _redundancy(numbers),
        _knowledge(known),
        _distance(numbers),
        _missing(numbers),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _dimensions(numbers: Mapping[str, Number], dim: int) -> str:
    found = _measured(numbers, "effective_rank")
    if found is None:
        return ""
    share = found.value / dim
    how = "uses all of its dimensions" if share > 0.9 else "uses most of its dimensions"
    if share <= 0.6:
        how = "uses some of its dimensions"
    if share <= 0.25:
        how = "uses few of its dimensions"
    if found.value < 1.5 < dim:
        how = "has collapsed"
    text = f"The embedding {how}: {rounded(found.value)} ({interval(found)}) of {dim} in effect"
    idle = []
    for key, says in (
        ("dead_dimensions", "do not move"),
        ("duplicated_dimensions", "repeat others"),
    ):
        count = _measured(numbers, key)
        if count is not None and count.value:
            idle.append(f"{int(count.value)} {says if count.value > 1 else _singular(says)}")
    return f"{text}; {' and '.join(idle)}." if idle else f"{text}."


def _redundancy(numbers: Mapping[str, Number]) -> str:
    found, bits = _measured(numbers, "redundancy"), _measured(numbers, "bits_per_state")
    if found is None or bits is None:
        return ""
    share = found.value
    how = "Its dimensions say almost nothing twice"
    if share >= 0.05:
        how = "Its dimensions say some things twice"
    if share >= 0.25:
        how = "Its dimensions repeat each other"
    if share >= 0.5:
        how = "Its dimensions mostly repeat each other"
    return (
        f"{how}: {per_cent(share)} % of the bits that they take each on their own are redundant "
        f"({interval(found, '%')}), and a state takes {rounded(bits.value)} bits."
    )


def _knowledge(known: Mapping[str, tuple[str, float]]) -> str:
    if not known:
        return ""
    parts = []
    for how, least, most in (
        ("well", KNOWN, math.inf),
        ("in part", HALF_KNOWN, KNOWN),
        ("hardly", -math.inf, HALF_KNOWN),
    ):
        told = [
            f"{name} ({kind} {score:.2f})"
            for name, (kind, score) in known.items()
            if least <= score < most
        ]
        if told:
            parts.append(f"{how} {_listed(told)}")
    return f"On episodes held out, a linear probe reads {'; '.join(parts)}."


def _distance(numbers: Mapping[str, Number]) -> str:
    parts = []
    for key, what in (
        ("distance_follows_steps", "the steps between two states"),
        ("distance_follows_position", "how far apart two states of a room are"),
    ):
        found = _measured(numbers, key)
        if found is not None:
            parts.append(f"{_follows(found.value)} {what} (rank correlation {_about(found)})")
    return f"Its distances {', and '.join(parts)}." if parts else ""


def _follows(correlation: float) -> str:
    if correlation < 0.2:
        return "hardly follow"
    if correlation < 0.5:
        return "loosely follow"
    return "closely follow" if correlation >= 0.8 else "follow"


def _missing(numbers: Mapping[str, Number]) -> str:
    reasons: dict[str, list[str]] = {}
    for number in numbers.values():
        if isinstance(number.found, NotMeasured):
            reasons.setdefault(number.found.reason, []).append(number.name)
    if not reasons:
        return ""
    told = [f"{_listed(names)} (because {reason})" for reason, names in reasons.items()]
    return f"Not measured: {_listed(told)}."


def _measured(numbers: Mapping[str, Number], key: str) -> Estimate | None:
    number = numbers.get(key)
    return number.found if number is not None and isinstance(number.found, Estimate) else None


def _about(found: Estimate) -> str:
    if found.low is None:
        return rounded(found.value)
    return f"{rounded(found.value)}, {interval(found)}"


def _listed(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return ", ".join(told[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _singular(says: str) -> str:
    return says.replace("do not move", "does not move").replace("repeat others", "repeats another")
