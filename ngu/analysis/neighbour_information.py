"""What dimensions share, whatever their distribution: estimated from nearest neighbours, in bits.

Sources: entropy, Kozachenko and Leonenko (Problems of Information Transmission 23, 1987); mutual
information, Kraskov, Stögbauer and Grassberger (Physical Review E 69, arXiv cond-mat/0305641),
equation 8. Both are applied to normal scores, as what dimensions share does not change when each is
bent on its own.

Shapes: n states, D dimensions, P pairs.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from ngu.analysis.neighbours import nearest
from ngu.analysis.resampling import Groups, Interval, mean_interval
from ngu.seeding import Seeds

_NEIGHBOURS = 4
"""k of both estimators."""


class MutualInformation(NamedTuple):
    """What any two dimensions share."""

    dimensions: Int64[np.ndarray, " P"]
    """Which dimensions: all, or of many those that move most."""
    bits: Float64[np.ndarray, "P P"]
    """As estimated, a little below 0 where they share nothing; NaN on the diagonal."""
    interval: Interval
    """Of each."""
    states: int
    """States that it was estimated from."""


def pair_terms(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Terms whose mean is the mutual information of two numbers in bits (Kraskov et al., eq. 8).

    I = psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>, where n_x and n_y count the states that are
    nearer in one number than the k-th neighbour is in the worse of both. No two states may be the
    same in either.
    """
    from scipy.spatial import KDTree
    from scipy.special import digamma

    points = np.stack([first, second], axis=1)
    tree = KDTree(points, balanced_tree=False, compact_nodes=False)
    radius = tree.query(points, k=_NEIGHBOURS + 1, p=np.inf)[0][:, -1]
    near = [_nearer(one, radius) for one in (first, second)]
    constant = digamma(_NEIGHBOURS) + digamma(len(points))
    return (constant - digamma(near[0] + 1) - digamma(near[1] + 1)) / math.log(2)


def mutual_information(
    scores: Float64[np.ndarray, "n P"], dimensions: Int64[np.ndarray, " P"], groups: Groups
) -> MutualInformation:
    """The mutual information of every two dimensions.

    Args:
        scores: normal scores of the states.
        dimensions: which dimensions they are.
        groups: what intervals are over.
    """
    dim = scores.shape[1]
    bits, low, high = np.full((3, dim, dim), np.nan)
    for first, second in itertools.combinations(range(dim), 2):
        terms = pair_terms(scores[:, first], scores[:, second])
        interval = mean_interval(terms, groups)
        values = (terms.mean(), interval.low, interval.high)
        for matrix, value in zip((bits, low, high), values, strict=True):
            matrix[first, second] = matrix[second, first] = value
    return MutualInformation(dimensions, bits, Interval(low, high), len(scores))


def negentropy_terms(
    scores: Float64[np.ndarray, "n D"], apart: Groups | None, *, seed: int
) -> Float64[np.ndarray, " n"]:
    """Terms whose mean is what normal scores share beyond their correlations, in bits.

    The total correlation of numbers that are Gaussian one by one is that of their correlations and
    the negentropy of the numbers decorrelated: by how much a Gaussian of the same covariance has
    more entropy. Both entropies are estimated in the same way, the Gaussian's from as many states
    drawn from it, so that what the estimator errs by in many dimensions cancels where the states
    are nearly Gaussian.

    Args:
        scores: normal scores of the states; none may be determined by the others.
        apart: neighbours are sought in other ones of these groups; None: among all.
        seed: of the Gaussian states.
    """
    if scores.shape[1] == 1:
        return np.zeros(len(scores))
    generator = Seeds(seed).numpy("gaussian states")
    gaussian = normal_scores(generator.normal(size=scores.shape))
    reference = _entropy_terms(_decorrelated(gaussian), apart).mean()
    return (reference - _entropy_terms(_decorrelated(scores), apart)) / math.log(2)


def normal_scores(values: Float64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
    """Each dimension bent so that it is standard normal, by the ranks of its values."""
    count, dim = values.shape
    from scipy.special import ndtri

    quantiles = ndtri((np.arange(count) + 0.5) / count)
    quantiles /= max(float(quantiles.std()), np.finfo(np.float64).tiny)
    scores = np.empty(values.shape)
    for j in range(dim):
        scores[np.argsort(values[:, j], kind="stable"), j] = quantiles
    return scores


def _entropy_terms(
    points: Float64[np.ndarray, "n D"], apart: Groups | None
) -> Float64[np.ndarray, " n"]:
    """Terms whose mean is the entropy in nats (Kozachenko and Leonenko), up to a constant.

    The constant depends on the numbers of dimensions and of states in each group alone.
    """
    distance = nearest(points, _NEIGHBOURS, apart).distance[:, -1]
    return points.shape[1] * np.log(np.maximum(distance, np.finfo(np.float64).tiny))


def _decorrelated(scores: Float64[np.ndarray, "n D"]) -> Float64[np.ndarray, "n D"]:
    """Scores in other coordinates, in which their covariance is the identity."""
    values, vectors = np.linalg.eigh(np.cov(scores, rowvar=False, bias=True))
    return (scores - scores.mean(0)) @ (vectors / np.sqrt(values))


def _nearer(
    values: Float64[np.ndarray, " n"], radius: Float64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """How many others are nearer to each value than its radius."""
    ordered = np.sort(values)
    # Rounding must not count the neighbour that the radius was measured to.
    radius = radius * (1 - 1e-10)
    after = np.searchsorted(ordered, values + radius, side="left")
    return after - np.searchsorted(ordered, values - radius, side="right") - 1
