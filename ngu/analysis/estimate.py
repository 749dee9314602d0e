"""A measured number with its interval."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A number and the interval that it lies in by 95 %, where one was measured."""

    value: float
    """As measured on all rows that were used."""
    low: float | None = None
    """Lower end of the interval; None where none was measured."""
    high: float | None = None
    """Upper end."""


class NotMeasured(NamedTuple):
    """In place of a measure that these data do not allow."""

    reason: str
    """A clause that completes "not measured, because ..."."""
