"""How far the measures of meaning are off, on data whose answer is known, by sample and dimension.

    python benchmarks/meaning_errors.py

Each line is one measure: its truth, and mean and root mean squared error over ten draws for each
number of states (in episodes of 100, the states independent) and dimensions of the embedding. For
measures with an interval, the last number is in how many of the draws it holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ngu.analysis.data import EmbeddingData
from ngu.analysis.disentanglement import disentanglement, knowledge
from ngu.analysis.distances import distance_measures
from ngu.analysis.estimate import Estimate
from ngu.analysis.probes import ProbeResult, probe

DRAWS, EPISODE = 10, 100
SCALE = 3
"""Whole numbers in a deviation of what a probe is to say: rounding adds 1/12 to the noise."""
SIZES = ((1_000, 8), (5_000, 8), (20_000, 8), (20_000, 32))
"""States and dimensions."""


class Case(NamedTuple):
    """A measure whose answer is known."""

    name: str
    truth: float
    measured: Callable[[int, int, np.random.Generator], Estimate]
    """Takes states, dimensions and a generator."""


def main() -> None:
    """Draws, measures and prints."""
    torch.set_num_threads(1)
    columns = [f"{states:,} x {dims}" for states, dims in SIZES]
    print(f"{'measure':<44}{'truth':>6}" + "".join(f"{column:>20}" for column in columns))
    for case in cases():
        cells: list[str] = []
        for states, dims in SIZES:
            found = [
                case.measured(states, dims, np.random.default_rng(seed)) for seed in range(DRAWS)
            ]
            values = np.array([estimate.value for estimate in found])
            error = math.sqrt(np.mean((values - case.truth) ** 2))
            held = [e.low <= case.truth <= e.high for e in found if e.low is not None and e.high]
            cell = f"{values.mean():.3f} +- {error:.3f}" + (f" {sum(held):2}" if held else "   ")
            cells.append(cell)
        print(f"{case.name:<44}{case.truth:6.3f}" + "".join(f"{c:>20}" for c in cells), flush=True)


def cases() -> list[Case]:
    """All measures."""
    said = 0.8  # how often a dimension that is told a factor shows it; else any of 8 values
    joint = np.full((8, 8), (1 - said) / 64) + np.eye(8) * said / 8
    bits = float((joint * np.log2(joint * 64)).sum())
    return [
        Case(
            "R2, linear probe: signal and noise 4 : 1", 1 / (1.25 + 1 / (12 * SCALE**2)), explained
        ),
        Case("F1, linear probe: two Gaussians 2 apart", 0.5 * (1 + math.erf(1 / 2**0.5)), divided),
        Case("bits that a dimension tells of a factor", bits, told),
        Case("MIG: each factor in one dimension, noisily", bits / 3, mig),
        Case("DCI disentanglement: the same", 1.0, dci),
        Case("rank correlation with position: a copy of it", 1.0, followed),
        Case("rank correlation with position: unrelated", 0.0, unrelated),
    ]


def episodes(states: int) -> np.ndarray:
    """Episode of each state."""
    return np.arange(states) // EPISODE


def probed(embeddings: np.ndarray, label: np.ndarray) -> ProbeResult:
    """A linear probe's result."""
    found = probe(embeddings.astype(np.float32), {"label": label}, episodes(len(label)))["label"]
    assert isinstance(found, ProbeResult)
    return found


def explained(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """R2 of a number of which a linear function of the embedding explains four fifths."""
    embeddings = generator.standard_normal((states, dims))
    signal = embeddings @ generator.standard_normal(dims)
    noise = generator.standard_normal(states) * signal.std() / 2
    label = np.rint(SCALE * (signal + noise) / signal.std()).astype(np.int64)
    found = probed(embeddings, label).r2
    assert isinstance(found, Estimate)
    return found


def divided(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """F1 of two equally likely classes whose means are two deviations apart."""
    label = generator.integers(2, size=states)
    embeddings = generator.standard_normal((states, dims))
    embeddings[:, 0] += 2 * label
    return probed(embeddings, label).f1


def noisy(states: int, dims: int, generator: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Factors of 8 values, each in one dimension that shows any value in a fifth of all states."""
    factors = generator.integers(8, size=(states, 4))
    shown = np.where(
        generator.random((states, 4)) < 0.8, factors, generator.integers(8, size=(states, 4))
    )
    rest = generator.standard_normal((states, dims - 4))
    labels = {f"factor {i}": factors[:, i] for i in range(4)}
    return np.concatenate([shown, rest], axis=1).astype(np.float32), labels


def told(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """Mutual information of a factor and its dimension."""
    return Estimate(float(knowledge(*noisy(states, dims, generator)).bits[0, 0]))


def mig(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """The gap; no other dimension tells anything."""
    embeddings, labels = noisy(states, dims, generator)
    found = disentanglement(embeddings, labels, episodes(states)).mig
    assert isinstance(found, Estimate)
    return found


def dci(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """Each dimension that says something says it of one factor."""
    embeddings, labels = noisy(states, dims, generator)
    found = disentanglement(embeddings, labels, episodes(states)).disentanglement
    assert isinstance(found, Estimate)
    return found


def followed(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """Distance in a copy of the position."""
    place = generator.integers(1000, size=states)
    embeddings = np.zeros((states, dims), dtype=np.float32)
    embeddings[:, 0] = place
    data = EmbeddingData(embeddings, episodes(states), labels={"x": place})
    found = distance_measures(data)["embedding"].position
    assert isinstance(found, Estimate)
    return found


def unrelated(states: int, dims: int, generator: np.random.Generator) -> Estimate:
    """Distance in an embedding of something else."""
    embeddings = generator.standard_normal((states, dims)).astype(np.float32)
    place = {"x": generator.integers(1000, size=states)}
    data = EmbeddingData(embeddings, episodes(states), labels=place)
    found = distance_measures(data)["embedding"].position
    assert isinstance(found, Estimate)
    return found


if __name__ == "__main__":
    main()
