"""Linear probes trained and scored as the authors of the published table do.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226) and
its authors' code (mila-iqia/atari-representation-learning).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ngu.analysis.probe_training import Split
from ngu.analysis.probes import weighted_f1

LEAST_STEPS = 64
"""Episodes of as many steps or fewer are left out."""
BATCH, EPOCHS, LEARNING_RATE, LEAST_RATE = 64, 100, 3e-4, 1e-5
LOWER_AFTER, STOP_AFTER = 5, 15
"""Epochs without a better validation: the learning rate falls to a fifth, training ends."""
CLEARLY = 1e-4
"""By what share an accuracy must be better to keep the learning rate up."""


@dataclass
class Progress:
    """What a probe's validation tells of its training.

    The accuracy is that of states that are drawn anew each time, so that it is off by chance, and
    chance ends the training of a probe that is still learning: that is part of what was published.
    """

    best: float = 0.0
    """The best accuracy so far, for the end of training."""
    clearly_best: float = 0.0
    """The last one that was better by the share `CLEARLY`, for the learning rate."""
    since_best: int = 0
    """Epochs since then."""
    since_clearly_best: int = 0
    """Epochs since then, or since the learning rate fell."""

    @property
    def stopped(self) -> bool:
        """Whether training has ended."""
        return self.since_best >= STOP_AFTER

    def lowers(self, accuracy: float) -> bool:
        """Take note of an epoch's accuracy, and return whether the learning rate falls."""
        better, clearly = accuracy > self.best, accuracy > self.clearly_best * (1 + CLEARLY)
        self.best = accuracy if better else self.best
        self.clearly_best = accuracy if clearly else self.clearly_best
        self.since_best = 0 if better else self.since_best + 1
        self.since_clearly_best = 0 if clearly else self.since_clearly_best + 1
        falls = self.since_clearly_best > LOWER_AFTER and not self.stopped
        if falls:
            self.since_clearly_best = 0
        return falls


def as_published(
    features: np.ndarray, labels: Mapping[str, np.ndarray], episodes: np.ndarray, split: Split
) -> tuple[dict[str, float], dict[str, float]]:
    """F1 of linear classifiers trained as in the paper, and of the most common values.

    Each state is drawn by drawing an episode first, so that short ones weigh as much as long ones,
    but the most common values are those of the states as they are.
    """
    generator = np.random.default_rng(0)
    training, validation, test = (np.flatnonzero(part) for part in split)
    chances, known, scores = (of_episodes(episodes[part]) for part in (training, validation, test))
    ones = np.ones((len(features), 1), dtype=np.float32)
    inputs = torch.from_numpy(np.concatenate([features, ones], axis=1))
    classes = [np.unique(values, return_inverse=True)[1] for values in labels.values()]
    truth = torch.from_numpy(np.stack(classes))
    bound = 1 / math.sqrt(features.shape[1])
    sizes = [int(values.max()) + 1 for values in classes]
    probes = [
        torch.from_numpy(generator.uniform(-bound, bound, (inputs.shape[1], size))).float()
        for size in sizes
    ]
    groups = [{"params": [weight.requires_grad_()]} for weight in probes]
    optimiser = torch.optim.Adam(groups, lr=LEARNING_RATE, eps=1e-5, fused=True)
    progress = [Progress() for _ in probes]
    first = torch.arange(BATCH)
    with torch.no_grad():
        for _ in range(EPOCHS):
            going = [k for k, state in enumerate(progress) if not state.stopped]
            drawn = generator.choice(training, (len(training) // BATCH, BATCH), p=chances)
            for rows in torch.from_numpy(drawn):
                x = inputs[rows]
                for k in going:
                    error = torch.softmax(x @ probes[k], 1)
                    error[first, truth[k, rows]] -= 1
                    probes[k].grad = x.T @ error / BATCH
                optimiser.step()
            drawn = generator.choice(validation, len(validation) // BATCH * BATCH, p=known)
            rows = torch.from_numpy(drawn)
            for k in going:
                said = (inputs[rows] @ probes[k]).argmax(1)
                accuracy = (said == truth[k, rows]).float().mean().item()
                if progress[k].lowers(accuracy):
                    rate = optimiser.param_groups[k]["lr"]
                    optimiser.param_groups[k]["lr"] = max(rate / 5, LEAST_RATE)
                if progress[k].stopped:
                    probes[k].grad = None
        f1, majority = {}, {}
        for k, name in enumerate(labels):
            said = (inputs[test] @ probes[k]).argmax(1).numpy()
            common = np.full(len(test), np.bincount(classes[k][training]).argmax())
            f1[name] = scored(classes[k][test], said, scores, sizes[k])
            majority[name] = scored(classes[k][test], common, np.ones(len(test)), sizes[k])
    return f1, majority


def of_episodes(episodes: np.ndarray) -> np.ndarray:
    """Chances of states if an episode is drawn first, then one of its states."""
    _, place, lengths = np.unique(episodes, return_inverse=True, return_counts=True)
    return 1 / (lengths[place] * len(lengths))


def in_order(episodes: np.ndarray, pictures: np.ndarray) -> Split:
    """The first 70 % of the episodes train, the next 10 % validate, and the last are scored.

    The authors' code shuffles numbers of episodes and does not use them. Scored are frames that
    occur in no other part, and episodes of more than one of them.
    """
    place = np.unique(episodes, return_inverse=True)[1]
    count = int(place[-1]) + 1
    training = place < int(0.7 * count)
    test = place >= int(0.8 * count)
    validation = ~training & ~test
    test &= ~np.isin(pictures, pictures[~test])
    left = np.bincount(place[test], minlength=count)
    return Split(training, validation, test & (left[place] > 1))


def mispaired_majority(
    ram: np.ndarray, episodes: np.ndarray, pictures: np.ndarray, places: Mapping[str, int]
) -> dict[str, float]:
    """F1 of the most common values if frames get labels of other episodes.

    An earlier version of the authors' code leaves short episodes out of the frames but not out of
    the labels. The probes of that version would have stopped at the first label that is missing.
    The most common values would not: it compares labels with labels.

    Args:
        ram: The memories, uint8 [N, 128], short episodes included.
        episodes: The episode of each, int64 [N], from 0 on.
        pictures: The same number for the same frame, int64 [N].
        places: The byte of each variable.
    """
    lengths = np.bincount(episodes)
    starts = np.cumsum(lengths) - lengths
    kept = np.flatnonzero(lengths > LEAST_STEPS)
    trained, held_out = int(0.7 * len(kept)), int(0.8 * len(kept))
    seen = np.isin(pictures, pictures[np.isin(episodes, kept[:held_out])])
    rows = []
    for place in range(held_out, len(kept)):
        frames = starts[kept[place]] + np.arange(min(lengths[kept[place]], lengths[place]))
        rows.append(starts[place] + np.flatnonzero(~seen[frames]))
    test = np.concatenate(rows)
    f1 = {}
    for name, byte in places.items():
        common = np.bincount(ram[episodes < trained, byte]).argmax()
        f1[name] = scored(ram[test, byte], np.full(len(test), common), np.ones(len(test)), 256)
    return f1


def scored(true: np.ndarray, said: np.ndarray, weights: np.ndarray, size: int) -> float:
    """Weighted F1, where states count by their weights."""
    weights = weights / weights.mean()
    hit = true == said
    counts = [
        np.bincount(values[rows], weights=weights[rows], minlength=size)
        for values, rows in ((true, slice(None)), (said, slice(None)), (true, hit))
    ]
    return float(weighted_f1(np.stack(counts)[None])[0])
