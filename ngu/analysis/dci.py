"""Disentanglement, completeness and informativeness of an embedding.

Source: Eastwood and Williams, "A Framework for the Quantitative Evaluation of Disentangled
Representations" (ICLR 2018), section 2, with the random forests of that paper: a forest says each
variable from all dimensions, and the importance of a dimension is how much impurity its splits take
away. Here each tree is grown on whole episodes drawn with replacement (Breiman, "Bagging
Predictors", 1996, draws single states), so that how trees differ tells how samples of episodes do.

Shapes: N states, D dimensions, L variables, C classes, G groups, T trees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.probes import LEAST_EPISODES, split_episodes
from ngu.analysis.resampling import Groups, mean_interval, student_t
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
    groups: Groups,
    seeds: Seeds,
) -> tuple[Measured, Measured, Measured]:
    """Return disentanglement, completeness and informativeness.

    The intervals of the first two are by the spread of single trees, which is a little more than
    that of samples of episodes, as a tree is less settled than its forest. That of informativeness
    is over the held-out episodes.

    Args:
        embeddings: What is measured.
        variables: Each as classes.
        episodes: Of each state; with too few of them, informativeness is not measured.
        groups: What is drawn as a whole.
        seeds: Of the split and the forests.

    Raises:
        ImportError: scikit-learn is missing.
    """
    split = None if episodes is None else split_episodes(episodes, seeds.numpy("split"))
    everything = np.ones(len(embeddings), dtype=bool)
    generator = seeds.numpy("forest states")
    grown = _some(everything if split is None else ~split.test, generator)
    tried = np.arange(0) if split is None else _some(split.test, generator)
    of = groups.of(grown)
    shares = np.full(of.count, 1 / of.count)
    drawn = seeds.numpy("forest episodes").multinomial(of.count, shares, _TREES)
    importance = np.empty((_TREES, embeddings.shape[1], len(variables)))
    ahead: list[Float64[np.ndarray, " n"]] = []
    for k, classes in enumerate(variables):
        known = Known(embeddings[grown], classes[grown], drawn[:, of.index])
        forest = _forest(known, embeddings[tried], seeds.integer(f"forest {k}"))
        importance[:, :, k] = forest.importance
        hit = forest.said == classes[tried]
        guessed = classes[tried] == np.bincount(classes[grown]).argmax()
        if not guessed.all():
            ahead.append(_ahead(hit, guessed))
    both = np.array([dci_scores(each) for each in (importance.mean(0), *importance)]).T
    half = student_t(_TREES - 1) * both[:, 1:].std(1, ddof=1)
    disentanglement, completeness = (
        _within(scores[0], scores[0] - spread, scores[0] + spread, groups)
        for scores, spread in zip(both.tolist(), half.tolist(), strict=True)
    )
    if ahead:
        terms = np.mean(ahead, axis=0)
        held = groups.of(tried)
        low, high = map(float, mean_interval(terms, held))
        informativeness = _within(float(terms.mean()), low, high, held)
        return disentanglement, completeness, informativeness
    reason = f"it takes {LEAST_EPISODES} episodes to hold some out in which a variable varies"
    return disentanglement, completeness, NotMeasured(reason)


class Known(NamedTuple):
    """What a forest is grown on."""

    embeddings: Float32[np.ndarray, "N D"]
    classes: Int64[np.ndarray, " N"]
    counts: Int64[np.ndarray, "T N"]
    """How often each tree sees each state."""


class Forest(NamedTuple):
    """What a forest tells."""

    importance: Float64[np.ndarray, "T D"]
    """Of each dimension to each tree; they sum to 1, or to 0 in a tree without a split."""
    said: Int64[np.ndarray, " n"]
    """The classes that it says of the states it is tried on."""


def _forest(known: Known, tried: Float32[np.ndarray, "n D"], seed: int) -> Forest:
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ImportError as error:
        raise ImportError(
            'DCI needs scikit-learn: pip install "never-give-up[analysis]"'
        ) from error
    importance = np.empty((len(known.counts), known.embeddings.shape[1]))
    votes = np.zeros((len(tried), int(known.classes.max()) + 1))
    for t, counts in enumerate(known.counts):
        seen = counts > 0
        tree = DecisionTreeClassifier(
            max_depth=_DEPTH, min_samples_leaf=_LEAST_LEAF, random_state=seed + t
        ).fit(known.embeddings[seen], known.classes[seen], sample_weight=counts[seen])
        importance[t] = tree.feature_importances_
        if len(tried):
            votes[:, tree.classes_] += tree.predict_proba(tried)
    return Forest(importance, votes.argmax(1))


def _ahead(
    hit: Bool[np.ndarray, " n"], guessed: Bool[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Terms whose mean is (r - g) / (1 - g) of the rates at which states are hit and guessed.

    Their deviations are those of its linearisation, for the interval.
    """
    r, g = hit.mean(), guessed.mean()
    slope = (hit - r) / (1 - g) - (1 - r) / (1 - g) ** 2 * (guessed - g)
    return (r - g) / (1 - g) + slope


def _within(value: float, low: float, high: float, groups: Groups) -> Estimate:
    """An estimate from 0 to 1, with its interval where there are enough groups."""
    if not groups.enough:
        return Estimate(value)
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 1.0), value))


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
