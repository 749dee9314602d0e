"""The sentences that a user reads when an option of an environment is wrong."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable


def require_integer(
    name: str, value: object, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Returns `value` as an int.

    Raises:
        TypeError: `value` is no integer (booleans are none).
        ValueError: `value` lies outside [minimum, maximum].
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value)
    if minimum is not None and number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}")
    return number


def require_probability(name: str, value: object) -> float:
    """Returns `value` as a float in [0, 1].

    Raises:
        TypeError: `value` is no real number.
        ValueError: `value` lies outside [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a probability, got {value!r}")
    probability = float(value)
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"{name} must be a probability in [0, 1], got {probability}")
    return probability


def require_bool(name: str, value: object) -> bool:
    """Returns `value`.

    Raises:
        TypeError: `value` is no bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")
    return value


def closest_names(name: str, names: Iterable[str], count: int = 5) -> list[str]:
    """The names most like `name`, best first; upper and lower case are the same."""
    by_key = {known.casefold(): known for known in names}
    key = name.casefold()
    matches = difflib.get_close_matches(key, by_key, n=count, cutoff=0.5)
    starting = sorted((known for known in by_key if key and known.startswith(key)), key=len)
    ordered = dict.fromkeys([*matches[:1], *starting, *matches])
    return [by_key[match] for match in list(ordered)[:count]]
