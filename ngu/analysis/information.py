"""How many bits an embedding holds, and how much of them its dimensions share.

Every measure is of the embedding at a resolution (`ngu.analysis.resolution`): of what a step leaves
of real numbers. What all dimensions share is told three times, each time assuming less: by their
covariance as if they were Gaussian; by their Gaussian copula, which bends each dimension to be
Gaussian on its own first; and by nearest neighbours.

Source: bias of an entropy from counts, Miller (1955), Madow (1948): (bins seen - 1) / (2 N) nats.

Shapes: N states, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.gaussian_information import (
    SharedInformation,
    gaussian_information,
    shared_information,
    unmeasurable,
)
from ngu.analysis.neighbour_information import (
    MutualInformation,
    mutual_information,
    negentropy_terms,
    normal_scores,
)
from ngu.analysis.neighbours import outside
from ngu.analysis.resampling import (
    Groups,
    Interval,
    make_groups,
    mean_estimate,
    mean_interval,
    some_rows,
)
from ngu.analysis.resolution import RESOLUTION, checked, dithered, spread

PAIRED_STATES = 2_000
"""States that pairs of dimensions are compared on."""
PAIRED_DIMENSIONS = 32
"""Of more dimensions, those that move most are compared: pairs grow with the square."""
JOINT_STATES = 4_000
"""States whose neighbours are searched in all dimensions."""
DUAL_DIMENSIONS = 8
"""Beyond so many, neighbours err on the dual total correlation by more than it is."""
_LEAST_STATES = 100
"""So many states are needed to estimate anything from neighbours."""
_SCORE_NOISE = 1e-6
"""Variance added to normal scores: a draw of few episodes may have a singular covariance."""


@dataclass(frozen=True)
class Entropy:
    """What each dimension holds on its own."""

    bits: Float64[np.ndarray, " D"]
    """Entropy of each dimension, quantised."""
    interval: Interval
    """Of each."""
    total_bits: Estimate
    """Their sum: what a state takes when each dimension is coded on its own."""


@dataclass(frozen=True)
class Information:
    """Bits that an embedding holds and shares, at a resolution."""

    resolution: float
    """Step of the quantiser in units of the spread of the embedding."""
    step: float
    """The step in the embedding's units."""
    entropy: Entropy | NotMeasured
    """Of each dimension."""
    mutual: MutualInformation | NotMeasured
    """Of each two dimensions."""
    gaussian: SharedInformation
    """Of all dimensions, as if they were Gaussian."""
    copula: SharedInformation
    """By their Gaussian copula: their total correlation is at least this, whatever their shapes."""
    neighbours: SharedInformation
    """By nearest neighbours, dependencies included that are no correlations."""


def information(
    embeddings: Float[np.ndarray, "N D"],
    groups: Groups | None = None,
    *,
    resolution: float = RESOLUTION,
    seed: int = 0,
) -> Information:
    """Measure what an embedding's dimensions hold and share.

    Args:
        embeddings: the states, finite.
        groups: what intervals are over; None: blocks of consecutive states.
        resolution: step of the quantiser in units of the embedding's spread, above 0.
        seed: of noise, samples and draws.

    Raises:
        ValueError: the resolution is not above 0.
    """
    count = len(embeddings)
    groups = make_groups(None, count) if groups is None else groups
    step = checked(resolution) * spread(embeddings)
    gaussian = gaussian_information(embeddings, groups, resolution=resolution, seed=seed)
    entropy = entropy_bits(embeddings, groups, resolution=resolution)
    reason = unmeasurable(embeddings)
    if reason is not None:
        nothing = SharedInformation(reason, reason, reason)
        return Information(resolution, step, entropy, reason, gaussian, nothing, nothing)
    scores = normal_scores(dithered(embeddings, step, seed=seed))
    copula = shared_information(scores, groups, noise=_SCORE_NOISE, seed=seed)
    return Information(
        resolution=resolution,
        step=step,
        entropy=entropy,
        mutual=_pairs(embeddings, scores, groups, seed),
        gaussian=gaussian,
        copula=copula,
        neighbours=_beyond_correlations(scores, copula, groups, seed),
    )


def entropy_bits(
    embeddings: Float[np.ndarray, "N D"],
    groups: Groups | None = None,
    *,
    resolution: float = RESOLUTION,
) -> Entropy | NotMeasured:
    """The entropy of each dimension rounded to steps from its mean, after Miller and Madow.

    The entropy of the counts is too low by about (bins seen - 1) / (2 N) nats, which are added.

    Args:
        embeddings: the states, finite.
        groups: what intervals are over; None: blocks of consecutive states.
        resolution: step of the quantiser in units of the embedding's spread, above 0.
    """
    count, dim = embeddings.shape
    groups = make_groups(None, count) if groups is None else groups
    if count < 2:
        return NotMeasured("there is only one state")
    step = checked(resolution) * spread(embeddings)
    terms = np.zeros((count, dim))
    for j in range(dim if step > 0 else 0):
        column = embeddings[:, j].astype(np.float64)
        bins = np.rint((column - column.mean()) / step).astype(np.int64)
        _, which, counts = np.unique(bins, return_inverse=True, return_counts=True)
        terms[:, j] = np.log2(count / counts)[which] + (len(counts) - 1) / (2 * count * math.log(2))
    total = mean_estimate(terms.sum(1), groups, least=0.0)
    return Entropy(terms.mean(0), mean_interval(terms, groups), total)


def _pairs(
    embeddings: Float[np.ndarray, "N D"],
    scores: Float64[np.ndarray, "N D"],
    groups: Groups,
    seed: int,
) -> MutualInformation | NotMeasured:
    if len(scores) < _LEAST_STATES:
        return _too_few(len(scores))
    variance = embeddings.var(0, dtype=np.float64)
    dimensions = np.sort(np.argsort(-variance, kind="stable")[:PAIRED_DIMENSIONS])
    rows = some_rows(len(scores), PAIRED_STATES, seed)
    return mutual_information(scores[np.ix_(rows, dimensions)], dimensions, groups.of(rows))


def _beyond_correlations(
    scores: Float64[np.ndarray, "N D"], copula: SharedInformation, groups: Groups, seed: int
) -> SharedInformation:
    """What the copula's correlations tell, and what neighbours find beyond them."""
    dim = scores.shape[1]
    rows = some_rows(len(scores), JOINT_STATES, seed)
    if len(rows) < _LEAST_STATES:
        reason = _too_few(len(scores))
        return SharedInformation(reason, reason, reason)
    some, drawn = scores[rows], groups.of(rows)
    apart = drawn if drawn.enough else None
    if apart is not None and outside(apart) < _LEAST_STATES:
        reason = NotMeasured(f"all but {outside(apart)} states are of one episode")
        return SharedInformation(reason, reason, reason)
    joint = negentropy_terms(some, apart, seed=seed)
    total = _plus(copula.total_correlation_bits, joint, drawn)
    if dim > DUAL_DIMENSIONS:
        reason = NotMeasured(
            f"neighbours tell it in at most {DUAL_DIMENSIONS} dimensions, and there are {dim}"
        )
        return SharedInformation(total, reason, reason)
    # H(z) - sum H(z_j | others) = sum H(others of z_j) - (D - 1) H(z), and entropies fall short of
    # those of the same correlations by negentropies.
    without = sum(
        negentropy_terms(np.delete(some, j, axis=1), apart, seed=seed) for j in range(dim)
    )
    dual = (dim - 1) * joint - without
    return SharedInformation(
        total,
        _plus(copula.dual_total_correlation_bits, dual, drawn),
        _plus(copula.o_information_bits, joint - dual, drawn),
    )


def _plus(
    known: Estimate | NotMeasured, terms: Float64[np.ndarray, " n"], groups: Groups
) -> Estimate | NotMeasured:
    """A measure with the mean of terms added; the ends of both intervals add up."""
    if isinstance(known, NotMeasured):
        return known
    more = mean_estimate(terms, groups)
    if known.low is None or known.high is None or more.low is None or more.high is None:
        return Estimate(known.value + more.value)
    return Estimate(known.value + more.value, known.low + more.low, known.high + more.high)


def _too_few(count: int) -> NotMeasured:
    return NotMeasured(f"{count} states are too few, {_LEAST_STATES} are needed")
