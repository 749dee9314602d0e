"""The report as JSON: every number with its interval, and what they were measured on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ngu.analysis.coding.learned_code import LearnedCode
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.assemble import Report
from ngu.analysis.report.comparison import compare
from ngu.analysis.report.section import Number

_PACKAGES = ("never-give-up", "numpy", "torch", "scikit-learn", "constriction", "plotly")

_MOST = 100_000
"""Numbers of an array that are written, at most."""


def record(reports: Sequence[Report], seed: int) -> dict[str, Any]:
    """What ``report.json`` holds.

    Args:
        reports: one, or two that are compared: the second is under ``compared``, and the second
            less the first under ``difference``.
        seed: of all that was drawn.
    """
    result = {**_record(reports[0]), "seed": seed, "versions": versions()}
    if len(reports) == 2:
        pairs = compare(reports[0].numbers, reports[1].numbers)
        result["compared"] = _record(reports[1])
        result["difference"] = {pair.first.key: plain(pair.difference) for pair in pairs}
    return result


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that measures come from; None where one is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def plain(value: Any) -> Any:
    """A record as JSON has it: what is not finite becomes null."""
    if isinstance(value, Estimate):
        numbers = {name: plain(end) for name, end in value._asdict().items()}
        return (
            numbers if math.isfinite(value.value) else {**numbers, "reason": f"it is {value.value}"}
        )
    if isinstance(value, NotMeasured):
        return {"value": None, "low": None, "high": None, "reason": value.reason}
    if isinstance(value, LearnedCode):  # its weights
        return None
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, np.ndarray) and value.size > _MOST:
        return f"left out: {' x '.join(map(str, value.shape))} numbers"
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        named = getattr(value, "_asdict", None)
        return [plain(inner) for inner in value] if named is None else plain(named())
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _record(report: Report) -> dict[str, Any]:
    data = report.data
    return {
        "source": data.source,
        "rows": data.rows,
        "rows_used": len(data.embeddings),
        "dimensions": data.embeddings.shape[1],
        "sampling": data.sampling,
        "intervals": f"95 %, {report.measures.over}",
        "verdict": list(report.verdict),
        **{number.key: _number(number) for number in report.numbers},
        "measures": plain(report.measures),
    }


def _number(number: Number) -> dict[str, Any]:
    unit = "share" if number.unit == "%" else number.unit
    return {**plain(number.found), "unit": unit, "meaning": number.meaning}
