"""How many dimensions the states lie on, however it is bent: from nearest neighbours.

Sources: TwoNN, Facco et al. (Scientific Reports 7, 2017, arXiv 1803.06992), by maximum likelihood
of the ratios below a quantile; Levina and Bickel (NIPS 2004), with the inverses averaged as MacKay
and Ghahramani say ("Comments on 'Maximum likelihood estimation of intrinsic dimension'", 2005).

Shapes: n states that differ, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.neighbours import Nearest, distinct, nearest, outside
from ngu.analysis.resampling import Groups, jackknife, make_groups

NEIGHBOURS = 50
"""Neighbours that are looked for."""
LEAST_STATES = 2 * NEIGHBOURS
"""So many states that differ are needed."""
_DISCARDED = 0.1
"""Share of the largest ratios that TwoNN leaves out, as in the paper."""
_LEVINA_BICKEL = slice(10, 21)
"""Neighbours that Levina and Bickel average over: k from 10 to 20."""
_PARTS = 20
"""Parts of the groups that are left out one after the other."""


@dataclass(frozen=True)
class IntrinsicDimension:
    """The dimension of what the states lie on."""

    two_nn: Estimate | NotMeasured
    """By the ratio of the distances to two neighbours: at the smallest scale there is."""
    levina_bickel: Estimate | NotMeasured
    """By the distances to 20 neighbours: at a larger scale."""
    by_neighbours: Float64[np.ndarray, " K"]
    """As Levina and Bickel, by the distances to 2, 3, ... neighbours; empty if not measured."""
    states: int
    """States that it was measured on, all different."""
    repeated: float
    """Share of all states that repeat another one, and were left out."""


def intrinsic_dimension(
    embeddings: Float[np.ndarray, "N D"],
    groups: Groups | None = None,
    *,
    limit: int = 10_000,
    seed: int = 0,
) -> IntrinsicDimension:
    """Measure the intrinsic dimension.

    Neighbours are sought in other groups, if there are enough of them for an interval.

    Args:
        embeddings: the states, finite.
        groups: what intervals are over; None: blocks of consecutive states.
        limit: states whose neighbours are searched, drawn from those that differ.
        seed: of the sample.
    """
    groups = make_groups(None, len(embeddings)) if groups is None else groups
    rows, repeated = distinct(embeddings, limit=limit, seed=seed)
    drawn = groups.of(rows)
    apart = drawn if drawn.enough else None
    reason = _too_few(rows, apart)
    if reason is not None:
        return IntrinsicDimension(reason, reason, np.empty(0), len(rows), repeated)
    found = nearest(embeddings[rows], NEIGHBOURS, apart)
    values = _dimensions(found.distance)
    if apart is None:
        measures = [Estimate(float(value)) for value in values]
    else:
        measures = jackknife(values, _without_each_part(found, drawn))
    return IntrinsicDimension(
        two_nn=measures[0],
        levina_bickel=measures[1],
        by_neighbours=1 / levina_bickel_terms(found.distance).mean(0),
        states=len(rows),
        repeated=repeated,
    )


def two_nn_terms(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Terms whose mean is 1 / dimension (Facco et al.).

    The ratio of the distances to the second and the first neighbour is Pareto with the dimension as
    its exponent, its logarithm exponential. The largest tenth only counts as larger than the rest
    (censored): there the density is not the same for both neighbours.
    """
    logarithm = np.log(second / first)
    kept = max(2, int(len(logarithm) * (1 - _DISCARDED)))
    most = np.partition(logarithm, kept - 1)[kept - 1]
    return np.minimum(logarithm, most) * len(logarithm) / (kept - 1)


def levina_bickel_terms(distance: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, "n K-1"]:
    """Inverse dimension at each state (Levina and Bickel, equation 8), for k from 2 to K.

    1 / m_k = 1 / (k - 1) sum over j < k of log (T_k / T_j); their mean over states is the inverse
    of the likeliest dimension that all share.
    """
    logarithm = np.log(distance)
    k = np.arange(2, distance.shape[1] + 1)
    return logarithm[:, 1:] - np.cumsum(logarithm, axis=1)[:, :-1] / (k - 1)


def _dimensions(distance: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, "2"]:
    """Both dimensions from the distances to neighbours."""
    chosen = slice(_LEVINA_BICKEL.start - 2, _LEVINA_BICKEL.stop - 2)
    inverse = levina_bickel_terms(distance[:, : _LEVINA_BICKEL.stop - 1])[:, chosen]
    return 1 / np.array([two_nn_terms(distance[:, 0], distance[:, 1]).mean(), inverse.mean()])


def _without_each_part(found: Nearest, groups: Groups) -> Float64[np.ndarray, "P 2"]:
    """Both dimensions without each of up to 20 parts of the groups, from one search.

    Without a part, the neighbours are those of the search that are not in it. A state with less
    than 20 of them left is left out as well.
    """
    parts = min(groups.count, _PARTS)
    part = groups.index * parts // groups.count
    needed = _LEVINA_BICKEL.stop - 1
    without = []
    for left_out in range(parts):
        rows = part != left_out
        there = part[found.which[rows]] != left_out
        enough = there.sum(1) >= needed
        order = np.argsort(~there[enough], axis=1, kind="stable")[:, :needed]
        without.append(_dimensions(np.take_along_axis(found.distance[rows][enough], order, 1)))
    return np.stack(without)


def _too_few(rows: Int64[np.ndarray, " n"], apart: Groups | None) -> NotMeasured | None:
    """Why there are not enough states, or None."""
    if len(rows) < LEAST_STATES:
        states = "1 state differs" if len(rows) == 1 else f"{len(rows)} states differ"
        return NotMeasured(f"only {states}, and {LEAST_STATES} are needed")
    if apart is not None and outside(apart) < LEAST_STATES:
        return NotMeasured(f"all but {outside(apart)} states that differ are of one episode")
    return None
