"""What a variational autoencoder's dimensions cost and hold, from its posteriors alone, in bits.

Sources: active units, Burda et al., "Importance Weighted Autoencoders" (arXiv 1509.00519); the
split of the divergence, Chen et al., "Isolating Sources of Disentanglement in VAEs" (arXiv
1802.04942), equation 2. There the aggregate posterior is estimated from a minibatch with weights;
here there is no training to keep up with, and it is the mixture of the posteriors at hand, exactly.

Shapes: N pictures, Z latent dimensions, S samples, M components of the mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import (
    Groups,
    Interval,
    make_groups,
    mean_estimate,
    mean_interval,
    some_rows,
)
from ngu.seeding import Seeds

ACTIVE = 0.01
"""A unit is active from this variance of its posterior mean on."""
_SAMPLES = 1_000
_COMPONENTS = 5_000
_APART_BITS = 2
"""Nearer than this to log2 of the components, a mixture of so few is not the posterior of all."""
_COMPONENTS_AT_ONCE = 1_000
_BITS = 1 / math.log(2)


@dataclass(frozen=True)
class DivergenceSplit:
    """What the divergence from the prior is spent on; the three parts add up to it."""

    divergence_bits: Estimate
    """E KL(q(z | x) || p(z)) on the samples drawn."""
    index_code_bits: Estimate | NotMeasured
    """I(x; z): what the latent tells of which picture it is."""
    total_correlation_bits: Estimate | NotMeasured
    """KL(q(z) || product of q(z_j)): what the dimensions share."""
    dimension_bits: Estimate
    """sum KL(q(z_j) || p(z_j)): how far each dimension on its own is from the prior."""
    components: int
    """Posteriors that make the mixture q(z)."""


@dataclass(frozen=True)
class LatentInformation:
    """What a variational autoencoder's latent costs and holds."""

    divergence_bits: Float64[np.ndarray, " Z"]
    """KL(q(z_j | x) || p(z_j)), the mean over pictures, of each dimension."""
    interval: Interval
    """Of each."""
    total_divergence_bits: Estimate
    """Their sum."""
    mean_variance: Float64[np.ndarray, " Z"]
    """Variance over pictures of the posterior mean of each dimension."""
    active: Bool[np.ndarray, " Z"]
    """Which units are active."""
    split: DivergenceSplit | NotMeasured
    """Of their sum."""


def latent_information(
    means: Float[np.ndarray, "N Z"],
    stds: Float[np.ndarray, "N Z"],
    groups: Groups | None = None,
    *,
    seed: int = 0,
) -> LatentInformation:
    """Measure the latent of a variational autoencoder with a standard normal prior.

    Args:
        means: of the posterior of each picture.
        stds: standard deviations, above 0.
        groups: what intervals are over; None: blocks of consecutive pictures.
        seed: of the samples.

    Raises:
        ValueError: the arrays differ in shape, are empty, or a standard deviation is not above 0.
    """
    if means.shape != stds.shape or not means.size:
        raise ValueError(
            "means and stds must have one shape [N, Z] and at least one picture, "
            f"got {list(means.shape)} and {list(stds.shape)}"
        )
    if not (stds > 0).all():
        raise ValueError(f"stds must be above 0, the least is {stds.min()}")
    groups = make_groups(None, len(means)) if groups is None else groups
    means, stds = means.astype(np.float64), stds.astype(np.float64)
    divergence = divergence_terms(means, stds)
    variance = means.var(0)
    return LatentInformation(
        divergence_bits=divergence.mean(0),
        interval=mean_interval(divergence, groups),
        total_divergence_bits=mean_estimate(divergence.sum(1), groups, least=0.0),
        mean_variance=variance,
        active=variance > ACTIVE,
        split=_split(means, stds, groups, seed),
    )


def divergence_terms(
    means: Float64[np.ndarray, "N Z"], stds: Float64[np.ndarray, "N Z"]
) -> Float64[np.ndarray, "N Z"]:
    """Return 1/2 (mean^2 + std^2 - ln std^2 - 1), the divergence from the prior, in bits."""
    return (np.square(means) + np.square(stds) - 2 * np.log(stds) - 1) / 2 * _BITS


def _split(
    means: Float64[np.ndarray, "N Z"],
    stds: Float64[np.ndarray, "N Z"],
    groups: Groups,
    seed: int,
) -> DivergenceSplit | NotMeasured:
    """E KL = I(x; z) + KL(q(z) || prod q(z_j)) + sum KL(q(z_j) || p(z_j)) (Chen et al., eq. 2)."""
    count, dim = means.shape
    if count < 2:
        return NotMeasured("there is only one picture")
    mixture = some_rows(count, _COMPONENTS, seed)
    rows = mixture[some_rows(len(mixture), _SAMPLES, seed)]  # each picture is in the mixture
    generator = Seeds(seed).numpy("latents")
    latents = means[rows] + stds[rows] * generator.normal(size=(len(rows), dim))
    # All densities lack the same factor, (2 pi)^(-Z / 2).
    own = (-np.square((latents - means[rows]) / stds[rows]) / 2 - np.log(stds[rows])).sum(1)
    prior = -np.square(latents).sum(1) / 2
    joint, each = _mixture_densities(latents, means[mixture], stds[mixture])
    drawn = groups.of(rows)

    def estimate(terms: Float64[np.ndarray, " S"], least: float = 0.0) -> Estimate:
        return mean_estimate(terms * _BITS, drawn, least=least)

    index, total = estimate(own - joint), estimate(joint - each)
    most = math.log2(len(mixture))
    if index.value > most - _APART_BITS:
        index = total = NotMeasured(
            f"the posteriors hardly overlap: {len(mixture):,} of them can tell up to {most:.1f} "
            f"bits of which picture it is, and it is {index.value:.1f}"
        )
    return DivergenceSplit(
        divergence_bits=estimate(own - prior),
        index_code_bits=index,
        total_correlation_bits=total,
        dimension_bits=estimate(each - prior),
        components=len(mixture),
    )


def _mixture_densities(
    latents: Float64[np.ndarray, "S Z"],
    means: Float64[np.ndarray, "M Z"],
    stds: Float64[np.ndarray, "M Z"],
) -> tuple[Float64[np.ndarray, " S"], Float64[np.ndarray, " S"]]:
    """Log q(z), and the sum over j of log q(z_j), of the mixture of these posteriors.

    Up to the factor (2 pi)^(-Z / 2) of the densities.
    """
    samples, dim = latents.shape
    joint = np.full(samples, -np.inf)
    each = np.full((samples, dim), -np.inf)
    for first in range(0, len(means), _COMPONENTS_AT_ONCE):
        part = slice(first, first + _COMPONENTS_AT_ONCE)
        together = np.zeros((samples, len(means[part])))
        for j in range(dim):
            z = (latents[:, j, None] - means[part, j]) / stds[part, j]
            density = -np.square(z) / 2 - np.log(stds[part, j])
            together += density
            each[:, j] = np.logaddexp(each[:, j], _log_sum(density))
        joint = np.logaddexp(joint, _log_sum(together))
    logarithm = math.log(len(means))
    return joint - logarithm, each.sum(1) - dim * logarithm


def _log_sum(values: Float64[np.ndarray, "S M"]) -> Float64[np.ndarray, " S"]:
    """Logarithm of the sum of exponentials over the second axis."""
    most = values.max(1)
    return most + np.log(np.exp(values - most[:, None]).sum(1))
