"""The states that a reader can look at: where they lie, what is known of them, why they were new.

Shapes: S states shown, K neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8

from ngu.analysis.data import EmbeddingData
from ngu.analysis.estimate import NotMeasured
from ngu.analysis.report.explain import Explanation, explain
from ngu.analysis.report.states_map import choose, neighbour_plane, principal_plane
from ngu.analysis.report.thumbnails import Thumbnails

SHOWN = 1_000
"""States on the map, at most."""
PICTURED = 5
"""Nearest neighbours that are shown with their picture."""
_CATEGORIES = 12
"""A label of at most so many values is coloured by value."""
_STRIP = 128
"""Dimensions of a state that are drawn as a strip, at most."""


def look_at(data: EmbeddingData, thumbnails: Thumbnails, seed: int) -> dict[str, Any]:
    """What the page needs of one embedding's states, ready for JSON.

    Args:
        data: the states.
        thumbnails: takes in the pictures.
        seed: of the choice and of the map.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    shown = choose(len(data.embeddings), SHOWN, rng)
    why = explain(data, shown)
    pictured = why.rows[:, :PICTURED]
    near = pictured.T[pictured.T >= 0]
    by_row = thumbnails.add(data.frames, [*shown.tolist(), *near.tolist()])
    strips = _strips(data)
    return {
        "planes": _planes(data, shown, seed),
        "columns": _columns(data, shown, why),
        "pictures": [by_row.get(int(row), -1) for row in shown],
        "has_pictures": data.frames is not None,
        "strips": [strips[row].tolist() for row in shown],
        "why": {
            "origin": why.origin,
            "steps": why.steps.tolist(),
            "squared_distance": _numbers(why.squared_distance),
            "kernel": _numbers(why.kernel),
            "novelty": _numbers(why.novelty),
            "pictures": [[by_row.get(int(row), -1) for row in rows] for rows in pictured],
        },
    }


def _planes(data: EmbeddingData, shown: Int64[np.ndarray, " S"], seed: int) -> dict[str, Any]:
    pca = principal_plane(data.embeddings, shown)
    planes: dict[str, Any] = {
        "pca": {
            "name": "principal components",
            "axes": ["first component", "second component"],
            "points": _numbers(pca.T),
        }
    }
    tsne = neighbour_plane(data.embeddings[shown], seed)
    if isinstance(tsne, NotMeasured):
        return planes
    planes["tsne"] = {
        "name": "neighbours (t-SNE)",
        "axes": ["t-SNE, no unit", "t-SNE, no unit"],
        "points": _numbers(tsne.T),
    }
    return planes


def _columns(
    data: EmbeddingData, shown: Int64[np.ndarray, " S"], why: Explanation
) -> list[dict[str, Any]]:
    """What states are coloured by, and what is told of each: room first where it is known."""
    columns: dict[str, np.ndarray] = {}
    if data.episodes is not None:
        columns["episode"] = data.episodes[shown]
    columns["step"] = (np.arange(len(data.embeddings)) if data.steps is None else data.steps)[shown]
    columns["episodic_novelty"] = why.novelty
    for name, values in {**data.figures, **data.labels}.items():
        if len(np.unique(values[shown])) > 1:  # what is always the same tells nothing
            columns.setdefault(name, values[shown])
    return [_column(name, values) for name, values in columns.items()]


def _column(name: str, values: np.ndarray) -> dict[str, Any]:
    label = " ".join(name.split())[:40]
    kind = "number"
    known = values[np.isfinite(values)]
    if values.dtype.kind in "iu" and name not in ("step", "episode"):
        kind = "category" if len(np.unique(values)) <= _CATEGORIES else "number"
    elif values.dtype.kind == "f" and len(known):
        low, high = np.quantile(known, (0.01, 0.99))
        kind = "logarithm" if low > 0 and high > 30 * low else "number"
    return {"name": label, "kind": kind, "values": _numbers(values)}


def _strips(data: EmbeddingData) -> UInt8[np.ndarray, "N d"]:
    """Each dimension from its 1st to its 99th percentile as a byte; 128 is its mean."""
    values = data.embeddings[:, :_STRIP]
    low, high = np.quantile(values, (0.01, 0.99), axis=0)
    mean = values.mean(0)
    scale = np.maximum(np.maximum(high - mean, mean - low), np.finfo(np.float32).tiny)
    return np.clip(128 + 127 * (values - mean) / scale, 0, 255).astype(np.uint8)


def _numbers(values: Float[np.ndarray, "..."] | np.ndarray) -> list[Any]:
    """Numbers for JSON with four digits; None where they are not finite."""
    if values.dtype.kind in "iub":
        return values.tolist()
    flat = [float(f"{v:.4g}") if np.isfinite(v) else None for v in values.ravel().tolist()]
    result: Any = np.empty(values.shape, dtype=object)
    result.ravel()[:] = flat
    return result.tolist()
