"""What is demonstrated: steps of many ways that have their beginnings in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped


class Demonstrated(NamedTuple):
    """Steps of many ways, which have their beginnings in common.

    M frames, of which each is a step but the last one of a segment.
    """

    frames: Shaped[np.ndarray, "M ..."]
    """What a step's action was taken on, or what a segment led to."""
    action: Int[np.ndarray, " M"]
    """The action, counted from zero; -1 where a segment ends."""
    reward: Float32[np.ndarray, " M"]
    """What it brought."""
    terminated: Bool[np.ndarray, " M"]
    """Whether it ended the episode."""
    previous: Int[np.ndarray, " M"]
    """Number of the step before; -1 at the beginning of an episode."""


def joined(parts: list[Demonstrated]) -> Demonstrated:
    """The steps of all parts, at least one."""
    starts = np.cumsum([0, *(len(part.action) for part in parts[:-1])])
    moved = [
        part._replace(previous=np.where(part.previous >= 0, part.previous + start, -1))
        for part, start in zip(parts, starts, strict=True)
    ]
    return Demonstrated(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))
