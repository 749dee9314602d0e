"""What a codec missed, coded by a method that knows no game, until a picture is as good as asked.

So pictures of any codec can be compared at equal quality, those that it was never shown included.
The method is JPEG's with other numbers: blocks of 8 x 8 pixels, their cosine transform (Ahmed et
al., 1974), one step for all coefficients, and a range coder with a Laplace distribution that is
narrower for higher frequencies; blocks of nothing but zeros take a flag.

Shapes: H x W pixels, C colours, N blocks.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from ngu.analysis.coding import bitstream
from ngu.analysis.coding.bitstream import BitstreamError

BLOCK = 8
_STEPS = 64
_SCALES = 64
_SHARES = 256
_MOST = 2**12
_ROUNDING = 0.35
"""Below a half: large coefficients are rare, so that those in between are better made smaller."""
_HEAD = struct.Struct("<BBB")
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_COSINES = np.sqrt(2 / BLOCK) * np.cos(
    np.pi / BLOCK * np.arange(BLOCK)[:, None] * (np.arange(BLOCK) + 0.5)
)
_COSINES[0] /= math.sqrt(2)
_NARROWING = 1 / (1 + np.add.outer(np.arange(BLOCK), np.arange(BLOCK)) / 4).reshape(-1)


def complete(
    picture: UInt8[np.ndarray, "H W 3"], base: UInt8[np.ndarray, "H W 3"], psnr: float
) -> bytes:
    """The shortest of what makes a base as good as asked; nothing where it is already.

    Args:
        picture: what is to be shown.
        base: what a codec made of it.
        psnr: in dB, that is to be reached.
    """
    error = 255**2 / 10 ** (psnr / 10)

    def good(shown: UInt8[np.ndarray, "H W 3"]) -> bool:
        return float(np.square(picture.astype(np.float64) - shown).mean()) <= error

    if good(base):
        return b""
    coefficients = _transformed(picture.astype(np.float64) - base)
    low, high = 0, _STEPS  # the coarsest step that does
    while high - low > 1:
        middle = (low + high) // 2
        integers = _quantised(coefficients, middle)
        low, high = (middle, high) if good(_added(base, integers, middle)) else (low, middle)
    return _written(_quantised(coefficients, low), low)


def completed(base: UInt8[np.ndarray, "H W 3"], content: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """The base with what `complete` wrote.

    Raises:
        BitstreamError: the bytes are too few.
    """
    if not content:
        return base
    if len(content) < _HEAD.size:
        raise BitstreamError(f"these {len(content)} bytes complete no picture")
    step, scale, share = _HEAD.unpack_from(content)
    coders = bitstream.constriction().stream
    words = np.frombuffer(content, dtype="<u4", offset=_HEAD.size).astype(np.uint32)
    decoder = coders.queue.RangeDecoder(words)
    count = math.prod(_grid(base.shape)) * 3
    integers = np.zeros((count, BLOCK**2), dtype=np.int64)
    with bitstream.decoding():
        flags = (
            decoder.decode(coders.model.Bernoulli((share + 0.5) / _SHARES, perfect=False), count)
            != 0
        )
        scales = np.tile(_scale(scale) * _NARROWING, int(flags.sum()))
        family = coders.model.QuantizedLaplace(-_MOST, _MOST)
        found = decoder.decode(family, np.zeros(len(scales)), scales) if len(scales) else scales
    integers[flags] = np.asarray(found, dtype=np.int64).reshape(-1, BLOCK**2)
    return _added(base, integers, step)


def _written(integers: Int64[np.ndarray, "N 64"], step: int) -> bytes:
    coders = bitstream.constriction().stream
    encoder = coders.queue.RangeEncoder()
    flags = integers.any(axis=1)
    share = min(int(flags.mean() * _SHARES), _SHARES - 1)
    encoder.encode(
        flags.astype(np.int32), coders.model.Bernoulli((share + 0.5) / _SHARES, perfect=False)
    )
    coded = integers[flags]
    # Of a Laplace distribution the mean of |x| is its scale.
    mean = float((np.abs(coded) / _NARROWING).mean()) if len(coded) else 1.0
    scale = int(np.clip(round(4 * math.log2(max(mean, 1e-3)) + _SCALES // 2), 0, _SCALES - 1))
    if len(coded):
        family = coders.model.QuantizedLaplace(-_MOST, _MOST)
        flat = np.clip(coded.reshape(-1), -_MOST, _MOST).astype(np.int32)
        scales = np.tile(_scale(scale) * _NARROWING, len(coded))
        encoder.encode(flat, family, np.zeros(len(flat)), scales)
    words = encoder.get_compressed().astype("<u4").tobytes()
    return _HEAD.pack(step, scale, share) + words


def _transformed(residual: Float64[np.ndarray, "H W 3"]) -> Float64[np.ndarray, "N 64"]:
    """Cosine coefficients of each block of each of three uncorrelated colours."""
    rows, columns = _grid(residual.shape)
    margin = (rows * BLOCK - residual.shape[0], columns * BLOCK - residual.shape[1])
    padded = np.pad(residual, ((0, margin[0]), (0, margin[1]), (0, 0))) @ _COLOURS.T
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK, 3).transpose(4, 0, 2, 1, 3)
    return (_COSINES @ blocks @ _COSINES.T).reshape(-1, BLOCK**2)


def _added(
    base: UInt8[np.ndarray, "H W 3"], integers: Int64[np.ndarray, "N 64"], step: int
) -> UInt8[np.ndarray, "H W 3"]:
    rows, columns = _grid(base.shape)
    coefficients = (integers * _step(step)).reshape(3, rows, columns, BLOCK, BLOCK)
    blocks = _COSINES.T @ coefficients @ _COSINES
    residual = blocks.transpose(1, 3, 2, 4, 0).reshape(rows * BLOCK, columns * BLOCK, 3) @ _COLOURS
    shown = base + residual[: base.shape[0], : base.shape[1]]
    return np.rint(np.clip(shown, 0, 255)).astype(np.uint8)


def _quantised(coefficients: Float64[np.ndarray, "N 64"], step: int) -> Int64[np.ndarray, "N 64"]:
    size = np.floor(np.abs(coefficients) / _step(step) + _ROUNDING)
    return (np.sign(coefficients) * np.minimum(size, _MOST)).astype(np.int64)


def _step(index: int) -> float:
    return 2.0 ** (index / 6)


def _scale(index: int) -> float:
    return 2.0 ** ((index - _SCALES // 2) / 4)


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of blocks."""
    return -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)
