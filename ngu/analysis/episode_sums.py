"""Intervals over episodes of whatever can be computed from sums over states.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979), percentiles. A measure
that depends on sums alone (a correlation, a share, F1) is resampled by adding up the sums of the
episodes drawn: no state is looked at twice.

Shapes: N states, G groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped

from ngu.analysis.estimate import Estimate
from ngu.analysis.resampling import Groups

RESAMPLES = 1000
"""Times that the groups are drawn again, R."""
_PERCENTILES = (2.5, 97.5)


def bootstrapped(
    terms: Shaped[np.ndarray, "N *shape"],
    groups: Groups,
    statistic: Callable[[Float64[np.ndarray, "R *shape"]], Float64[np.ndarray, " R"]],
    generator: np.random.Generator,
) -> Estimate:
    """Return a statistic of the sums of all states' terms, with its interval.

    Args:
        terms: Numbers or booleans of each state.
        groups: What is drawn as a whole.
        statistic: Takes R sums at once, and gives R numbers.
        generator: Draws the groups.

    Returns:
        The estimate; without an interval where there are too few groups.
    """
    flat = terms.reshape(len(terms), -1).astype(np.float64)
    sums = np.zeros((groups.count, flat.shape[1]))
    np.add.at(sums, groups.index, flat)
    return of_sums(sums.reshape(groups.count, *terms.shape[1:]), groups, statistic, generator)


def of_sums(
    sums: Float64[np.ndarray, "G *shape"],
    groups: Groups,
    statistic: Callable[[Float64[np.ndarray, "R *shape"]], Float64[np.ndarray, " R"]],
    generator: np.random.Generator,
) -> Estimate:
    """As `bootstrapped`, from the sums over each group."""
    value = float(statistic(sums.sum(0, keepdims=True))[0])
    if not groups.enough:
        return Estimate(value)
    shares = np.full(groups.count, 1 / groups.count)
    draws = generator.multinomial(groups.count, shares, size=RESAMPLES).astype(np.float64)
    drawn = statistic(np.tensordot(draws, sums, axes=1))
    low, high = np.nanpercentile(drawn, _PERCENTILES)
    return Estimate(value, float(low), float(high))


def share(sums: Float64[np.ndarray, "R 2"]) -> Float64[np.ndarray, " R"]:
    """Return the first sum over the second; NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return sums[:, 0] / sums[:, 1]


def ranks(values: Shaped[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Return the ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def correlation(sums: Float64[np.ndarray, "R 6"]) -> Float64[np.ndarray, " R"]:
    """Return Pearson's correlation from the sums of 1, a, b, a^2, b^2 and ab; NaN of a constant."""
    n, a, b, aa, bb, ab = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (n * ab - a * b) / np.sqrt((n * aa - a * a) * (n * bb - b * b))


def rank_correlation(
    a: Shaped[np.ndarray, " N"],
    b: Shaped[np.ndarray, " N"],
    groups: Groups,
    generator: np.random.Generator,
) -> Estimate:
    """Return Spearman's rank correlation; NaN where one of the two is constant.

    In the resamples, too, the ranks are those among all states.
    """
    # Centred and in units of their number: the sums of large squares would cancel.
    a, b = (
        ranks(values) / len(values) - (len(values) + 1) / (2 * len(values)) for values in (a, b)
    )
    terms = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=-1)
    return bootstrapped(terms, groups, correlation, generator)
