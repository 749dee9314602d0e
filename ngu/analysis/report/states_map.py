"""States as points of a plane: their two principal components, and neighbours kept together.

Source: van der Maaten and Hinton, "Visualizing Data using t-SNE" (JMLR 2008), by scikit-learn.

Shapes: N states, S states shown, D dimensions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from ngu.analysis.estimate import NotMeasured

PERPLEXITY = 30.0
"""Neighbours, roughly, that t-SNE keeps near each state."""
_COMPONENTS = 50
"""Principal components that t-SNE is given of more dimensions."""


def choose(count: int, most: int, rng: np.random.Generator) -> Int64[np.ndarray, " S"]:
    """Rows that are shown, ascending: all, or ``most`` that are drawn evenly."""
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))


def principal_plane(
    embeddings: Float32[np.ndarray, "N D"], shown: Int64[np.ndarray, " S"]
) -> Float32[np.ndarray, "S 2"]:
    """The two directions of largest variance over all N states, in the embedding's own units."""
    centred = embeddings.astype(np.float64) - embeddings.mean(0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    plane = centred[shown] @ directions[:, ::-1][:, :2]
    if plane.shape[1] < 2:
        plane = np.column_stack([plane, np.zeros(len(plane))])
    return plane.astype(np.float32)


def neighbour_plane(
    embeddings: Float32[np.ndarray, "S D"], seed: int
) -> Float32[np.ndarray, "S 2"] | NotMeasured:
    """A map that keeps near states near (t-SNE); its long distances mean nothing.

    Args:
        embeddings: of the states shown.
        seed: of the descent.
    """
    if len(embeddings) < 4 * PERPLEXITY:
        return NotMeasured(f"{len(embeddings)} states are too few for a map of neighbours")
    if len(np.unique(embeddings[:: max(1, len(embeddings) // 200)], axis=0)) < 3:
        return NotMeasured("almost all states are the same")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if embeddings.shape[1] > _COMPONENTS:
        embeddings = PCA(_COMPONENTS, random_state=seed).fit_transform(embeddings)
    method = TSNE(perplexity=PERPLEXITY, init="random", random_state=seed, max_iter=500, n_jobs=1)
    return method.fit_transform(embeddings).astype(np.float32)
