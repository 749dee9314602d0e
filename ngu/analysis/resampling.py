"""How sure a measure is: intervals over episodes, as the states within one are not independent.

Sources: the bootstrap of clusters, Davison and Hinkley, "Bootstrap Methods and their Application"
(1997), chapter 3.8; its estimate of bias, Efron and Tibshirani, "An Introduction to the Bootstrap"
(1993), chapter 10; the sandwich of cluster sums for means, Liang and Zeger (Biometrika, 1986).

Smooth functions of mean and covariance are computed anew on 200 draws of as many episodes, with
replacement, from the sums of each episode. Estimators by nearest neighbours cannot be: a state that
is drawn twice is its own neighbour at no distance. Those that are means of one term for each state
get the spread of such a mean when whole episodes are drawn; the others are computed anew without
one part of the episodes after the other (the jackknife).

Shapes: N states, D dimensions, G groups, B draws, S statistics.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from ngu.analysis.estimate import Estimate
from ngu.seeding import Seeds

MIN_GROUPS = 8
"""So many episodes are needed to tell how they differ."""
_MAX_GROUPS = 500
_BLOCKS = 50
_MIN_BLOCK = 20
_WIDEST = 512
"""Beyond so many dimensions, 200 eigenvalue problems take minutes: no interval."""
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Groups:
    """What is drawn as a whole: episodes, or blocks of states where they are few or unknown."""

    index: Int64[np.ndarray, " N"]
    """Group of each state, from 0 on."""
    count: int
    """Groups G."""
    description: str
    """What they are, as a clause for the report."""

    @property
    def enough(self) -> bool:
        """Whether there are enough of them for an interval."""
        return self.count >= MIN_GROUPS

    def of(self, rows: Int64[np.ndarray, " n"]) -> Groups:
        """The groups of some rows, numbered anew."""
        _, index = np.unique(self.index[rows], return_inverse=True)
        return Groups(index.astype(np.int64), int(index.max(initial=-1)) + 1, self.description)


class Interval(NamedTuple):
    """Ends of 95 % intervals of several numbers; NaN where none was measured."""

    low: Float64[np.ndarray, "*shape"]
    """Lower ends."""
    high: Float64[np.ndarray, "*shape"]
    """Upper ends."""


class Moments(NamedTuple):
    """Mean and covariance of B draws of states."""

    mean: Float64[np.ndarray, "B D"]
    """Of the embedding."""
    covariance: Float64[np.ndarray, "B D D"]
    """Divided by the number of states."""


class GroupSums(NamedTuple):
    """What mean and covariance of any draw of groups follow from."""

    centre: Float64[np.ndarray, " D"]
    """Mean of all states; the sums are of what differs from it."""
    states: Float64[np.ndarray, " G"]
    """How many."""
    total: Float64[np.ndarray, "G D"]
    """Sums."""
    products: Float64[np.ndarray, "G D D"]
    """Sums of outer products."""


def make_groups(episodes: Int64[np.ndarray, " N"] | None, rows: int) -> Groups:
    """Episodes to be drawn as a whole, in at most 500 groups; of few episodes, parts.

    Where there are fewer than `MIN_GROUPS` episodes, or they are not known, the groups are up to 50
    blocks of consecutive states. Such an interval tells nothing of other episodes.

    Args:
        episodes: of each state; None: not known.
        rows: states N, in the order in which they were reached.
    """
    why = "the episodes are not known"
    if episodes is not None:
        names, index = np.unique(episodes, return_inverse=True)
        many = len(names)
        if many >= MIN_GROUPS:
            count = min(many, _MAX_GROUPS)
            index = index.reshape(-1).astype(np.int64) * count // many
            return Groups(index, count, f"over {many:,} episodes")
        why = f"there {'is' if many == 1 else 'are'} only {many} episode{'s' * (many != 1)}"
    count = max(1, min(_BLOCKS, rows // _MIN_BLOCK))
    return Groups(
        np.arange(rows, dtype=np.int64) * count // max(rows, 1),
        count,
        f"over {count} blocks of consecutive states, as {why}",
    )


def some_rows(count: int, limit: int, seed: int) -> Int64[np.ndarray, " n"]:
    """At most ``limit`` rows of ``count``, drawn at random, ascending."""
    if count <= limit:
        return np.arange(count, dtype=np.int64)
    generator = Seeds(seed).numpy("rows")
    return np.sort(generator.choice(count, limit, replace=False)).astype(np.int64)


def group_sums(embeddings: Float[np.ndarray, "N D"], groups: Groups) -> GroupSums:
    """Sum the states of each group, in float64 about the mean of all."""
    order = np.argsort(groups.index, kind="stable")
    ends = np.cumsum(np.bincount(groups.index, minlength=groups.count))
    centre = embeddings.mean(0, dtype=np.float64)
    dim = embeddings.shape[1]
    total = np.empty((groups.count, dim))
    products = np.empty((groups.count, dim, dim))
    for group, rows in enumerate(np.split(order, ends[:-1])):
        states = embeddings[rows].astype(np.float64) - centre
        total[group] = states.sum(0)
        products[group] = states.T @ states
    return GroupSums(centre, np.diff(ends, prepend=0).astype(np.float64), total, products)


def moments(sums: GroupSums, weights: Float64[np.ndarray, "B G"]) -> Moments:
    """Mean and covariance where each group counts as often as its weight says."""
    count = (weights @ sums.states)[:, None]
    mean = weights @ sums.total / count
    dim = mean.shape[1]
    products = (weights @ sums.products.reshape(len(sums.states), -1)).reshape(-1, dim, dim)
    covariance = products / count[:, :, None] - mean[:, :, None] * mean[:, None, :]
    return Moments(sums.centre + mean, covariance)


def bootstrap(
    statistic: Callable[[Moments], Float64[np.ndarray, "B S"]],
    embeddings: Float[np.ndarray, "N D"],
    groups: Groups,
    *,
    bounds: Sequence[tuple[float, float]],
    draws: int = 200,
    seed: int = 0,
) -> list[Estimate]:
    """Statistics of mean and covariance, with their intervals.

    The interval is the value less the bootstrap's estimate of its bias, and around that Student's t
    times the spread of the draws; it is stretched to hold the value where the bias takes it out.

    Args:
        statistic: S numbers of each draw.
        embeddings: the states.
        groups: what is drawn as a whole.
        bounds: the least and the greatest that each statistic can be; intervals keep to them.
        draws: B.
        seed: of the draws.

    Returns:
        S estimates; without an interval where there are too few groups, or over 512 dimensions.
    """
    if not groups.enough or embeddings.shape[1] > _WIDEST:
        one = Groups(np.zeros(len(embeddings), dtype=np.int64), 1, "")
        values = statistic(moments(group_sums(embeddings, one), np.ones((1, 1))))[0]
        return [Estimate(float(value)) for value in values]
    dim = embeddings.shape[1]
    sums = group_sums(embeddings, _fewer(groups, max(MIN_GROUPS, 2 * _NUMBERS_AT_ONCE // dim**2)))
    count = len(sums.states)
    value = statistic(moments(sums, np.ones((1, count))))[0]
    generator = Seeds(seed).numpy("bootstrap")
    weights = generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    part = max(1, _NUMBERS_AT_ONCE // dim**2)
    drawn = np.concatenate(
        [statistic(moments(sums, weights[i : i + part])) for i in range(0, draws, part)]
    )
    centre = 2 * value - drawn.mean(0)
    half = student_t(count - 1) * drawn.std(0, ddof=1)
    least, most = np.array(bounds).T
    low = np.minimum(np.clip(centre - half, least, most), value)
    high = np.maximum(np.clip(centre + half, least, most), value)
    return [Estimate(*map(float, estimate)) for estimate in zip(value, low, high, strict=True)]


def mean_interval(terms: Float64[np.ndarray, "N *shape"], groups: Groups) -> Interval:
    """The interval of the mean of one term for each state.

    With e_g the sum of a group's deviations from the mean, the variance of the mean over N states
    is G / (G - 1) sum over groups e_g^2 / N^2.

    Args:
        terms: one, or an array, for each state.
        groups: what is independent of what; NaN is returned for fewer than `MIN_GROUPS`.
    """
    mean = terms.mean(0)
    if not groups.enough:
        return Interval(np.full(mean.shape, np.nan), np.full(mean.shape, np.nan))
    order = np.argsort(groups.index, kind="stable")
    starts = np.searchsorted(groups.index[order], np.arange(groups.count))
    sums = np.add.reduceat((terms - mean)[order], starts, axis=0)
    variance = groups.count / (groups.count - 1) * np.square(sums).sum(0) / len(terms) ** 2
    half = student_t(groups.count - 1) * np.sqrt(variance)
    return Interval(mean - half, mean + half)


def mean_estimate(
    terms: Float64[np.ndarray, " N"], groups: Groups, *, least: float = -np.inf
) -> Estimate:
    """The mean of one term for each state, with its interval, whose ends are at least ``least``."""
    value = float(terms.mean())
    if not groups.enough:
        return Estimate(value)
    low, high = mean_interval(terms, groups)
    return Estimate(value, max(float(low), least), max(float(high), least))


def jackknife(
    values: Float64[np.ndarray, " S"], without: Float64[np.ndarray, "G S"]
) -> list[Estimate]:
    """Statistics with the intervals that leaving out one group after the other tells.

    The variance is (G - 1) / G sum over groups (value without it - their mean)^2 (Tukey, 1958; of
    groups, Kott, Journal of Official Statistics 17, 2001). With few, large groups it holds for
    nearest neighbours too (Shao and Wu, Annals of Statistics 17, 1989).

    Args:
        values: of all states.
        without: each group.
    """
    count = len(without)
    spread = np.sqrt((count - 1) * without.var(0))
    half = student_t(count - 1) * spread
    ends = zip(values, values - half, values + half, strict=True)
    return [Estimate(*map(float, estimate)) for estimate in ends]


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to three digits from 7 degrees of freedom on.

    Abramowitz and Stegun (1964), 26.7.5: the normal quantile, corrected in powers of 1 / freedom.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    corrections: Sequence[float] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(corrections))


def _fewer(groups: Groups, limit: int) -> Groups:
    """Neighbouring groups put together, so that there are at most ``limit``."""
    if groups.count <= limit:
        return groups
    return Groups(groups.index * limit // groups.count, limit, groups.description)
