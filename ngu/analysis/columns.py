"""What the columns of a file or the arrays of a caller must be, each complaint in one sentence.

Shapes: N states, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from ngu.sentences import SettingsError

EMBEDDING = ("embedding", "embeddings")
"""What the embeddings are called in a file that holds more than them."""
STD = ("embedding_std", "std", "stds")
"""Likewise the standard deviations of the posteriors whose means the embeddings are."""
EPISODE = ("episode", "episodes")
"""Likewise the number of the episode that a state is of."""
STEP = ("step", "steps")
"""Likewise the step of the state within its episode."""

_NUMBERS = "fiub"
_NAMED = 8
"""So many columns are named in a sentence."""


def check_embeddings(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """See that an array is one of embeddings, before it is read.

    Args:
        shape: of the array.
        dtype: of the array.
        what: its name for the user.

    Raises:
        SettingsError: it is not [N, D] of real numbers, or holds fewer than two states.
    """
    if dtype.kind not in _NUMBERS:
        kinds = {"O": "Python objects", "c": "complex numbers", "U": "text", "S": "text"}
        found = kinds.get(dtype.kind, str(dtype))
        raise SettingsError(f"{what} must be real numbers, got {found}")
    if len(shape) != 2:
        raise SettingsError(
            f"{what} must have shape [N, D], one row a state, got {list(shape)}"
            + ("; of single numbers as states make it [N, 1]" if len(shape) == 1 else "")
        )
    if shape[1] == 0:
        raise SettingsError(f"{what} must have at least one dimension, got {list(shape)}")
    if shape[0] < 2:
        found = "no row" if shape[0] == 0 else "one row"
        raise SettingsError(f"{what} must hold at least two states, got {found}")


def as_embeddings(values: np.ndarray, what: str) -> Float32[np.ndarray, "N D"]:
    """Embeddings as float32, C-contiguous.

    Args:
        values: real numbers [N, D].
        what: their name for the user.

    Raises:
        SettingsError: some are not finite, as they are or in float32; says which.
    """
    with np.errstate(over="ignore"):
        embeddings = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(embeddings)
    if not finite.all():
        columns = np.flatnonzero(~finite.all(0))
        rows = int((~finite.all(1)).sum())
        named = ", ".join(map(str, columns[:_NAMED].tolist()))
        more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
        raise SettingsError(
            f"{what} must be finite in float32, got NaN or infinity in {rows:,} of "
            f"{len(values):,} rows, in the columns {named}{more} of {values.shape[1]}"
        )
    return embeddings


def as_stds(values: Any, shape: tuple[int, ...], what: str) -> Float32[np.ndarray, "N D"]:
    """Standard deviations of posteriors as float32.

    Args:
        values: numbers above 0, [N, D].
        shape: of the embeddings, [N, D].
        what: their name for the user.

    Raises:
        SettingsError: they are others, or of another shape.
    """
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in _NUMBERS:
        raise SettingsError(
            f"{what} must be numbers of shape {list(shape)}, as the means are, got {array.dtype} "
            f"{list(array.shape)}"
        )
    stds = as_embeddings(array, what)
    if not (stds > 0).all():
        raise SettingsError(
            f"{what} must be standard deviations above 0, the least is {stds.min():g}"
        )
    return stds


def as_integers(values: Any, count: int, what: str) -> Int64[np.ndarray, " N"]:
    """Labels, episodes or steps as int64.

    Args:
        values: whole numbers or booleans [N]; floats that are whole will do.
        count: N.
        what: their name for the user.

    Raises:
        SettingsError: they are others, or another number of them.
    """
    array = np.asarray(values)
    if array.shape != (count,):
        raise SettingsError(
            f"{what} must have shape [{count}], one for each state, got {list(array.shape)}"
        )
    if array.dtype.kind in "iub" and array.dtype != np.uint64:
        return array.astype(np.int64)
    if array.dtype.kind in "fu":
        whole = np.isfinite(array) & (array == np.rint(array)) & (np.abs(array) < 2.0**63)
        if whole.all():
            return array.astype(np.int64)
        raise SettingsError(
            f"{what} must be whole numbers, got {array[~whole][0]:g} among {int((~whole).sum()):,} "
            "others that are not"
        )
    raise SettingsError(
        f"{what} must be whole numbers, got {array.dtype}; np.unique(..., return_inverse=True)[1] "
        "numbers what are names"
    )


def as_figures(values: Any, count: int, what: str) -> Float32[np.ndarray, " N"]:
    """Figures of each state as float32; NaN stays, for a state that has none.

    Args:
        values: real numbers [N].
        count: N.
        what: their name for the user.

    Raises:
        SettingsError: they are others, or another number of them.
    """
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in _NUMBERS:
        raise SettingsError(
            f"{what} must be numbers of shape [{count}], one for each state, got {array.dtype} "
            f"{list(array.shape)}"
        )
    return array.astype(np.float32)
