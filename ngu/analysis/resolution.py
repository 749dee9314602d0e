"""The resolution that bits are counted at: an embedding of real numbers holds endless many.

Everything in bits is told of z + u, with u uniform in a step: what a quantiser of that step with
subtractive dither writes is exactly the information that this holds of z (Zamir and Feder, IEEE
Transactions on Information Theory 38, 1992). So two equal dimensions share as many bits as the step
leaves of one, and not infinitely many, and one that moves less than a step holds and shares little.

Shapes: N states, D dimensions.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64

from ngu.seeding import Seeds

RESOLUTION = 1 / 16
"""Step in units of the embedding's spread."""


def checked(resolution: float) -> float:
    """Return a resolution that bits can be counted at, or raise."""
    if not 0 < resolution < math.inf:
        raise ValueError(f"resolution must be above 0 and finite, got {resolution}")
    return resolution


def spread(embeddings: Float[np.ndarray, "N D"]) -> float:
    """Root of the mean over dimensions of the variance; 0 where all states are the same."""
    # float64 sums of constant columns leave no rounding behind: the first state is taken off.
    return float(np.sqrt(np.var(embeddings - embeddings[:1], axis=0, dtype=np.float64).mean()))


def dithered(
    embeddings: Float[np.ndarray, "N D"], step: float, *, seed: int
) -> Float64[np.ndarray, "N D"]:
    """The embedding in units of the step, with noise that is uniform in [-1/2, 1/2)."""
    generator = Seeds(seed).numpy("dither")
    centred = embeddings - embeddings.mean(0, dtype=np.float64)
    return centred / step + generator.uniform(-0.5, 0.5, size=embeddings.shape)
