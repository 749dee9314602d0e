"""How new a cell is: few of the visits so far lie near it, had its score or more, and as early.

Source: Never Give Up (arXiv 2002.06038), Algorithm 1, here over a sample of all that was visited
in place of the episode's nearest neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int

from ngu.novelty.kernel import kernel, normalised_distances
from ngu.seeding import generator_state, set_generator_state

_SAMPLE = 4096
# Algorithm 1's epsilon, but a cluster that is a whole place (on Montezuma's Revenge two states of a
# room are .02 to .08 apart, of two rooms .25 and more), and a novelty of 1 where no visit was.
_EPSILON, _CLUSTER_DISTANCE, _PSEUDO_COUNT = 1e-3, 0.1, 1.0
# Cells whose distances are computed at a time: they stay in the cache.
_ROWS = 128
# All is computed anew when there are so many times more visits; sooner where it is told what is
# near, of positions, many of which are equal.
_REFRESH_GROWTH, _REFRESH_GROWTH_OF_POSITIONS = 1.05, 1.02


class VisitSample:
    """A uniform sample of all visits: of which cells, and how reached (Vitter's algorithm R).

    Args:
        generator: draws the sample.

    Attributes:
        count: visits so far, in the sample or not.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.count = 0
        self._generator = generator
        self._cells = np.zeros(_SAMPLE, np.int64)
        self._scores = np.zeros(_SAMPLE)
        self._lengths = np.zeros(_SAMPLE, np.int64)

    def add(
        self,
        cells: Int[np.ndarray, " K"],
        scores: Float64[np.ndarray, " K"],
        lengths: Int[np.ndarray, " K"],
    ) -> None:
        """Take note of visits."""
        for cell, score, length in zip(
            cells.tolist(), scores.tolist(), lengths.tolist(), strict=True
        ):
            place = self.count
            self.count += 1
            if place >= _SAMPLE:
                place = int(self._generator.integers(self.count))
            if place < _SAMPLE:
                self._cells[place], self._scores[place] = cell, score
                self._lengths[place] = length

    @property
    def cells(self) -> Int[np.ndarray, " M"]:
        """Cells of the visits in the sample."""
        return self._cells[: self.count]

    @property
    def scores(self) -> Float64[np.ndarray, " M"]:
        """Scores that they were visited with."""
        return self._scores[: self.count]

    @property
    def lengths(self) -> Int[np.ndarray, " M"]:
        """Steps after which they were."""
        return self._lengths[: self.count]

    def regroup(self, groups: Int[np.ndarray, " N"]) -> None:
        """Give the cells their new numbers."""
        self._cells = groups[self._cells]

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "count": self.count,
            "generator": generator_state(self._generator),
            "cells": self._cells.copy(),
            "scores": self._scores.copy(),
            "lengths": self._lengths.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.count = state["count"]
        set_generator_state(self._generator, state["generator"])
        self._cells[:], self._scores[:] = state["cells"], state["scores"]
        self._lengths[:] = state["lengths"]


class Known(NamedTuple):
    """N visits, or cells, that are compared."""

    embeddings: Float32[np.ndarray, "N D"]
    """Of the states."""
    scores: Float64[np.ndarray, " N"]
    """Or levels of score, that they were reached with."""
    slices: Int[np.ndarray, " N"]
    """Of time, in which they were reached."""

    def distinct(self) -> tuple[Known, Int[np.ndarray, " N"], Int[np.ndarray, " U"]]:
        """The U different ones, which of these each of the N is, and how often each one comes."""
        rows = np.column_stack((self.embeddings, self.scores, self.slices))
        rows, which, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        embeddings, scores, slices = np.split(rows, (-2, -1), axis=1)
        known = Known(embeddings.astype(np.float32), scores[:, 0], slices[:, 0].astype(np.int64))
        return known, which, counts


class Visited:
    """Visits, or cells, that cells are compared with.

    Args:
        known: M of them.
        near: distance up to which embeddings are near; None for a share of the mean one between
            visits.
    """

    def __init__(self, known: Known, near: float | None = None) -> None:
        self.known = known
        self._different, _, self._counts = known.distinct()
        if near is None:
            # The mean squared distance of pairs is twice the variance.
            self._mean = 2 * float(known.embeddings.var(0).sum())
        else:
            self._mean = near**2 / _CLUSTER_DISTANCE

    def near(self, cells: Known) -> Float64[np.ndarray, "2 N"]:
        """How many visits are near each of N cells: the sum of the kernel K.

        Only visits with at least the cell's score count: with less of it (without a key, say) the
        same picture may lead elsewhere, with more of it whatever the cell leads to is known as
        well. Or so it seems: where a key was spent for a score, the cell with the key may lead
        further yet. So those with just its score are counted as well. Visits in a later slice of
        time do not count in either: with more time left a state may lead further.

        Args:
            cells: N of them, by their best states.

        Returns:
            The sums for each cell, with at least its score and with just its score: 0 where no
            visit counts.
        """
        cells, which, _ = cells.distinct()
        visits, counts = self._different, torch.from_numpy(self._counts).float()
        of_visits, of_cells = torch.from_numpy(visits.scores), torch.from_numpy(cells.scores)
        visited_in, reached_in = (torch.from_numpy(known.slices) for known in (visits, cells))
        visited = torch.from_numpy(visits.embeddings)
        embeddings = torch.from_numpy(cells.embeddings)
        found = np.empty((2, len(embeddings)))
        for first in range(0, len(embeddings), _ROWS):
            part = slice(first, first + _ROWS)
            squared = torch.cdist(embeddings[part], visited).square_()
            normalised = normalised_distances(squared, self._mean)
            similar = kernel(normalised, epsilon=_EPSILON, cluster_distance=_CLUSTER_DISTANCE)
            similar[visited_in > reached_in[part, None]] = 0
            similar[of_visits < of_cells[part, None]] = 0
            found[0, part] = similar @ counts
            similar[of_visits > of_cells[part, None]] = 0
            found[1, part] = similar @ counts
        return found[:, which]

    def novelty_of(self, cells: Known) -> Float64[np.ndarray, "2 N"]:
        """Never Give Up's episodic novelty of N cells: 1 / (sqrt(sum of K) + 1).

        Among visits with at least the cell's score, and with just its score; 1 where none counts.
        """
        return 1 / (np.sqrt(self.near(cells)) + _PSEUDO_COUNT)


class Familiarity:
    """How new cells are among a sample of visits, and how many other cells are near them.

    Args:
        near: distance up to which embeddings are near; None for a share of the mean one, and it is
            not asked how many cells are near.
        generator: draws the sample.

    Attributes:
        sample: of the visits.
        refresh_at: visits after which all is computed anew.
    """

    def __init__(self, near: float | None, generator: np.random.Generator) -> None:
        self.sample = VisitSample(generator)
        self.refresh_at = 1.0
        self._near = near
        self._compare_with(None, None, 1)

    @property
    def due(self) -> bool:
        """Whether there are so many more visits that all should be computed anew."""
        return self.sample.count >= self.refresh_at

    def refresh(self, visits: Known, cells: Known) -> None:
        """Compare with these visits, the sample's, and with some of these cells from now on."""
        growth = _REFRESH_GROWTH if self._near is None else _REFRESH_GROWTH_OF_POSITIONS
        self.refresh_at = self.sample.count * growth
        every = -(-len(cells.scores) // _SAMPLE)
        some = Known(*(values[::every] for values in cells))
        self._compare_with(visits, None if self._near is None else some, every)

    def _compare_with(self, visits: Known | None, cells: Known | None, every: int) -> None:
        self._visited = visits and Visited(visits, self._near)
        self._crowd = cells and Visited(cells, self._near)
        self._every = every

    def of(self, cells: Known) -> tuple[Float64[np.ndarray, "2 N"], Float64[np.ndarray, " N"]]:
        """Of N cells the novelties, and about how many cells are near each, itself included."""
        novelty, crowd = np.ones((2, len(cells.scores))), np.ones(len(cells.scores))
        if self._visited:
            novelty = self._visited.novelty_of(cells)
        if self._crowd:
            crowd = self._every * self._crowd.near(cells)[0]
        return novelty, crowd

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "sample": self.sample.state_dict(),
            "refresh_at": self.refresh_at,
            "visits": self._visited and tuple(self._visited.known),
            "cells": self._crowd and tuple(self._crowd.known),
            "every": self._every,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.sample.load_state_dict(state["sample"])
        self.refresh_at = state["refresh_at"]
        visits, cells = (state[key] and Known(*state[key]) for key in ("visits", "cells"))
        self._compare_with(visits, cells, state["every"])
