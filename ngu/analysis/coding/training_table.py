"""Training states at one step as tensors: their cells, and those on the scores' scale.

Shapes: N states, B states of a batch, D coordinates, n cells of the coordinate that has most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ngu.analysis.coding.cells import MOST_CELLS, Cells, count_cells, quantise
from ngu.analysis.coding.scores import Scores, score_cells

_FAR = 12.0
"""Scores of the outermost edges in training, where infinity has no gradient."""


class Table:
    """What is learned from at one step.

    Args:
        coordinates: of the training states.
        step: of the quantiser.
        told: the step as networks are told it.
        most: cells of a coordinate at most.
    """

    def __init__(
        self,
        coordinates: Float64[np.ndarray, "N D"],
        step: float,
        told: float,
        *,
        most: int = MOST_CELLS,
    ) -> None:
        self.step, self.told = step, told
        self.cells: Sequence[Cells] = [
            count_cells(column, step, most=most) for column in coordinates.T
        ]
        self.scores: Scores = score_cells(self.cells)
        self.index = torch.from_numpy(self.indexed(coordinates))
        self.edges = torch.from_numpy(self.scores.edges).float().clamp(-_FAR, _FAR)
        self.middles = torch.from_numpy(self.scores.middles).float()
        self.lowest = torch.tensor([cells.lowest for cells in self.cells])
        self.last = torch.tensor([len(cells) - 1 for cells in self.cells])

    def indexed(self, coordinates: Float64[np.ndarray, "N D"]) -> Int64[np.ndarray, "N D"]:
        """Cells of coordinates."""
        integers = quantise(coordinates, self.step)
        columns = [cells.index(each) for cells, each in zip(self.cells, integers.T, strict=True)]
        return np.stack(columns, axis=1)

    def hard(self, index: Int64[Tensor, "B D"]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, lower and upper edges of cells."""
        at = index.T
        low, high = self.edges.gather(1, at), self.edges.gather(1, at + 1)
        return self.middles.gather(1, at).T, low.T, high.T

    def soft(self, coordinates: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor, Tensor]:
        """The same of a cell around each coordinate, wherever that lies; with gradients."""
        place = (coordinates / self.step - self.lowest + 1).T
        low = _between(self.edges, place, self.last + 1)
        high = _between(self.edges, place + 1, self.last + 1)
        return _between(self.middles, place, self.last).T, low.T, high.T


def _between(table: Float[Tensor, "D n"], place: Float[Tensor, "D B"], last: Tensor) -> Tensor:
    """What a table says between its entries, linearly; at its ends beyond them."""
    place = torch.minimum(place.clamp_min(0), last[:, None].float())
    floor = torch.minimum(place.detach().floor().long(), (last[:, None] - 1).clamp_min(0))
    lower, upper = table.gather(1, floor), table.gather(1, floor + 1)
    return torch.lerp(lower, upper, place - floor)
