"""Why a state counted as new: those before it in its episode that are nearest, and their kernel.

Source: Never Give Up (arXiv 2002.06038), Algorithm 1. What the episodic memory recorded is taken as
it is; for embeddings of any other origin the same is computed with the paper's settings.

Shapes: S states asked for, K neighbours, M states of an episode before one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64

from ngu.analysis.data import EmbeddingData, Neighbours
from ngu.novelty.kernel import kernel, normalised_distances, similarity
from ngu.novelty.ngu import NGUConfig

_PAPER = NGUConfig()
_SPARE = 16  # so many more candidates than K are compared exactly


@dataclass(frozen=True)
class Explanation:
    """What S states were compared with. Neighbours stand the nearest first."""

    rows: Int64[np.ndarray, "S K"]
    """Rows of the neighbours; -1 where there is none, or it is not among the rows used."""
    steps: Int64[np.ndarray, "S K"]
    """Their steps in the same episode; -1 where there is none."""
    squared_distance: Float32[np.ndarray, "S K"]
    """To them; infinite where there is none."""
    kernel: Float32[np.ndarray, "S K"]
    """Kernel values; 0 where there is none."""
    novelty: Float32[np.ndarray, " S"]
    """Episodic novelty; NaN of an episode's first state, which is compared with none."""
    origin: str
    """A sentence: where these numbers come from."""


def explain(data: EmbeddingData, states: Int64[np.ndarray, " S"], k: int = 10) -> Explanation:
    """Tell what each state was compared with when it was reached.

    Args:
        data: with or without recorded neighbours.
        states: rows of it, S.
        k: neighbours, where none were recorded.
    """
    if data.neighbours is None:
        return _computed(data, states, k)
    return _recorded(data, data.neighbours, states)


def _recorded(
    data: EmbeddingData, neighbours: Neighbours, states: Int64[np.ndarray, " S"]
) -> Explanation:
    steps = neighbours.step[states]
    values = neighbours.kernel[states]
    novelty = data.figures.get("episodic_novelty")
    if novelty is None:
        novelty = 1 / (np.sqrt(np.maximum(values, 0).sum(1)) + _PAPER.pseudo_count)
    else:
        novelty = novelty[states]
    none = (steps < 0).all(1)
    return Explanation(
        rows=_rows_of(data, states, steps),
        steps=steps,
        squared_distance=neighbours.squared_distance[states],
        kernel=values,
        novelty=np.where(none, np.nan, novelty).astype(np.float32),
        origin="As the episodic memory had them when the state was reached.",
    )


def _rows_of(
    data: EmbeddingData, states: Int64[np.ndarray, " S"], steps: Int64[np.ndarray, "S K"]
) -> Int64[np.ndarray, "S K"]:
    """Rows of the states of the same episodes that have these steps; -1 where there is none."""
    if data.episodes is None or data.steps is None:
        return np.full(steps.shape, -1, np.int64)
    _, episodes = np.unique(data.episodes, return_inverse=True)
    stride = int(max(data.steps.max(), steps.max(), 0)) + 1
    keys = episodes * stride + data.steps
    order = np.argsort(keys, kind="stable")
    wanted = episodes[states, None] * stride + steps
    at = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return np.where((steps >= 0) & (keys[at] == wanted), at, -1)


def _computed(data: EmbeddingData, states: Int64[np.ndarray, " S"], k: int) -> Explanation:
    rows = np.full((len(states), k), -1, np.int64)
    squared = np.full((len(states), k), np.inf, np.float32)
    begins = _begins(data)
    centred = data.embeddings - data.embeddings.mean(0)
    norms = np.square(centred).sum(1)
    for i, state in enumerate(states):
        first = max(int(begins[state]), int(state) - _PAPER.memory_capacity)
        near, distance = _nearest(centred[first:state], norms[first:state], centred[state], k)
        rows[i, : len(near)] = near + first
        squared[i, : len(near)] = distance
    met = squared[np.isfinite(squared)]
    mean = float(met.mean()) if len(met) else 0.0
    normalised = normalised_distances(torch.from_numpy(squared), mean)
    values = kernel(normalised, epsilon=_PAPER.epsilon, cluster_distance=_PAPER.cluster_distance)
    novelty = (1 / similarity(values, _PAPER.pseudo_count)).numpy()
    steps = data.steps if data.steps is not None else np.arange(len(begins)) - begins
    within = "episode" if data.episodes is not None else "file, which names no episodes,"
    return Explanation(
        rows=rows,
        steps=np.where(rows >= 0, steps[rows], -1),
        squared_distance=squared,
        kernel=values.numpy(),
        novelty=np.where(rows[:, 0] >= 0, novelty, np.nan).astype(np.float32),
        origin=(
            f"Computed here: each state against the rows of its {within} before it, with the "
            f"paper's kernel (epsilon {_PAPER.epsilon:g}, cluster distance "
            f"{_PAPER.cluster_distance:g}) and the mean distance over the states shown."
        ),
    )


def _begins(data: EmbeddingData) -> Int64[np.ndarray, " N"]:
    """The first row of each state's episode."""
    if data.episodes is None:
        return np.zeros(len(data.embeddings), np.int64)
    changes = np.flatnonzero(np.diff(data.episodes)) + 1
    firsts = np.concatenate([[0], changes])
    return firsts[np.searchsorted(firsts, np.arange(len(data.episodes)), side="right") - 1]


def _nearest(
    before: Float32[np.ndarray, "M D"],
    norms: Float32[np.ndarray, " M"],
    state: Float32[np.ndarray, " D"],
    k: int,
) -> tuple[Int64[np.ndarray, " near"], Float32[np.ndarray, " near"]]:
    """Places of the k nearest and their squared distances, which lose no digits to cancellation."""
    near = np.arange(len(before))
    if len(before) > k + _SPARE:
        near = np.argpartition(norms - 2 * (before @ state), k + _SPARE)[: k + _SPARE]
    distances = np.square(before[near] - state).sum(1)
    order = np.argsort(distances, kind="stable")[:k]
    return near[order], distances[order]
