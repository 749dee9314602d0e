"""Which dimension knows what: whether each variable of the game has a dimension of its own.

Sources: the mutual information gap, Chen et al., "Isolating Sources of Disentanglement in VAEs"
(arXiv 1802.04942, equation 6); the separated attribute predictability, Kumar et al., "Variational
Inference of Disentangled Latent Concepts" (arXiv 1711.00848, section 3); disentanglement,
completeness and informativeness are those of `ngu.analysis.dci`.

Dimensions, and variables of more values, are cut into `BINS` parts of as many states each, so that
no number depends on a unit. Shapes: N states, D dimensions, L variables, B parts, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from ngu.analysis.dci import dci_measures, entropy
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import Groups, make_groups, student_t
from ngu.seeding import Seeds

BINS = 20
"""Parts that a dimension is cut into, B."""

_DRAWS = 50

Measured = Estimate | NotMeasured


class Knowledge(NamedTuple):
    """What each dimension tells of each variable."""

    labels: tuple[str, ...]
    """Variables, L."""
    bits: Float64[np.ndarray, "D L"]
    """Mutual information."""
    entropy: Float64[np.ndarray, " L"]
    """Of each variable, in bits: what there is to know."""

    @property
    def share(self) -> Float64[np.ndarray, "D L"]:
        """Share of a variable's bits that a dimension tells, from 0 to 1."""
        return self.bits / self.entropy


class Disentanglement(NamedTuple):
    """How far variables and dimensions belong to one another; from 0 to 1."""

    mig: Measured
    """Gap between the two dimensions that tell most of a variable, in shares of its bits; mean."""
    sap: Measured
    """The same gap in how well a variable is read off one dimension."""
    disentanglement: Measured
    """DCI: whether a dimension serves one variable only, weighted by what dimensions serve."""
    completeness: Measured
    """DCI: whether a variable is served by one dimension only; mean."""
    informativeness: Measured
    """DCI: how often a forest says a variable right on held-out episodes; 0 is as often as its most
    common value, 1 always; mean."""


def knowledge(
    embeddings: Float32[np.ndarray, "N D"], labels: Mapping[str, Int64[np.ndarray, " N"]]
) -> Knowledge:
    """Measure what each dimension alone tells of each variable; constant ones are left out."""
    binned, classes = cut(embeddings), varying(labels)
    counts = [joint_counts(binned, values) for values in classes.values()]
    bits = [mutual_information(table) for table in counts]
    shape = (embeddings.shape[1], len(classes))
    return Knowledge(
        tuple(classes),
        np.stack(bits, axis=-1) if bits else np.zeros(shape),
        np.array([entropy(table[:1].sum(1))[0] for table in counts]),
    )


def disentanglement(
    embeddings: Float32[np.ndarray, "N D"],
    labels: Mapping[str, Int64[np.ndarray, " N"]],
    episodes: Int64[np.ndarray, " N"] | None,
    *,
    seed: int = 0,
) -> Disentanglement:
    """Measure MIG, SAP and DCI.

    Args:
        embeddings: Two dimensions or more.
        labels: Variables by name; constant ones are left out.
        episodes: Of each state; None: not known, and informativeness is not measured.
        seed: Of the forests, the split and the intervals.
    """
    classes = varying(labels)
    dims = embeddings.shape[1]
    if dims < 2 or not classes:
        why = "there is one dimension only" if dims < 2 else "no label varies"
        return Disentanglement(*[NotMeasured(why)] * 5)
    seeds = Seeds(seed)
    binned = cut(embeddings)
    groups = make_groups(episodes, len(embeddings))
    mig, sap = _gaps(binned, list(classes.values()), groups, seeds.numpy("episodes"))
    dci = dci_measures(embeddings, list(classes.values()), episodes, groups, seeds)
    return Disentanglement(mig, sap, *dci)


def cut(embeddings: Shaped[np.ndarray, "N D"]) -> Int64[np.ndarray, "N D"]:
    """Return the part of its dimension that each number lies in; equal numbers in the same.

    A dimension with no more than `BINS` values keeps them apart.
    """
    binned = np.empty(embeddings.shape, dtype=np.int64)
    for dim, column in enumerate(embeddings.T):
        values, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        if len(values) > BINS:
            middle = np.cumsum(counts) - counts / 2
            place = (middle * BINS / len(column)).astype(np.int64)[place]
        binned[:, dim] = place
    return binned


def joint_counts(
    binned: Int64[np.ndarray, "N D"], classes: Int64[np.ndarray, " N"]
) -> Float64[np.ndarray, "D B C"]:
    """Return how often each part of each dimension meets each class."""
    count = int(classes.max()) + 1
    tables = [np.bincount(column * count + classes, minlength=BINS * count) for column in binned.T]
    return np.stack(tables).reshape(-1, BINS, count).astype(np.float64)


def mutual_information(counts: Float64[np.ndarray, "D B C"]) -> Float64[np.ndarray, " D"]:
    """Return H(B) + H(C) - H(B, C) in bits, less the bias of counting, within what it can be.

    Miller (1955): each entropy is too small by (cells - 1) / 2N nats, cells that occur.
    """
    rows, columns, cells = counts.sum(2), counts.sum(1), counts.reshape(len(counts), -1)
    parts, classes, joint = (entropy(table) for table in (rows, columns, cells))
    occurring = [(table > 0).sum(-1) - 1 for table in (rows, columns, cells)]
    bias = (occurring[2] - occurring[0] - occurring[1]) / (2 * rows.sum(-1) * np.log(2))
    return np.clip(parts + classes - joint - bias, 0, np.minimum(parts, classes))


def read_off(counts: Float64[np.ndarray, "D B C"]) -> Float64[np.ndarray, " D"]:
    """Return the balanced accuracy of the best rule for each dimension: a class for each part.

    Classes count the same however often they occur, and guessing is 0, so that the result goes from
    0 to 1. Kumar et al. fit thresholds to the same end.
    """
    occurring = counts.sum(1)
    shares = counts / np.maximum(occurring, 1)[:, None]
    number = (occurring > 0).sum(-1)
    right = shares.max(2).sum(1)
    return np.where(number > 1, (right - 1) / np.maximum(number - 1, 1), 0)


def gap(scores: Float64[np.ndarray, "*batch D"]) -> Float64[np.ndarray, "*batch"]:
    """Return by how much the best of two or more dimensions is ahead of the second."""
    ordered = np.sort(scores, axis=-1)
    return ordered[..., -1] - ordered[..., -2]


def varying(labels: Mapping[str, Int64[np.ndarray, " N"]]) -> dict[str, Int64[np.ndarray, " N"]]:
    """Return the variables that vary, as the parts of their values."""
    cuts = {name: cut(values[:, None])[:, 0] for name, values in labels.items()}
    return {name: classes for name, classes in cuts.items() if classes.min() < classes.max()}


def _gaps(
    binned: Int64[np.ndarray, "N D"],
    variables: list[Int64[np.ndarray, " N"]],
    groups: Groups,
    generator: np.random.Generator,
) -> tuple[Estimate, Estimate]:
    """MIG and SAP, means over variables."""
    weights = np.ones((1, groups.count))
    if groups.enough:
        shares = np.full(groups.count, 1 / groups.count)
        draws = generator.multinomial(groups.count, shares, size=_DRAWS)
        weights = np.concatenate([weights, draws])
    found = np.mean([_gaps_of(binned, classes, groups, weights) for classes in variables], axis=0)
    mig, sap = (_estimate(values, groups) for values in found)
    return mig, sap


def _gaps_of(
    binned: Int64[np.ndarray, "N D"],
    classes: Int64[np.ndarray, " N"],
    groups: Groups,
    weights: Float64[np.ndarray, "R G"],
) -> Float64[np.ndarray, "2 R"]:
    """MIG and SAP of one variable where each group counts as often as its weight says."""
    count = int(classes.max()) + 1
    cells = BINS * count
    told = np.empty((len(weights), binned.shape[1]))
    read = np.empty_like(told)
    of = np.ones(len(weights))
    for dim, column in enumerate(binned.T):
        cell = (groups.index * BINS + column) * count + classes
        counts = np.bincount(cell, minlength=groups.count * cells).reshape(groups.count, cells)
        tables = (weights @ counts).reshape(-1, BINS, count)
        told[:, dim], read[:, dim] = mutual_information(tables), read_off(tables)
        of = entropy(tables.sum(1))
    # A draw in which the variable is constant has nothing to be told.
    mig = np.where(of > 0, gap(told) / np.where(of > 0, of, 1), 0)
    return np.stack([mig, gap(read)])


def _estimate(values: Float64[np.ndarray, " R"], groups: Groups) -> Estimate:
    """The first number; around it the spread of the others."""
    value = float(values[0])
    if len(values) == 1:
        return Estimate(value)
    # A draw tells more than there is, as its states repeat: only its spread is used.
    half = student_t(groups.count - 1) * float(values[1:].std(ddof=1))
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))
