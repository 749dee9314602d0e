"""What an embedding knows: how well small classifiers read the game's variables from it.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226),
section 4: a linear classifier for each variable on the frozen embedding, over the variable's
values, scored on episodes that it was not trained on by F1, weighted by how often a value occurs.
Added here: a small network in the linear classifier's place, R2 of the variable as a number, the
score of the most common value alone, and intervals over episodes.

Shapes: N states, D dimensions, E episodes, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from ngu.analysis.episode_sums import bootstrapped, of_sums
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.probe_training import Kind, Split, Target, trained, whitened
from ngu.analysis.resampling import Groups, make_groups
from ngu.seeding import Seeds

MAX_CLASSES = 256
"""Values that a variable may take: those of a byte."""
LEAST_EPISODES = 5
"""Episodes without which none can be held out for validation and for the score."""

_UNORDERED = ("room", "direction", "state", "inventory")
_SHARES = (0.7, 0.1)  # of the episodes: training, validation


class ProbeResult(NamedTuple):
    """How well one variable is read from the embedding, on episodes that were held out."""

    f1: Estimate
    """Weighted F1 of its values as classes, from 0 to 1."""
    r2: Estimate | NotMeasured
    """Share of its variance that is explained, as a number; 1 at best, below 0 if worse than its
    mean."""
    majority: float
    """Weighted F1 of always saying the value that is the most common in training."""
    classes: int
    """Values that it takes, C."""


def probe(
    embeddings: Float32[np.ndarray, "N D"],
    labels: Mapping[str, Int64[np.ndarray, " _"]],
    episodes: Int64[np.ndarray, " N"],
    *,
    kind: Kind = "linear",
    seed: int = 0,
    ordinal: Collection[str] | None = None,
    pictures: Int64[np.ndarray, " N"] | None = None,
    updates: int = 1500,
) -> dict[str, ProbeResult | NotMeasured]:
    """Train a probe for each variable and score it on held-out episodes.

    The embedding is whitened first, so that what a linear probe finds does not depend on the units
    and the rotation of its dimensions. Each probe is the one of the training's rounds that had the
    least loss on the validation episodes.

    Args:
        embeddings: What is probed.
        labels: Variables by name.
        episodes: Episode of each state; a tenth of them validates, a fifth is held out.
        kind: ``"linear"``, or ``"mlp"`` with one hidden layer of 64 units.
        seed: Of the split, the training and the intervals.
        ordinal: Variables whose values have an order, so that R2 means something; None: all whose
            name does not speak of rooms, directions, states or inventories.
        pictures: A number for each state's picture, the same for the same picture: held-out states
            whose picture was trained on are not scored, as published. None: all are.
        updates: Steps of training, of 512 states each.

    Returns:
        For each variable, in the order of ``labels``, its result, or why it has none.

    Raises:
        ValueError: An argument is of another length than the embeddings, or the kind is unknown.
    """
    if kind not in ("linear", "mlp"):
        raise ValueError(f"kind must be 'linear' or 'mlp', got {kind!r}")
    named = {"episodes": episodes, **labels}
    if pictures is not None:
        named["pictures"] = pictures
    for name, values in named.items():
        if len(values) != len(embeddings):
            raise ValueError(
                f"{name} must be of the embeddings' length {len(embeddings)}, got {len(values)}"
            )
    seeds = Seeds(seed)
    split = split_episodes(episodes, seeds.numpy("split"))
    if split is None:
        count = len(np.unique(episodes))
        reason = f"there are {count} episodes, and it takes {LEAST_EPISODES} to hold some out"
        return dict.fromkeys(labels, NotMeasured(reason))
    if pictures is not None:
        seen = np.isin(pictures, pictures[~split.test])
        split = split._replace(test=split.test & ~seen)
    results: dict[str, ProbeResult | NotMeasured] = {}
    targets: dict[str, Target] = {}
    for name, values in labels.items():
        reason = unfit(values, episodes, split)
        if reason is not None:
            results[name] = NotMeasured(reason)
            continue
        is_ordinal = _ordered(name) if ordinal is None else name in ordinal
        targets[name] = Target.of(values, split.training, ordinal=is_ordinal)
    if targets:
        inputs = whitened(embeddings, split.training)
        networks = trained(inputs, list(targets.values()), split, kind, updates, seeds)
        held_out = inputs[torch.from_numpy(split.test)]
        groups = make_groups(episodes[split.test], int(split.test.sum()))
        for (name, target), network in zip(targets.items(), networks, strict=True):
            with torch.no_grad():
                outputs = network(held_out)
            results[name] = _scored(target, outputs, split.test, groups, seeds.numpy(name))
    return {name: results[name] for name in labels}


def _ordered(name: str) -> bool:
    return not any(word in name for word in _UNORDERED)


def split_episodes(
    episodes: Int64[np.ndarray, " N"], generator: np.random.Generator
) -> Split | None:
    """Draw which episodes train, validate and are held out; None if there are too few."""
    ids, place = np.unique(episodes, return_inverse=True)
    count = len(ids)
    if count < LEAST_EPISODES:
        return None
    validation = max(1, round(_SHARES[1] * count))
    training = min(round(_SHARES[0] * count), count - validation - 1)
    role = np.full(count, 2)
    order = generator.permutation(count)
    role[order[:training]] = 0
    role[order[training : training + validation]] = 1
    return Split(*(role[place] == part for part in range(3)))


def unfit(
    values: Int64[np.ndarray, " N"], episodes: Int64[np.ndarray, " N"], split: Split
) -> str | None:
    """Why a variable cannot be probed, as a clause; None if it can."""
    if not split.test.any():
        return "training saw every picture of the held-out episodes"
    found, counts = np.unique(values, return_counts=True)
    if len(found) == 1:
        return f"it is always {found[0]}"
    if len(found) > MAX_CLASSES:
        return f"it takes {len(found)} values, more than the {MAX_CLASSES} of a byte"
    rare = values != found[counts.argmax()]
    in_training = len(np.unique(episodes[rare & split.training]))
    in_test = len(np.unique(episodes[rare & split.test]))
    if in_training < 2 or in_test < 1:
        return (
            f"it differs from {found[counts.argmax()]} in {in_training} of the training and "
            f"{in_test} of the held-out episodes, and it takes 2 and 1"
        )
    return None


def weighted_f1(counts: Float64[np.ndarray, "R 3 C"]) -> Float64[np.ndarray, " R"]:
    """Return F1 = 2 hits / (true + said) of each class, weighted by how often it is true.

    Args:
        counts: Of each class, how often it is true, said, and both.
    """
    true, said, both = counts[:, 0], counts[:, 1], counts[:, 2]
    f1 = 2 * both / np.maximum(true + said, 1)
    return (f1 * true).sum(-1) / true.sum(-1)


def explained(sums: Float64[np.ndarray, "R 4"]) -> Float64[np.ndarray, " R"]:
    """Return R2 = 1 - squared error / squared deviation; NaN where nothing varies.

    Args:
        sums: Of 1, y, y^2 and the squared error of its prediction.
    """
    n, y, yy, error = sums.T
    deviation = yy - y * y / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(deviation > 1e-9 * n, 1 - error / deviation, np.nan)


def _scored(
    target: Target,
    outputs: Float32[Tensor, "T O"],
    test: Bool[np.ndarray, " N"],
    groups: Groups,
    generator: np.random.Generator,
) -> ProbeResult:
    true, said = target.classes[test], outputs[:, :-1].argmax(-1).numpy()
    counts = _counts(true, said, groups, target.num_classes)
    f1 = of_sums(counts, groups, weighted_f1, generator)
    always = np.full_like(true, target.majority)
    majority = weighted_f1(_counts(true, always, groups, target.num_classes).sum(0, keepdims=True))
    r2: Estimate | NotMeasured = NotMeasured("its values have no order")
    if target.ordinal and target.num_classes > 2:
        y = target.numbers[test].astype(np.float64)
        error = np.square(y - outputs[:, -1].numpy())
        terms = np.stack([np.ones_like(y), y, y * y, error], axis=-1)
        r2 = bootstrapped(terms, groups, explained, generator)
        if not math.isfinite(r2.value):
            r2 = NotMeasured("it does not vary in the held-out episodes")
    elif target.ordinal:
        r2 = NotMeasured("it takes two values only")
    return ProbeResult(f1, r2, float(majority[0]), target.num_classes)


def _counts(
    true: Int64[np.ndarray, " T"], said: Int64[np.ndarray, " T"], groups: Groups, classes: int
) -> Float64[np.ndarray, "G 3 C"]:
    """How often each class is true, said and both, in each group."""
    cells = groups.count * classes
    hit = true == said
    counts = [
        np.bincount(groups.index[rows] * classes + values[rows], minlength=cells)
        for values, rows in ((true, slice(None)), (said, slice(None)), (true, hit))
    ]
    by_class = np.stack(counts).reshape(3, groups.count, classes)
    return by_class.transpose(1, 0, 2).astype(np.float64)
