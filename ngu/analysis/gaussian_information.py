"""What dimensions share, if all of them were Gaussian: closed forms of the covariance, in bits.

Sources: total correlation, Watanabe (IBM Journal of Research and Development 4, 1960); dual total
correlation, Han (Information and Control 29, 1975); O-information, Rosas et al. (Physical Review E
100, arXiv 1902.11239), equation 4.

Shapes: N states, D dimensions, B draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import Groups, Moments, bootstrap, make_groups
from ngu.analysis.resolution import RESOLUTION, checked, spread

STATES_EACH = 4
"""So many states for each dimension are needed to tell what it shares."""


@dataclass(frozen=True)
class SharedInformation:
    """What all dimensions share beyond what each holds on its own."""

    total_correlation_bits: Estimate | NotMeasured
    """sum H(z_j) - H(z): what is written twice when each dimension is coded on its own."""
    dual_total_correlation_bits: Estimate | NotMeasured
    """H(z) - sum H(z_j | the others): what at least two dimensions hold together."""
    o_information_bits: Estimate | NotMeasured
    """Their difference: above 0 the dimensions repeat each other, below they tell it together."""


def gaussian_information(
    embeddings: Float[np.ndarray, "N D"],
    groups: Groups | None = None,
    *,
    resolution: float = RESOLUTION,
    seed: int = 0,
) -> SharedInformation:
    """What the dimensions share, by their covariance at a resolution.

    Args:
        embeddings: the states, finite.
        groups: what intervals are over; None: blocks of consecutive states.
        resolution: step in units of the embedding's spread, above 0. `total_correlation` of the
            covariance itself is infinite where a dimension is duplicated.
        seed: of the draws.

    Raises:
        ValueError: the resolution is not above 0.
    """
    groups = make_groups(None, len(embeddings)) if groups is None else groups
    step = checked(resolution) * spread(embeddings)
    reason = unmeasurable(embeddings)
    if reason is not None:
        return SharedInformation(reason, reason, reason)
    return shared_information(embeddings, groups, noise=step**2 / 12, seed=seed)


def shared_information(
    states: Float[np.ndarray, "N D"], groups: Groups, *, noise: float, seed: int
) -> SharedInformation:
    """What Gaussian dimensions share that have the covariance of these states.

    Args:
        states: of which `unmeasurable` has nothing to say.
        groups: what intervals are over.
        noise: variance that is added to each dimension, independently.
        seed: of the draws.
    """
    added = noise * np.eye(states.shape[1])

    def statistics(drawn: Moments) -> Float64[np.ndarray, "B S"]:
        covariance = drawn.covariance + added
        total, dual = total_correlation(covariance), dual_total_correlation(covariance)
        return np.stack((total, dual, total - dual), axis=-1)

    bounds = ((0.0, math.inf), (0.0, math.inf), (-math.inf, math.inf))
    total, dual, difference = bootstrap(statistics, states, groups, bounds=bounds, seed=seed)
    return SharedInformation(total, dual, difference)


def total_correlation(covariance: Float64[np.ndarray, "*B D D"]) -> Float64[np.ndarray, "*B"]:
    """Return -1/2 log2 |R|, R the correlation matrix: infinite where it is singular, in bits."""
    sign, logarithm = np.linalg.slogdet(correlation(covariance))
    return np.where(sign > 0, -logarithm / 2 / math.log(2), np.inf)


def dual_total_correlation(covariance: Float64[np.ndarray, "*B D D"]) -> Float64[np.ndarray, "*B"]:
    """Return 1/2 (log2 |R| + sum over dimensions log2 (R^-1)_ii) in bits."""
    matrix = correlation(covariance)
    total = total_correlation(covariance)
    singular = ~np.isfinite(total)[..., None, None]
    inverse = np.linalg.inv(np.where(singular, np.eye(matrix.shape[-1]), matrix))
    precision = np.maximum(np.diagonal(inverse, axis1=-2, axis2=-1), 1.0)
    return np.where(singular[..., 0, 0], np.inf, np.log2(precision).sum(-1) / 2 - total)


def correlation(covariance: Float64[np.ndarray, "*B D D"]) -> Float64[np.ndarray, "*B D D"]:
    """Covariances in units of standard deviations; a constant dimension correlates with none."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    scale = np.sqrt(np.where(variance > 0, variance, np.inf))
    matrix = covariance / scale[..., None] / scale[..., None, :]
    index = np.arange(matrix.shape[-1])
    matrix[..., index, index] = 1.0
    return matrix


def unmeasurable(embeddings: Float[np.ndarray, "N D"]) -> NotMeasured | None:
    """Why what dimensions share cannot be told from these states, or None."""
    count, dim = embeddings.shape
    if dim < 2:
        return NotMeasured("one dimension shares nothing")
    if count < 2:
        return NotMeasured("there is only one state")
    if count < STATES_EACH * dim:
        return NotMeasured(
            f"{count} states are too few for {dim} dimensions, {STATES_EACH * dim} are needed"
        )
    if spread(embeddings) == 0:
        return NotMeasured("all states are the same")
    return None
