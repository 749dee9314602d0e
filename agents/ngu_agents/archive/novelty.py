"""How new a cell is: few of the visits so far lie near it, had its score or more, and as early.

Source: Never Give Up (arXiv 2002.06038), Algorithm 1, here over a sample of all that was visited
in place of the episode's nearest neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int

from ngu.novelty.kernel import episodic_novelty
from ngu.seeding import generator_state, set_generator_state

_SAMPLE = 4096
# Algorithm 1's epsilon, but a cluster that is a whole place (on Montezuma's Revenge two states of a
# room are .02 to .08 apart, of two rooms .25 and more), and a novelty of 1 where no visit was.
_EPSILON, _CLUSTER_DISTANCE, _PSEUDO_COUNT = 1e-3, 0.1, 1.0
# Cells whose distances are computed at a time: they stay in the cache.
_ROWS = 128


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


class Visited:
    """Visits that cells are compared with.

    Args:
        embeddings: of the M cells visited, float32 [M, D].
        scores: what they were visited with, float64 [M].
        slices: of time, in which they were visited, int64 [M].
        place_size: numbers at the end of an embedding that tell where the agent is.
    """

    def __init__(
        self,
        embeddings: Float32[np.ndarray, "M D"],
        scores: Float64[np.ndarray, " M"],
        slices: Int[np.ndarray, " M"],
        place_size: int = 0,
    ) -> None:
        self.embeddings, self.scores, self.slices = embeddings, scores, slices
        picture_size = embeddings.shape[1] - place_size
        self._mean = 0.0
        self._scale = np.ones(embeddings.shape[1], np.float32)
        for part in (slice(picture_size), slice(picture_size, None)):
            # The mean squared distance of pairs is twice the variance.
            mean = 2 * float(embeddings[:, part].var(0).sum())
            if mean > 0:
                self._scale[part] = 1 / np.sqrt(mean)
                self._mean += 1

    def novelty_of(
        self,
        embeddings: Float32[np.ndarray, "N D"],
        scores: Float64[np.ndarray, " N"],
        slices: Int[np.ndarray, " N"],
    ) -> Float64[np.ndarray, " N"]:
        """Never Give Up's episodic novelty of N cells among the visits.

        Only visits with at least the cell's score count: with less of it (without a key, say) the
        same picture may lead elsewhere, with more of it whatever the cell leads to is known as
        well. For the same reason visits in a later slice of time do not count: with more time left
        a state may lead further. Distances are divided by the mean one between visits; those of
        places and of pictures each by its own.

        Args:
            embeddings: of the cells.
            scores: of their best states.
            slices: of time, in which these were reached.

        Returns:
            1 / (sqrt(sum of K) + 1) for each cell: 1 where no visit counts.
        """
        of_visits, of_cells = torch.from_numpy(self.scores), torch.from_numpy(scores)
        visited_in, reached_in = torch.from_numpy(self.slices), torch.from_numpy(slices)
        visited, found = torch.from_numpy(self.embeddings * self._scale), np.empty(len(embeddings))
        embeddings = embeddings * self._scale
        for first in range(0, len(embeddings), _ROWS):
            part = slice(first, first + _ROWS)
            squared = torch.cdist(torch.from_numpy(embeddings[part]), visited).square_()
            squared[of_visits < of_cells[part, None]] = torch.inf
            squared[visited_in > reached_in[part, None]] = torch.inf
            found[part] = episodic_novelty(
                squared,
                self._mean,
                epsilon=_EPSILON,
                cluster_distance=_CLUSTER_DISTANCE,
                pseudo_count=_PSEUDO_COUNT,
                max_similarity=torch.inf,
            )
        return found
