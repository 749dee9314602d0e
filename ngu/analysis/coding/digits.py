"""A cell as two digits, so that a range coder needs 33 probabilities of it and not 4,096.

Shapes: N cells to be coded, n cells of a coordinate, P parameters of a mixture.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from jaxtyping import Float64, Int64

from ngu.analysis.coding.context_model import mixture

BASE = 16
"""Of the second digit, and the least number of values that the first one has."""


def digit_tables(
    edges: Float64[np.ndarray, " edges"], parameters: Float64[np.ndarray, "N P"]
) -> Generator[Float64[np.ndarray, "N n"], Int64[np.ndarray, " N"]]:
    """Probabilities of the first digits of N cells, and, sent these, of the second ones.

    Args:
        edges: of the coordinate's cells as scores, from -inf to inf.
        parameters: of each cell's mixture.
    """
    count = len(edges) - 1
    padded = torch.full((max(-(-count // BASE), BASE) * BASE + 1,), torch.inf).double()
    padded[: count + 1] = torch.from_numpy(edges)
    found = mixture(torch.from_numpy(parameters))
    first = yield _probabilities(found.below(padded[None, ::BASE]))
    borders = torch.from_numpy(first)[:, None] * BASE + torch.arange(BASE + 1)
    yield _probabilities(found.below(padded[borders]))


def _probabilities(below: torch.Tensor) -> Float64[np.ndarray, "N n"]:
    """Differences of cumulative probabilities; the coder needs one that is not zero."""
    return (below.diff(dim=-1).clamp_min(0) + 1e-12).numpy()
