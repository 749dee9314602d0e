"""Cells that quantised numbers fall into, how often each is met, and what it is decoded to.

A number y becomes the integer q = round(y / step). Integers that were met in training have a cell
each; the first cell is of all below them, the last of all above: these two are escapes, which the
bitstream follows up with the distance.

Shapes: N states, D dimensions, n cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

MOST_CELLS = 4096
"""A dimension that spans more steps than this escapes at its ends."""
_PRIOR_COUNT = 0.5
"""What each cell is given before anything is counted (Krichevsky and Trofimov, 1981)."""
_FARTHEST = 2**30


@dataclass(frozen=True)
class Cells:
    """The cells of one dimension at one step."""

    step: float
    """Width of a cell."""
    lowest: int
    """Integer of the second cell, the first that is no escape."""
    probabilities: Float64[np.ndarray, " n"]
    """Of each cell, its share in training; above 0, they sum to 1."""
    values: Float64[np.ndarray, " n"]
    """What each cell is decoded to: the mean of what fell into it in training."""

    def __len__(self) -> int:
        return len(self.probabilities)

    def index(self, integers: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
        """The cell of each integer."""
        return np.clip(integers - self.lowest + 1, 0, len(self) - 1)

    def escaped(self, index: Int64[np.ndarray, " N"]) -> np.ndarray:
        """Whether a cell is an escape, bool [N]."""
        return (index == 0) | (index == len(self) - 1)

    def excess(
        self, integers: Int64[np.ndarray, " N"], index: Int64[np.ndarray, " N"]
    ) -> Int64[np.ndarray, " N"]:
        """How far escaped integers lie beyond the nearest cell that is none, less 1; else 0."""
        below, above = self.lowest - 1 - integers, integers - (self.lowest + len(self) - 2)
        return np.where(index == 0, below, np.where(index == len(self) - 1, above, 0))

    def integers(
        self, index: Int64[np.ndarray, " N"], excess: Int64[np.ndarray, " N"]
    ) -> Int64[np.ndarray, " N"]:
        """The integers of cells, the inverse of `index` and `excess`."""
        return self.lowest - 1 + index + np.where(index == 0, -excess, excess)

    def decoded(
        self, integers: Int64[np.ndarray, " N"], index: Int64[np.ndarray, " N"]
    ) -> Float64[np.ndarray, " N"]:
        """The number that stands for each integer."""
        return np.where(self.escaped(index), integers * self.step, self.values[index])


def quantise(numbers: Float[np.ndarray, "N D"], step: float) -> Int64[np.ndarray, "N D"]:
    """The nearest multiples of a step, as integers."""
    scaled = np.rint(np.asarray(numbers, dtype=np.float64) / step)
    return np.clip(scaled, -_FARTHEST, _FARTHEST).astype(np.int64)


def count_cells(numbers: Float[np.ndarray, " N"], step: float, *, most: int = MOST_CELLS) -> Cells:
    """Cells for all that is met in training numbers, at most so many around their median."""
    integers = quantise(numbers[:, None], step)[:, 0]
    middle = int(np.median(integers))
    lowest = max(int(integers.min()), middle - most // 2 + 2)
    highest = min(int(integers.max()), middle + most // 2 - 2)
    count = highest - lowest + 3
    index = np.clip(integers - lowest + 1, 0, count - 1)
    counts = np.bincount(index, minlength=count).astype(np.float64)
    sums = np.bincount(index, weights=np.asarray(numbers, np.float64), minlength=count)
    centres = step * np.arange(lowest - 1, highest + 2, dtype=np.float64)
    values = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
    probabilities = (counts + _PRIOR_COUNT) / (counts.sum() + _PRIOR_COUNT * count)
    return Cells(step, lowest, probabilities, values)
