"""How many bits each dimension holds and what they share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.information import Information
from ngu.analysis.latent_information import ACTIVE, LatentInformation
from ngu.analysis.neighbour_information import MutualInformation
from ngu.analysis.report.section import COUNT, Figure, Number, Section, Table, bars
from ngu.analysis.resampling import Interval

_NAMED = 5
"""Pairs of dimensions that are listed, at most."""


def information_section(
    found: Information, posteriors: LatentInformation | None, over: str
) -> Section:
    """Entropy of dimensions, mutual information of pairs, and what all share.

    Args:
        found: as measured.
        posteriors: what those of a variational autoencoder cost; None: there are none.
        over: what intervals are over, as a clause.
    """
    entropy = found.entropy
    return Section(
        key="information",
        title="What its dimensions hold and share",
        how=(
            "Real numbers hold endless bits; these are told at a resolution of "
            f"{found.resolution:g} of the embedding's spread. On the left is what each dimension "
            "holds by itself. The heat map shows what each two dimensions share: bright off the "
            "diagonal means that one tells much of the other. The total correlation is what all "
            f"of them together write more than once. Intervals are {over}."
        ),
        numbers=(
            Number(
                "total_correlation_bits",
                "total correlation",
                found.neighbours.total_correlation_bits,
                "bits that are written twice when each dimension is coded on its own; by nearest "
                "neighbours, whatever the distribution",
                "bits",
            ),
            Number(
                "dual_total_correlation_bits",
                "dual total correlation",
                found.copula.dual_total_correlation_bits,
                "bits that at least two dimensions hold together; by the Gaussian copula",
                "bits",
            ),
            Number(
                "o_information_bits",
                "O-information",
                found.copula.o_information_bits,
                "total less dual total correlation: above 0 dimensions repeat each other, below "
                "they tell together what none tells alone; by the Gaussian copula",
                "bits",
            ),
            Number(
                "entropy_bits",
                "entropy of the dimensions",
                entropy if isinstance(entropy, NotMeasured) else entropy.total_bits,
                "their sum, each dimension on its own",
                "bits",
            ),
            Number(
                "gaussian_total_correlation_bits",
                "total correlation, if Gaussian",
                found.gaussian.total_correlation_bits,
                "by the covariance alone",
                "bits",
                listed=False,
            ),
            Number(
                "copula_total_correlation_bits",
                "total correlation, at least",
                found.copula.total_correlation_bits,
                "by the Gaussian copula, a lower bound",
                "bits",
                listed=False,
            ),
            *_posterior_numbers(posteriors),
        ),
        figures=(_entropies(found), _pairs(found.mutual), *_divergences(posteriors)),
        tables=(_shared(found), *_most(found.mutual)),
    )


def _entropies(found: Information) -> Figure | NotMeasured:
    entropy = found.entropy
    if isinstance(entropy, NotMeasured):
        return entropy
    return bars(
        _estimates(entropy.bits, entropy.interval),
        "Entropy of each dimension",
        "bits",
        f"dimensions hold {entropy.bits.min():.2g} to {entropy.bits.max():.2g} bits",
        height=380,
    )


def _estimates(values: Float64[np.ndarray, " D"], ends: Interval) -> list[Estimate]:
    return [
        Estimate(float(value), *(None if np.isnan(end) else float(end) for end in around))
        for value, *around in zip(values, ends.low, ends.high, strict=True)
    ]


def _posterior_numbers(found: LatentInformation | None) -> tuple[Number, ...]:
    """Active units, and the divergence from the prior with its three parts."""
    if found is None:
        return ()
    split = found.split
    parts = (
        (split, split, split)
        if isinstance(split, NotMeasured)
        else (split.index_code_bits, split.total_correlation_bits, split.dimension_bits)
    )
    names = (
        ("index_code_bits", "which picture it is", "what the latent tells of it, I(x; z)"),
        (
            "posterior_total_correlation_bits",
            "what posteriors' dimensions share",
            "total correlation of the aggregate posterior",
        ),
        (
            "dimension_divergence_bits",
            "each dimension from the prior",
            "sum of the divergences of the aggregate posterior's dimensions",
        ),
    )
    return (
        Number(
            "active_units",
            "active units",
            Estimate(float(found.active.sum())),
            f"dimensions whose posterior mean varies by more than {ACTIVE:g}",
            COUNT,
        ),
        Number(
            "divergence_bits",
            "divergence from the prior",
            found.total_divergence_bits,
            "KL of the posteriors, what the latent costs; the next three are its parts",
            "bits",
        ),
        *(
            Number(key, name, part, meaning, "bits")
            for (key, name, meaning), part in zip(names, parts, strict=True)
        ),
    )


def _divergences(found: LatentInformation | None) -> tuple[Figure, ...]:
    if found is None:
        return ()
    bits = found.divergence_bits
    return (
        bars(
            _estimates(bits, found.interval),
            "Divergence of the posteriors from the prior",
            "bits",
            f"dimensions cost {bits.min():.2g} to {bits.max():.2g} bits",
            height=380,
        ),
    )


def _pairs(mutual: MutualInformation | NotMeasured) -> Figure | NotMeasured:
    if isinstance(mutual, NotMeasured):
        return mutual
    names = [str(dimension) for dimension in mutual.dimensions]
    bits = [
        [None if np.isnan(value) else round(max(float(value), 0.0), 4) for value in row]
        for row in mutual.bits
    ]
    return Figure(
        traces=[
            {
                "type": "heatmap",
                "z": bits,
                "x": names,
                "y": names,
                "colorscale": "Viridis",
                "zmin": 0,
                "colorbar": {"title": {"text": "bits", "side": "right"}, "thickness": 12},
                "hovertemplate": "%{x} and %{y} share %{z:.3g} bits<extra></extra>",
            }
        ],
        layout={
            "title": {"text": "What each two dimensions share"},
            "xaxis": {"title": {"text": "dimension"}, "type": "category", "constrain": "domain"},
            "yaxis": {
                "title": {"text": "dimension"},
                "type": "category",
                "autorange": "reversed",
                "scaleanchor": "x",
                "constrain": "domain",
            },
        },
        summary=f"two dimensions share up to {np.nanmax(mutual.bits):.2g} bits",
        height=380,
    )


def _shared(found: Information) -> Table:
    ways = (found.gaussian, found.copula, found.neighbours)
    rows = (
        ("total correlation, bits", *(way.total_correlation_bits for way in ways)),
        ("dual total correlation, bits", *(way.dual_total_correlation_bits for way in ways)),
        ("O-information, bits", *(way.o_information_bits for way in ways)),
    )
    return Table(("shared by all", "if Gaussian", "Gaussian copula", "nearest neighbours"), rows)


def _most(mutual: MutualInformation | NotMeasured) -> tuple[Table, ...]:
    """The pairs that share most."""
    if isinstance(mutual, NotMeasured):
        return ()
    first, second = np.triu_indices(len(mutual.dimensions), 1)
    order = np.argsort(-mutual.bits[first, second])[:_NAMED]
    rows = []
    for i, j in zip(first[order], second[order], strict=True):
        ends = (float(end[i, j]) for end in mutual.interval)
        around = (None if np.isnan(end) else end for end in ends)
        pair = f"{mutual.dimensions[i]} and {mutual.dimensions[j]}"
        rows.append((pair, Estimate(float(mutual.bits[i, j]), *around)))
    return (Table(("two dimensions", "bits that they share"), tuple(rows)),)
