"""Which states are looked at where there are too many: whole episodes, else single states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

_FEWEST = 20
"""Episodes that share the limit at least, so that there is something to draw again from them."""


class Draw(NamedTuple):
    """States that were drawn, episode after episode."""

    rows: Int64[np.ndarray, " n"]
    """Of the source, in the order in which the data are to stand."""
    steps: Int64[np.ndarray, " n"] | None
    """Position of each within its episode; None where episodes are not known."""
    told: str
    """How they were drawn, as a clause."""


def draw(
    count: int,
    episodes: Int64[np.ndarray, " N"] | None,
    limit: int | None,
    generator: np.random.Generator,
) -> Draw:
    """Draw states.

    Where episodes are known, those drawn are whole, as intervals are over episodes and steps
    between states are to be counted; an episode longer than a twentieth of the limit gives that
    many consecutive states of it. Without episodes, states are drawn one by one.

    Args:
        count: states that there are, N.
        episodes: of each state, in any order of numbers; the states of an episode stand in the
            order of its steps, other episodes' may stand between them.
        limit: states to draw at most; None takes all.
        generator: draws.

    Returns:
        Rows sorted by the episodes' first appearance, then by step; without episodes ascending.
    """
    limit = count if limit is None else limit
    if episodes is None:
        if count <= limit:
            return Draw(np.arange(count), None, f"all {count:,} rows")
        rows = np.sort(generator.choice(count, limit, replace=False, shuffle=False))
        return Draw(rows, None, f"{limit:,} of {count:,} rows, drawn one by one")
    order, begins, lengths = grouped(episodes)
    total = len(lengths)
    if count <= limit:
        steps = np.arange(count) - np.repeat(begins, lengths)
        return Draw(order, steps, f"all {count:,} rows, {total:,} episodes")
    most = max(2, limit // min(total, _FEWEST))
    drawn, left = [], limit
    for episode in generator.permutation(total):
        length = min(int(lengths[episode]), most)
        if length > left:
            break
        drawn.append((episode, int(generator.integers(lengths[episode] - length + 1)), length))
        left -= length
    drawn.sort()
    positions = [begins[episode] + np.arange(start, start + n) for episode, start, n in drawn]
    steps = np.concatenate([np.arange(start, start + n) for _, start, n in drawn])
    cut = sum(n < lengths[episode] for episode, _, n in drawn)
    told = f"{limit - left:,} of {count:,} rows: {len(drawn):,} of {total:,} episodes, drawn whole"
    if cut:
        told += f" but for {cut:,} of which there are {most:,} consecutive rows"
    return Draw(order[np.concatenate(positions)], steps, told)


def grouped(
    episodes: Int64[np.ndarray, " N"],
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " G"], Int64[np.ndarray, " G"]]:
    """Put the rows of each episode together.

    Returns:
        Rows by the episodes' first appearance, where in them each of the G episodes begins, and how
        many rows each has.
    """
    _, first, group, lengths = np.unique(
        episodes, return_index=True, return_inverse=True, return_counts=True
    )
    appearance = np.argsort(first)
    rank = np.empty_like(appearance)
    rank[appearance] = np.arange(len(first))
    order = np.argsort(rank[group], kind="stable")
    lengths = lengths[appearance]
    return order, np.cumsum(lengths) - lengths, lengths
