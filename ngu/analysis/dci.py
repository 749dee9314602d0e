"""Disentanglement, completeness and informativeness of an embedding.

Source: Eastwood and Williams, "A Framework for the Quantitative Evaluation of Disentangled
Representations" (ICLR 2018), section 2, with the random forests of that paper: a forest says each
variable from all dimensions, and the importance of a dimension is how much impurity its splits take
away.

Shapes: N states, D dimensions, L variables, C classes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.probes import LEAST_EPISODES, split_episodes
from ngu.seeding import Seeds

STATES = 5_000
"""States that the forests are grown on, and at most as many that they are tried on."""
_TREES, _DEPTH = 10, 12
_LEAST_LEAF = 50  # states; with fewer the trees learn noise, and dimensions of noise seem to matter

Measured = Estimate | NotMeasured


def dci_measures(
    embeddings: Float32[np.ndarray, "N D"],
    variables: list[Int64[np.ndarray, " N"]],
    episodes: Int64[np.ndarray, " N"] | None,
    seeds: Seeds,
) -> tuple[Measured, Measured, Measured]:
    """Return disentanglement, completeness and informativeness, without intervals.

    Args:
        embeddings: What is measured.
        variables: Each as classes.
        episodes: Of each state; with too few of them, informativeness is not measured.
        seeds: Of the split and the forests.

    Raises:
        ImportError: scikit-learn is missing.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise ImportError(
            'DCI needs scikit-learn: pip install "never-give-up[analysis]"'
        ) from error
    split = None if episodes is None else split_episodes(episodes, seeds.numpy("split"))
    everything = np.ones(len(embeddings), dtype=bool)
    generator = seeds.numpy("forest states")
    grown = _some(everything if split is None else ~split.test, generator)
    tried = None if split is None else _some(split.test, generator)
    importance = np.empty((embeddings.shape[1], len(variables)))
    right: list[float] = []
    for k, classes in enumerate(variables):
        forest = RandomForestClassifier(
            _TREES,
            max_depth=_DEPTH,
            min_samples_leaf=_LEAST_LEAF,
            max_features=1.0,  # pyright: ignore[reportArgumentType]  a share; its default is a word
            random_state=seeds.integer(f"forest {k}"),
        ).fit(embeddings[grown], classes[grown])
        importance[:, k] = forest.feature_importances_
        if tried is not None:
            common = np.bincount(classes[grown]).argmax()
            guessed = (classes[tried] == common).mean()
            if guessed < 1:
                said = (forest.predict(embeddings[tried]) == classes[tried]).mean()
                right.append(float(said - guessed) / float(1 - guessed))
    disentanglement, completeness = (Estimate(score) for score in dci_scores(importance))
    if right:
        return disentanglement, completeness, Estimate(float(np.mean(right)))
    reason = f"it takes {LEAST_EPISODES} episodes to hold some out in which a variable varies"
    return disentanglement, completeness, NotMeasured(reason)


def _some(among: Bool[np.ndarray, " N"], generator: np.random.Generator) -> Int64[np.ndarray, " n"]:
    return np.sort(generator.permutation(np.flatnonzero(among))[:STATES])


def entropy(counts: Float64[np.ndarray, "*batch C"]) -> Float64[np.ndarray, "*batch"]:
    """Return the entropy of counts in bits."""
    shares = counts / counts.sum(-1, keepdims=True)
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(-1)


def dci_scores(importance: Float64[np.ndarray, "D L"]) -> tuple[float, float]:
    """Return disentanglement and completeness (Eastwood and Williams, section 2).

    Args:
        importance: Of each dimension for each variable, at least 0.
    """
    dims, variables = importance.shape
    per_dim, per_variable = importance.sum(1), importance.sum(0)
    used, served = per_dim > 0, per_variable > 0
    if not used.any():
        return 0.0, 0.0
    # Of one variable only, or in one dimension only, there is nothing to be entangled with.
    spread = entropy(importance[used]) / max(np.log2(variables), 1e-9)
    spread_out = entropy(importance.T[served]) / max(np.log2(dims), 1e-9)
    weights = per_dim[used] / per_dim.sum()
    return float((weights * (1 - spread)).sum()), float((1 - spread_out).mean())
