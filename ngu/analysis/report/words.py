"""Numbers as they are read: three digits, their interval, their unit."""

from __future__ import annotations

import math

from ngu.analysis.estimate import Estimate
from ngu.analysis.report.section import COUNT


def rounded(value: float) -> str:
    """A number of three digits, in full where it is whole or large."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else "minus infinite" if value < 0 else "undefined"
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def per_cent(value: float) -> str:
    """A share in %, without decimals but near 0."""
    text = f"{100 * value:.1f}" if abs(value) < 0.0995 else f"{100 * value:.0f}"
    return text.removesuffix(".0").replace("-", "\N{MINUS SIGN}")


def said(value: float, unit: str) -> str:
    """A value in its unit, without the unit's name; shares in %."""
    if unit == COUNT:
        return f"{value:.0f}"
    return f"{per_cent(value)} %" if unit == "%" else rounded(value)


def interval(found: Estimate, unit: str = "") -> str:
    """The interval, or that there is none; nothing of what was counted."""
    if unit == COUNT:
        return ""
    if found.low is None or found.high is None:
        return "no interval"
    say = per_cent if unit == "%" else rounded
    end = " %" if unit == "%" else ""
    return f"{say(found.low)} to {say(found.high)}{end}"


def plotly_text(text: str) -> str:
    """Text that plotly.js, which reads a little HTML, shows as it is."""
    short = " ".join(text.split())
    short = short if len(short) <= 24 else f"{short[:23]}\N{HORIZONTAL ELLIPSIS}"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
