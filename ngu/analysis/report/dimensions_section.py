"""How many dimensions are used: what the report says of the spectrum."""

from __future__ import annotations

import numpy as np

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.intrinsic_dimension import IntrinsicDimension
from ngu.analysis.report.section import COUNT, Figure, Number, Section, Table
from ngu.analysis.spectrum import DEAD, DUPLICATED, Spectrum

_LISTED = 12
"""Dimensions that are listed by number, at most."""


def dimensions_section(spectrum: Spectrum, intrinsic: IntrinsicDimension, over: str) -> Section:
    """The spectrum and the dimensions.

    Args:
        spectrum: as measured.
        intrinsic: as measured.
        over: what intervals are over, as a clause.
    """
    dim = len(spectrum.eigenvalues)
    return Section(
        key="dimensions",
        title="How many dimensions it uses",
        how=(
            "Each bar on the left is the share of the variance along one principal direction, the "
            f"largest first; an embedding that uses its {dim} dimensions alike has bars of one "
            "height. On the right each dimension as it is: how far it moves. The effective rank is "
            "the number of directions of equal variance that would have the same entropy; the "
            "intrinsic dimension counts curved surfaces as flat, so it may be lower. Intervals "
            f"are {over}."
        ),
        numbers=(
            Number(
                "effective_rank",
                "effective rank",
                spectrum.effective_rank,
                f"dimensions used, of {dim}: exp of the entropy of the singular values",
                "dimensions",
            ),
            Number(
                "participation_ratio",
                "participation ratio",
                spectrum.participation_ratio,
                "the same by squared eigenvalues, which the largest rule",
                "dimensions",
            ),
            Number(
                "rank_me",
                "RankMe",
                spectrum.rank_me,
                "as the effective rank, without taking the mean off",
                "dimensions",
            ),
            Number(
                "alpha_req",
                "alpha-ReQ",
                spectrum.alpha_req,
                f"power by which the first {spectrum.fitted} eigenvalues fall; near 1 is balanced, "
                "0 is flat, above 2 few rule",
            ),
            Number(
                "intrinsic_dimension",
                "intrinsic dimension",
                intrinsic.two_nn,
                f"TwoNN, at the smallest scale there is; {100 * intrinsic.repeated:.3g} % of the "
                "states repeat another one and were left out",
                "dimensions",
            ),
            Number(
                "levina_bickel_dimension",
                "intrinsic dimension, larger scale",
                intrinsic.levina_bickel,
                "Levina and Bickel, by 10 to 20 neighbours",
                "dimensions",
            ),
            Number(
                "dead_dimensions",
                "dead dimensions",
                Estimate(float(len(spectrum.dead))),
                f"those that move less than {DEAD:g} of the usual{_listed(spectrum.dead)}",
                COUNT,
            ),
            Number(
                "duplicated_dimensions",
                "duplicated dimensions",
                Estimate(float(sum(len(group) - 1 for group in spectrum.duplicated))),
                f"those that another one correlates with by {DUPLICATED:g} or more",
                COUNT,
            ),
        ),
        figures=(_eigenvalues(spectrum), _spreads(spectrum), *_scales(intrinsic)),
        tables=_pairs(spectrum),
    )


def _eigenvalues(spectrum: Spectrum) -> Figure | NotMeasured:
    total = spectrum.eigenvalues.sum()
    if total == 0:
        return NotMeasured("all states are the same")
    share = 100 * spectrum.eigenvalues / total
    index = np.arange(1, len(share) + 1)
    cumulated = np.cumsum(share)
    half = int(np.searchsorted(cumulated, 90)) + 1
    return Figure(
        traces=[
            {
                "type": "bar",
                "x": index.tolist(),
                "y": share.tolist(),
                "name": "this direction",
                "hovertemplate": "direction %{x}: %{y:.3g} %<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "x": index.tolist(),
                "y": cumulated.tolist(),
                "name": "all up to it",
                "yaxis": "y2",
                "hovertemplate": "first %{x}: %{y:.3g} %<extra></extra>",
            },
        ],
        layout={
            "title": {"text": "Variance along principal directions"},
            "xaxis": {"title": {"text": "principal direction"}},
            "yaxis": {"title": {"text": "share of variance, %"}, "rangemode": "tozero"},
            "yaxis2": {
                "title": {"text": "all up to it, %"},
                "overlaying": "y",
                "side": "right",
                "range": [0, 102],
                "tickvals": [0, 25, 50, 75, 100],
                "tickmode": "array",
                "showgrid": False,
            },
        },
        summary=f"{half} of {len(share)} principal directions hold 90 % of the variance",
    )


def _spreads(spectrum: Spectrum) -> Figure:
    count = len(spectrum.std)
    return Figure(
        traces=[
            {
                "type": "bar",
                "x": list(range(count)),
                "y": spectrum.std.tolist(),
                "hovertemplate": "dimension %{x}: %{y:.3g}<extra></extra>",
            }
        ],
        layout={
            "title": {"text": "How far each dimension moves"},
            "xaxis": {"title": {"text": "dimension"}},
            "yaxis": {
                "title": {"text": "standard deviation, embedding's units"},
                "rangemode": "tozero",
            },
        },
        summary=f"standard deviations of {count} dimensions; {len(spectrum.dead)} are dead",
    )


def _scales(intrinsic: IntrinsicDimension) -> tuple[Figure, ...]:
    """The dimension by the number of neighbours; nothing where it was not measured."""
    by_neighbours = intrinsic.by_neighbours
    if not len(by_neighbours):
        return ()
    return (
        Figure(
            traces=[
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": list(range(2, 2 + len(by_neighbours))),
                    "y": by_neighbours.tolist(),
                    "hovertemplate": "%{x} neighbours: %{y:.3g}<extra></extra>",
                }
            ],
            layout={
                "title": {"text": "Intrinsic dimension over scale"},
                "xaxis": {"title": {"text": "neighbours looked at"}},
                "yaxis": {"title": {"text": "dimensions"}, "rangemode": "tozero"},
            },
            summary=f"from {by_neighbours[0]:.3g} by 2 neighbours to {by_neighbours[-1]:.3g} by "
            f"{1 + len(by_neighbours)}",
        ),
    )


def _pairs(spectrum: Spectrum) -> tuple[Table, ...]:
    if not spectrum.pairs:
        return ()
    rows = tuple(
        (f"{pair.first} and {pair.second}", f"{pair.correlation:.4f}")
        for pair in spectrum.pairs[:_LISTED]
    )
    left = len(spectrum.pairs) - len(rows)
    more = ((f"and {left} more pairs", ""),) if left else ()
    return (Table(("dimensions that say the same", "correlation"), rows + more),)


def _listed(dimensions: tuple[int, ...]) -> str:
    if not dimensions:
        return ""
    named = ", ".join(map(str, dimensions[:_LISTED]))
    return f": {named}{' ...' if len(dimensions) > _LISTED else ''}"
