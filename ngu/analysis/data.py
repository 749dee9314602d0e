"""Embeddings to be analysed, and what is known of the states that they stand for.

Shapes: N states, D dimensions, K neighbours, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8


@runtime_checkable
class Frames(Protocol):
    """The pictures of N states, decoded when they are asked for."""

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "H W channels"]:
        """The picture of one state; 1 or 3 channels."""
        ...

    def contents(self) -> Int64[np.ndarray, " N"]:
        """A number for each picture, the same where the pictures are."""
        ...


@dataclass(frozen=True)
class Neighbours:
    """Why each state was paid what it was: the nearest of its episode's memory then."""

    step: Int64[np.ndarray, "N K"]
    """Steps of the same episode, the nearest first; -1 where there was none."""
    squared_distance: Float32[np.ndarray, "N K"]
    """To them; infinite where there was none."""
    kernel: Float32[np.ndarray, "N K"]
    """Kernel values, from 1, the same, to 0."""


@dataclass(frozen=True)
class EmbeddingData:
    """Embeddings of N states in the order in which they were reached, episode after episode."""

    embeddings: Float32[np.ndarray, "N D"]
    """Finite."""
    episodes: Int64[np.ndarray, " N"] | None = None
    """Episode of each state; None: not known. States of an episode stand together."""
    steps: Int64[np.ndarray, " N"] | None = None
    """Step of each state within its episode, 0 for the first observation; None: not known."""
    labels: Mapping[str, Int64[np.ndarray, " N"]] = field(default_factory=dict)
    """What is known of the states, by name: room, x, y, ..."""
    figures: Mapping[str, Float32[np.ndarray, " N"]] = field(default_factory=dict)
    """Rewards and novelty of each state, by name: reward, intrinsic_reward, episodic_novelty ...;
    NaN where a state has none, as an episode's first has no novelty."""
    neighbours: Neighbours | None = None
    """As the episodic memory had them; None: not recorded."""
    frames: Frames | None = None
    """Pictures; None: not recorded."""
    stds: Float32[np.ndarray, "N D"] | None = None
    """Standard deviations of the posteriors of a variational autoencoder, above 0, where the
    embeddings are their means; None: they are not."""
    source: str = "array"
    """What they were read from."""
    rows: int = 0
    """States that the source holds."""
    sampling: str = "all rows"
    """How those here were drawn from them, as a clause for the report."""
