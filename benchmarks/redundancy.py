"""Redundancy in real bits of embeddings whose redundancy is known, and how long it takes.

    python benchmarks/redundancy.py [--rows 20000] [--only NAME]

Bits of a state at the squared error of code (a), each dimension by itself, at a step of 1/16 of the
spread: (a), (b) after a rotation to principal axes, (c) learned, with a hyperprior and a context.
Known is what (a) writes twice: of Gaussians the total correlation at steps that are small.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from ngu.analysis.coding import Redundancy, redundancy
from ngu.analysis.estimate import Estimate

EPISODES = 100


def main() -> None:
    """Print a line for each embedding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="states (%(default)s)")
    parser.add_argument("--only", help="one of the embeddings, by the beginning of its name")
    known = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'embedding':44} {'(a)':>7} {'(b)':>7} {'(c)':>7} {'hyper':>6} {'saved':>6} {'known':>6} "
        f"{'R':>7} {'interval':>17} {'CPU s':>6}"
    )
    episodes = np.arange(known.rows) * EPISODES // known.rows
    for name, (states, expected) in embeddings(known.rows).items():
        if known.only is None or name.startswith(known.only):
            begun = time.process_time()
            found = redundancy(states.astype(np.float32), episodes)
            say(name, found, expected, time.process_time() - begun)


def say(name: str, found: Redundancy, expected: float | None, seconds: float) -> None:
    """Print an embedding's line."""
    share, bits = found.redundancy, found.bits_per_state
    if not isinstance(share, Estimate) or not isinstance(bits, Estimate):
        raise RuntimeError(f"{name}: not measured, because {share}")
    plain = bits.value / (1 - share.value)
    steps = [point.step for point in found.curves["independent"]]
    place = steps.index(found.step)
    rotated = between(found, place)
    interval = f"{share.low:.4f} to {share.high:.4f}" if share.low is not None else ""
    told = "" if expected is None else f"{expected:.2f}"
    print(
        f"{name:44} {plain:7.2f} {rotated:7.2f} {bits.value:7.2f} {found.hyperprior_bits:6.2f} "
        f"{plain - bits.value:6.2f} {told:>6} {share.value:7.4f} {interval:>17} {seconds:6.1f}",
        flush=True,
    )


def between(found: Redundancy, place: int) -> float:
    """Bits of (b) at the squared error of (a)."""
    points = found.curves["principal"]
    errors = np.log([point.squared_error.value for point in points])
    bits = [point.bits.value for point in points]
    wanted = math.log(found.curves["independent"][place].squared_error.value)
    order: Sequence[int] = np.argsort(errors).tolist()
    return float(np.interp(wanted, errors[order], np.array(bits)[order]))


def embeddings(rows: int) -> dict[str, tuple[np.ndarray, float | None]]:
    """States, and bits that (a) is known to write twice; None where that is not known."""
    generator = np.random.default_rng(0)
    normal = generator.standard_normal((rows, 8))
    mixing = generator.standard_normal((8, 8))
    covariance = mixing.T @ mixing
    scale = np.sqrt(covariance.diagonal())
    correlation = covariance / scale / scale[:, None]
    levels = generator.integers(0, 2, (rows, 8)) * 3 + 0.1 * generator.standard_normal((rows, 8))
    angle = generator.uniform(0, 2 * np.pi, rows)
    ring = np.stack((np.cos(angle), np.sin(angle)), 1)
    hidden = generator.standard_normal((rows, 3))
    first, second = generator.standard_normal((2, 3, 16))
    bent = np.tanh(hidden @ first) + 0.5 * np.sin(2 * hidden @ second)
    bent += 0.02 * generator.standard_normal(bent.shape)
    # A duplicated dimension is written once: half of the bits.
    entropy = 0.5 * math.log2(2 * math.pi * math.e) + 4
    return {
        "8 independent normal dimensions": (normal, 0.0),
        "8 independent dimensions of two levels": (levels, 0.0),
        "4 normal dimensions, twice": (np.tile(normal[:, :4], 2), 4 * entropy),
        "8 correlated normal dimensions": (
            normal @ mixing / scale,
            -0.5 * math.log2(np.linalg.det(correlation)),
        ),
        "a ring in 2 dimensions": (ring + 0.01 * generator.standard_normal(ring.shape), None),
        "3 hidden numbers, bent into 16 dimensions": (bent, None),
    }


if __name__ == "__main__":
    main()
