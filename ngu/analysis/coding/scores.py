"""Cells on the scale of the normal distribution, for all coordinates at one step.

Shapes: D coordinates, n cells of the coordinate that has most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from ngu.analysis.coding.cells import Cells


@dataclass(frozen=True)
class Scores:
    """Of each coordinate's cells; those that a coordinate does not have are never looked up."""

    edges: Float64[np.ndarray, "D edges"]
    """Normal quantiles of the cumulative probability below each cell; from -inf to inf."""
    middles: Float64[np.ndarray, "D n"]
    """Normal quantiles of the cumulative probability at half of each cell."""

    def low(self, index: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """Lower edges of cells."""
        return np.take_along_axis(self.edges, index.T, axis=1).T

    def high(self, index: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """Upper edges of cells."""
        return np.take_along_axis(self.edges, index.T + 1, axis=1).T

    def of(self, index: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """Middles of cells."""
        return np.take_along_axis(self.middles, index.T, axis=1).T


def score_cells(cells: Sequence[Cells]) -> Scores:
    """The scores of each coordinate's cells."""
    most = max(map(len, cells))
    edges = np.full((len(cells), most + 1), np.inf)
    middles = np.zeros((len(cells), most))
    for dim, each in enumerate(cells):
        upper = np.cumsum(each.probabilities)
        lower = upper - each.probabilities
        edges[dim, 0] = -np.inf
        edges[dim, 1 : len(each)] = _quantile(upper[:-1])
        middles[dim, : len(each)] = _quantile((lower + upper) / 2)
    return Scores(edges, middles)


def _quantile(probability: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return torch.special.ndtri(torch.from_numpy(probability)).numpy()
