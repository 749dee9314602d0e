"""Bits against squared error: points of a curve, what lies between them, and how sure that is.

Shapes: N states, D dimensions, G groups, S steps, B draws.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64

from ngu.analysis.coding.bitstream import BitstreamError, header_bits
from ngu.analysis.estimate import Estimate
from ngu.analysis.resampling import Groups, student_t

_DRAWS = 200
_WITHIN = 0.01
"""A file's size may differ from the model's estimate by this share."""
_SLACK_BITS = 256
"""And by this much: the range coder ends in whole words of 32 bits."""


@runtime_checkable
class Code(Protocol):
    """A quantiser with an entropy model: what writes states, and what they come back as."""

    def quantise(self, embeddings: Float[np.ndarray, "N D"]) -> Int64[np.ndarray, "N D"]:
        """The integers that are written."""
        ...

    def bits(self, integers: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """The model's estimate for each number of each state."""
        ...

    def reconstruct(self, integers: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """The embeddings that integers are decoded to."""
        ...

    def encode(self, integers: Int64[np.ndarray, "N D"]) -> bytes:
        """The bytes of a file."""
        ...

    def decode(self, content: bytes) -> Int64[np.ndarray, "N D"]:
        """The integers that `encode` was given."""
        ...

    @property
    def model_numbers(self) -> int:
        """Numbers that a decoder must know besides the file."""
        ...


@dataclass(frozen=True)
class Point:
    """What a code does to held-out states at one step."""

    step: float
    """Of the quantiser, in units of the embedding."""
    bits: Estimate
    """Of a state, measured in the file."""
    squared_error: Estimate
    """Of a state, its mean over dimensions."""
    model_bits: int
    """Of what the decoder must know besides the file, as numbers of 32 bits."""


@dataclass(frozen=True)
class Measured:
    """A code at one step on held-out states, by group."""

    point: Point
    """Their means."""
    bits: Float64[np.ndarray, " G"]
    """Sums over a group's states."""
    squared_error: Float64[np.ndarray, " G"]
    """Sums over a group's states of the mean over dimensions."""
    bits_of_dimension: Float64[np.ndarray, "G D"]
    """Bits by what they were spent on."""


def measure(
    code: Code, step: float, embeddings: Float[np.ndarray, "N D"], groups: Groups
) -> Measured:
    """Write states to a file, read it back, and measure both.

    Args:
        code: fitted to other states.
        step: its step.
        embeddings: held-out states.
        groups: theirs.

    Raises:
        BitstreamError: the file does not decode to what was coded, or is of another size than the
            model says; neither is to be expected.
    """
    count = len(embeddings)
    integers = code.quantise(embeddings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.bin"
        path.write_bytes(code.encode(integers))
        written = 8 * path.stat().st_size - header_bits()
        if not np.array_equal(code.decode(path.read_bytes()), integers):
            raise BitstreamError("the file does not decode to what was coded")
    estimate = code.bits(integers)
    if abs(written - estimate.sum()) > _WITHIN * estimate.sum() + _SLACK_BITS:
        raise BitstreamError(
            f"the file has {written:,} bits, where the model says {estimate.sum():,.0f}"
        )
    error = np.square(code.reconstruct(integers) - embeddings).mean(1)
    sums = _sums(estimate, groups)
    errors = _sums(error, groups)
    point = Point(
        step,
        _mean(sums.sum(1), groups, count, value=written / count),
        _mean(errors, groups, count, value=float(error.mean())),
        32 * code.model_numbers,
    )
    return Measured(point, sums.sum(1), errors, sums)


def bits_at(
    curve: Sequence[Measured],
    squared_error: Float64[np.ndarray, "B M"],
    weights: Float64[np.ndarray, "B G"],
    states: Float64[np.ndarray, " G"],
) -> Float64[np.ndarray, "B M"]:
    """Bits of a state at given squared errors, where each group counts as often as its weight says.

    Between two points of the curve bits are linear in the logarithm of the error, as they are in
    theory where steps are small; NaN outside of the curve.
    """
    count = weights @ states
    bits = np.stack([weights @ measured.bits / count for measured in curve], axis=1)
    errors = np.stack([weights @ measured.squared_error / count for measured in curve], axis=1)
    tiny = np.finfo(np.float64).tiny
    logarithms, wanted = np.log(errors + tiny), np.log(squared_error + tiny)
    found = np.empty(wanted.shape)
    for row, (x, y, at) in enumerate(zip(logarithms, bits, wanted, strict=True)):
        order = np.lexsort((-y, x))  # of equal errors, the fewest bits count
        found[row] = np.interp(at, x[order], y[order], left=np.nan, right=np.nan)
    return found


def saved_share(
    plain: Sequence[Measured],
    better: Sequence[Measured],
    states: Float64[np.ndarray, " G"],
    *,
    enough: bool,
    seed: int,
) -> list[Estimate | None]:
    """1 - bits(better) / bits(plain) at the squared error of each point of the plain code.

    Returns:
        An estimate for each of the plain code's points, None where the better code's curve does not
        reach that error.
    """

    def shares(weights: Float64[np.ndarray, "B G"]) -> Float64[np.ndarray, "B S"]:
        count = (weights @ states)[:, None]
        bits = weights @ np.stack([measured.bits for measured in plain], axis=1) / count
        errors = weights @ np.stack([measured.squared_error for measured in plain], axis=1) / count
        return 1 - bits_at(better, errors, weights, states) / np.maximum(bits, 1e-9)

    groups = len(states)
    values = shares(np.ones((1, groups)))[0]
    if not enough:
        return [None if np.isnan(value) else Estimate(float(value)) for value in values]
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = generator.multinomial(groups, np.full(groups, 1 / groups), size=_DRAWS)
    # A draw whose curve ends before that error says nothing of it.
    drawn = np.ma.masked_invalid(shares(weights.astype(np.float64)))
    half = student_t(groups - 1) * np.ma.filled(drawn.std(axis=0, ddof=1), 0.0)
    return [
        None
        if np.isnan(value)
        else Estimate(float(value), float(value - spread), min(float(value + spread), 1.0))
        for value, spread in zip(values, half, strict=True)
    ]


def dimension_estimates(measured: Measured, groups: Groups) -> tuple[Estimate, ...]:
    """Bits of a state that are spent on each dimension."""
    count = len(groups.index)
    return tuple(_mean(sums, groups, count) for sums in measured.bits_of_dimension.T)


def _sums(
    terms: Float64[np.ndarray, "N *shape"], groups: Groups
) -> Float64[np.ndarray, "G *shape"]:
    sums = np.zeros((groups.count, *terms.shape[1:]))
    np.add.at(sums, groups.index, terms)
    return sums


def _mean(
    sums: Float64[np.ndarray, " G"], groups: Groups, count: int, value: float | None = None
) -> Estimate:
    """The mean over states of what groups sum to, with its interval (as `mean_estimate`'s)."""
    mean = float(sums.sum()) / count
    value = mean if value is None else value
    if not groups.enough:
        return Estimate(value)
    deviations = sums - mean * np.bincount(groups.index, minlength=groups.count)
    variance = groups.count / (groups.count - 1) * np.square(deviations).sum() / count**2
    half = student_t(groups.count - 1) * float(np.sqrt(variance))
    return Estimate(value, max(value - half, 0.0), value + half)
