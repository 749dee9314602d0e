"""How many dimensions an embedding uses: its covariance's eigenvalues, and what is made of them.

Sources: effective rank, Roy and Vetterli (EUSIPCO 2007); RankMe, Garrido et al. (arXiv 2210.02885),
equation 1; alpha-ReQ, Agrawal et al. (NeurIPS 2022); the participation ratio is old in physics, of
neural activity for instance in Gao et al. (bioRxiv 214262).

Shapes: N states, D dimensions, B draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import Groups, Moments, bootstrap, make_groups

DEAD = 0.01
"""A dimension is dead below this share of the root mean square spread of all."""
DUPLICATED = 0.99
"""Two dimensions are duplicates from this absolute correlation on."""
_RANKME_EPSILON = 1e-7


class DuplicatedPair(NamedTuple):
    """Two dimensions that say the same."""

    first: int
    """The lower one."""
    second: int
    """The higher one."""
    correlation: float
    """Theirs."""


@dataclass(frozen=True)
class Spectrum:
    """How an embedding's variance is spread over directions."""

    eigenvalues: Float64[np.ndarray, " D"]
    """Of the covariance, descending; what is zero up to rounding is 0."""
    std: Float64[np.ndarray, " D"]
    """Standard deviation of each dimension."""
    correlation: Float64[np.ndarray, "D D"]
    """Of dimensions; 0 off the diagonal where one is constant."""
    effective_rank: Estimate | NotMeasured
    """exp of the entropy of the singular values of the centred data, from 1 to D."""
    participation_ratio: Estimate | NotMeasured
    """(sum of eigenvalues)^2 / sum of their squares, from 1 to D."""
    rank_me: Estimate | NotMeasured
    """As the effective rank, of the data as they are: a mean far from 0 lowers it."""
    alpha_req: Estimate | NotMeasured
    """Exponent a of the power law j^-a that the eigenvalues fall by."""
    fitted: int
    """Eigenvalues that the power law was fitted to, from the first on."""
    dead: tuple[int, ...]
    """Dimensions that hardly move."""
    duplicated: tuple[tuple[int, ...], ...]
    """Groups of dimensions joined by pairs that say the same."""
    pairs: tuple[DuplicatedPair, ...]
    """These pairs, the strongest first."""


def spectrum(
    embeddings: Float[np.ndarray, "N D"], groups: Groups | None = None, *, seed: int = 0
) -> Spectrum:
    """Measure an embedding's spectrum.

    Args:
        embeddings: the states, finite.
        groups: what intervals are over; None: blocks of consecutive states.
        seed: of the draws.

    Returns:
        The measures; those that the data do not allow say why.
    """
    count = len(embeddings)
    groups = make_groups(None, count) if groups is None else groups
    centred = embeddings.astype(np.float64)
    centred -= centred.mean(0)
    covariance = centred.T @ centred / max(count, 1)
    values = eigenvalues(covariance[None])[0]
    rank = int((values > 0).sum())
    std = np.sqrt(covariance.diagonal())
    correlation = _correlation(covariance)
    dead = std <= DEAD * np.sqrt(np.square(std).mean())
    pairs = _pairs(np.where(dead[:, None] | dead, 0, correlation))

    def statistics(drawn: Moments) -> Float64[np.ndarray, "B S"]:
        second = drawn.covariance + drawn.mean[:, :, None] * drawn.mean[:, None, :]
        of_draw = eigenvalues(drawn.covariance)
        measures = (
            effective_rank(of_draw),
            participation_ratio(of_draw),
            rank_me(eigenvalues(second)),
            alpha_req(of_draw, rank),
        )
        return np.stack(measures, axis=-1)

    measures: list[Estimate | NotMeasured]
    if count < 2:
        measures = [NotMeasured("there is only one state")] * 4
    elif rank == 0:
        measures = [NotMeasured("all states are the same")] * 4
    else:
        whole = (1.0, float(embeddings.shape[1]))
        bounds = (whole, whole, whole, (-np.inf, np.inf))
        measures = [*bootstrap(statistics, embeddings, groups, bounds=bounds, seed=seed)]
        if rank < 3:
            measures[3] = NotMeasured(
                f"a power law needs 3 eigenvalues above 0, and there {_are(rank)}"
            )
    return Spectrum(
        eigenvalues=values,
        std=std,
        correlation=correlation,
        effective_rank=measures[0],
        participation_ratio=measures[1],
        rank_me=measures[2],
        alpha_req=measures[3],
        fitted=rank,
        dead=tuple(np.flatnonzero(dead).tolist()),
        duplicated=_joined(pairs),
        pairs=pairs,
    )


def eigenvalues(matrices: Float64[np.ndarray, "B D D"]) -> Float64[np.ndarray, "B D"]:
    """Eigenvalues of symmetric matrices, descending; 0 where float32's rounding is all there is."""
    values = np.linalg.eigvalsh(matrices)[:, ::-1]
    zero = values[:, :1] * values.shape[1] * np.finfo(np.float32).eps ** 2
    return np.where(values > np.maximum(zero, 0), values, 0.0)


def effective_rank(values: Float64[np.ndarray, "*B D"]) -> Float64[np.ndarray, "*B"]:
    """Return exp(H(sigma / sum sigma)) (Roy and Vetterli), sigma the roots of the eigenvalues.

    The singular values of the centred data are the roots of the covariance's eigenvalues up to a
    common factor. 0 where all are 0.
    """
    return _entropy_rank(np.sqrt(values), 0.0)


def participation_ratio(values: Float64[np.ndarray, "*B D"]) -> Float64[np.ndarray, "*B"]:
    """Return (sum of eigenvalues)^2 / sum of their squares; 0 where all are 0."""
    squares = np.square(values).sum(-1)
    return np.asarray(np.square(values.sum(-1)) / np.where(squares > 0, squares, 1))


def rank_me(values: Float64[np.ndarray, "*B D"]) -> Float64[np.ndarray, "*B"]:
    """Return RankMe (Garrido et al., equation 1), with their epsilon of 1e-7.

    Args:
        values: eigenvalues of the second moment about 0, not about the mean.
    """
    return _entropy_rank(np.sqrt(values), _RANKME_EPSILON)


def alpha_req(values: Float64[np.ndarray, "*B D"], fitted: int) -> Float64[np.ndarray, "*B"]:
    """Return the exponent of the power law j^-a that eigenvalues fall by (Agrawal et al.).

    A line through log eigenvalue over log j by least squares, each with weight 1 / j, so that
    every octave of j counts the same. Their fits leave out the first few and the last of hundreds;
    of the tens here, all that are above 0 are taken.

    Args:
        values: eigenvalues, descending.
        fitted: how many of them, from the first on.
    """
    index = np.arange(1, fitted + 1)
    weight = 1 / index / np.sum(1 / index)
    x = np.log(index) - weight @ np.log(index)
    tiny = np.finfo(np.float64).tiny
    logarithm = np.log(np.maximum(values[..., :fitted], tiny))
    return np.asarray(-logarithm @ (weight * x) / max(float(weight @ x**2), tiny))


def _entropy_rank(
    singular: Float64[np.ndarray, "*B D"], epsilon: float
) -> Float64[np.ndarray, "*B"]:
    total = singular.sum(-1, keepdims=True)
    share = singular / np.where(total > 0, total, 1) + epsilon
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def _correlation(covariance: Float64[np.ndarray, "D D"]) -> Float64[np.ndarray, "D D"]:
    std = np.sqrt(covariance.diagonal())
    scale = np.where(std > 0, std, np.inf)
    correlation = np.clip(covariance / scale / scale[:, None], -1, 1)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _pairs(correlation: Float64[np.ndarray, "D D"]) -> tuple[DuplicatedPair, ...]:
    first, second = np.nonzero(np.triu(np.abs(correlation) >= DUPLICATED, 1))
    found = zip(first.tolist(), second.tolist(), correlation[first, second].tolist(), strict=True)
    return tuple(sorted((DuplicatedPair(*pair) for pair in found), key=lambda p: -abs(p[2])))


def _joined(pairs: tuple[DuplicatedPair, ...]) -> tuple[tuple[int, ...], ...]:
    """Dimensions that are connected by pairs."""
    groups: list[set[int]] = []
    for first, second, _ in pairs:
        touched = [group for group in groups if first in group or second in group]
        groups = [group for group in groups if group not in touched]
        groups.append({first, second}.union(*touched))
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
