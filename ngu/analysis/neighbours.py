"""Exact distances to nearest neighbours in other episodes, for what is estimated from them.

A state's nearest neighbours are those before and after it in its episode: they tell how the game
steps, and not where its states lie. What is estimated from neighbours takes those in other groups
(of dimensions, from Theiler, Physical Review A 34, 1986, who leaves out those near in time).

FAISS finds the neighbours in float32. Its squared distances are differences of large numbers, and
where neighbours are near nothing is left of them: the distances are computed again in float64.

Shapes: N points, D dimensions, K neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
from jaxtyping import Float, Float64, Int64

from ngu.analysis.resampling import Groups, some_rows

_SPARE = 4
"""More neighbours than asked for, as rounding may swap the last ones."""
_SAME = 1e-6
"""Points at less than this share of their length are the same state, embedded twice."""
_NUMBERS_AT_ONCE = 2**23


class Nearest(NamedTuple):
    """The neighbours of each point, the nearest first."""

    distance: Float64[np.ndarray, "N K"]
    """Euclidean."""
    which: Int64[np.ndarray, "N K"]
    """Their rows."""


class Distinct(NamedTuple):
    """Points that differ from each other."""

    rows: Int64[np.ndarray, " n"]
    """Which points, ascending: of those that are the same the first, of many a sample."""
    repeated: float
    """Share of all points that repeat another one."""


def nearest(points: Float[np.ndarray, "N D"], k: int, groups: Groups | None = None) -> Nearest:
    """The k nearest of each point among the others, or among those in other groups.

    Args:
        points: more than k of them that each can have as neighbours.
        k: neighbours K.
        groups: whose members are no neighbours of each other; None: a point is only none of itself.
    """
    count = len(points)
    centred = points - points.mean(0, dtype=np.float64)
    single = np.ascontiguousarray(centred, dtype=np.float32)
    wanted = min(k + 1 + _SPARE, count)
    found = np.empty((count, wanted), dtype=np.int64)
    if groups is None:
        found[:] = faiss.knn(single, single, wanted)[1]
    else:
        for group in range(groups.count):
            inside = groups.index == group
            others = np.flatnonzero(~inside)
            wanted = min(wanted, len(others))
            near = faiss.knn(single[inside], single[others], wanted)[1]
            found[inside, :wanted] = others[near]
    found = found[:, :wanted]
    squares = np.empty(found.shape)
    part = max(1, _NUMBERS_AT_ONCE // (wanted * points.shape[1]))
    for first in range(0, count, part):
        rows = slice(first, first + part)
        squares[rows] = np.square(centred[rows, None] - centred[found[rows]]).sum(-1)
    squares[found == np.arange(count)[:, None]] = np.inf
    order = np.argsort(squares, axis=1)[:, :k]
    return Nearest(
        np.sqrt(np.take_along_axis(squares, order, 1)), np.take_along_axis(found, order, 1)
    )


def distinct(points: Float[np.ndarray, "N D"], *, limit: int, seed: int) -> Distinct:
    """Points that differ, of which at most ``limit`` are drawn at random.

    Games come back to the same state, and a state that is its own neighbour at no distance tells
    nothing of the dimension. Points also count as the same at less than 1e-6 of their length:
    networks round differently in batches of different sizes.

    Args:
        points: finite.
        limit: points to be drawn.
        seed: of the sample.
    """
    rows = _first_of_equals(points)
    share = len(rows) / max(len(points), 1)
    rows = rows[some_rows(len(rows), limit, seed)]
    tried = max(len(rows), 1)
    same = _SAME * float(np.sqrt(np.square(points, dtype=np.float64).sum(1).mean()))
    again = np.ones(len(rows), dtype=bool)
    while again.any() and len(rows) > 1:
        found = nearest(points[rows], min(_SPARE, len(rows) - 1))
        earlier = found.which < np.arange(len(rows))[:, None]
        again = ((found.distance <= same) & earlier).any(1)
        rows = rows[~again]
    return Distinct(rows, 1 - share * len(rows) / tried)


def outside(groups: Groups) -> int:
    """States outside the largest group: so many neighbours in other groups each has at least."""
    return len(groups.index) - int(np.bincount(groups.index).max(initial=0))


def _first_of_equals(points: Float[np.ndarray, "N D"]) -> Int64[np.ndarray, " n"]:
    """Ascending rows, one of each that are equal; bytes are compared, which is the fastest."""
    # The sum turns -0 into 0, which equals it and has other bytes.
    as_bytes = np.ascontiguousarray(points + 0.0).view(np.uint8).reshape(len(points), -1)
    keys = as_bytes.view(np.dtype((np.void, as_bytes.shape[1]))).reshape(-1)
    return np.sort(np.unique(keys, return_index=True)[1]).astype(np.int64)
