"""Where the states of a splitting come from: segments of ways, each from a state to the next level.

The levels are lists of segments; a segment's origin is the number of one in the level before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ngu_agents.archive.attempt import Piece
from ngu_agents.archive.demonstrated import Demonstrated
from ngu_agents.archive.guide import Memory
from ngu_agents.archive.ways import Way

# Levels that a state must lead on to be known for no dead end.
PROVEN_LEVELS = 3


@dataclass
class Segment:
    """How a state was reached from one of the level before."""

    origin: int
    """Number of the segment that led to where it begins; -1 where a way begins, or a policy came
    by itself."""
    piece: Piece
    """The steps; where there is no origin no steps, but frames that were seen before the state."""
    score: float
    """Score of the state."""
    name: bytes
    """Cell of the state."""
    snapshot: bytes
    """Of the state; empty where the episode ended in it."""
    memory: Memory | None = None
    """What a policy that takes part has in mind there; None where a way begins."""
    tries: int = 0
    """Attempts that set out from the state."""
    wins: int = 0
    """Attempts that reached the next level."""


def shortest_way(levels: Sequence[Sequence[Segment]]) -> Way | None:
    """The one with the fewest steps from a beginning to the last level; None if there is none."""
    ways = [_segments_to(levels, number) for number in range(len(levels[-1]))]
    whole = [way for way in ways if way]
    if not whole:
        return None
    best = min(whole, key=lambda way: sum(len(segment.piece.actions) for segment in way))
    return Way(
        [name for segment in best for name in segment.piece.names],
        [score for segment in best for score in segment.piece.scores],
        b"".join(segment.piece.actions for segment in best),
        best[-1].score,
    )


def _segments_to(levels: Sequence[Sequence[Segment]], number: int) -> list[Segment]:
    """Those that lead from a beginning to a state of the last level; none from elsewhere."""
    way = []
    for segments in reversed(levels):
        if number < 0:
            return []
        way.append(segments[number])
        number = segments[number].origin
    return [] if way[-1].piece.frames else way[::-1]


def demonstrated(
    levels: Sequence[Sequence[Segment]], last_level: int, frame: np.ndarray, first_action: int
) -> Demonstrated:
    """All steps that led to a state from which the way went on for some levels, or ended.

    Args:
        levels: those that are filled.
        last_level: number of the one that the way ends in.
        frame: any one, for its shape.
        first_action: of the environments.
    """
    furthest = [np.full(len(segments), level) for level, segments in enumerate(levels)]
    for level in range(len(levels) - 1, 0, -1):
        origins = np.array([segment.origin for segment in levels[level]])
        led = origins >= 0
        np.maximum.at(furthest[level - 1], origins[led], furthest[level][led])
    frames: list[np.ndarray] = []
    action, reward, terminated, previous = ([] for _ in range(4))
    last_step: dict[tuple[int, int], int] = {}
    for level, segments in enumerate(levels):
        proven = furthest[level] >= min(level + PROVEN_LEVELS, last_level)
        for number in np.flatnonzero(proven).tolist():
            segment = segments[number]
            piece = segment.piece
            first, steps, count = len(action), len(piece.actions), len(piece.frames)
            before = last_step.get((level - 1, segment.origin), -1)
            previous += [before, *range(first, first + count - 1)][:count]
            last_step[level, number] = first + (steps or count) - 1 if count else -1
            frames += piece.frames
            action += [one - first_action for one in piece.actions]
            action += [-1] * (count - steps)
            reward += [*np.diff([*piece.scores, segment.score]), *[0.0] * (count - steps)]
            terminated += [False] * count
            if steps:
                terminated[first + steps - 1] = not segment.snapshot
    return Demonstrated(
        np.stack(frames) if frames else np.empty((0, *frame.shape), frame.dtype),
        np.array(action, np.int16),
        np.array(reward, np.float32),
        np.array(terminated, np.bool_),
        np.array(previous, np.int64),
    )
