"""What embeddings are read from: an array, numpy's files, Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from ngu.analysis.data import Frames, Neighbours


class Taken(NamedTuple):
    """What a source tells of n states; the fields are those of `EmbeddingData`."""

    embeddings: Float32[np.ndarray, "n D"]
    stds: Float32[np.ndarray, "n D"] | None = None
    steps: Int64[np.ndarray, " n"] | None = None
    labels: Mapping[str, Int64[np.ndarray, " n"]] = {}
    figures: Mapping[str, Float32[np.ndarray, " n"]] = {}
    neighbours: Neighbours | None = None
    frames: Frames | None = None


@runtime_checkable
class Source(Protocol):
    """N states of D dimensions, of which some are taken."""

    rows: int
    """N."""
    dim: int
    """D."""
    how: str
    """Clause on how they are read."""

    def episodes(self) -> Int64[np.ndarray, " N"] | None:
        """Episode of each state; None where it is not told."""
        ...

    def take(self, rows: Int64[np.ndarray, " n"]) -> Taken:
        """The states of ascending rows."""
        ...
