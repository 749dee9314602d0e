"""Integers of states in a file: a header, a range coder's words, and a checksum of what is in it.

The range coder is constriction's (Bamler, arXiv 2201.01741). Its probabilities have 24 bits, so
what is written is within a few words of the model's estimate. Decoding is exact or an error: the
integers have a checksum of their own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from ngu.analysis.coding.cells import Cells

_HEADER = struct.Struct("<4sBIHII")
_MAGIC = b"NGUc"
_VERSION = 1
_OTHER_MODEL = "the embeddings were coded by another model than they were decoded by"
_PICTURE = struct.Struct("<2sI")
PICTURE_HEADER_BITS = 8 * _PICTURE.size
"""Of a picture's file besides what the picture takes."""
_LENGTH_BITS = 6
"""Of an escaped integer's distance: how many binary digits it has."""


class BitstreamError(ValueError):
    """Bytes that are no whole bitstream of this code; the message says what is wrong."""


class Header(NamedTuple):
    """What a bitstream holds."""

    rows: int
    """States N."""
    dim: int
    """Dimensions D."""
    checksum: int
    """CRC-32 of the integers, as little-endian int64 in the order of states."""


def write(integers: Int64[np.ndarray, "N D"], words: np.ndarray) -> bytes:
    """The bytes of a file: header, then a range coder's words."""
    payload = words.astype("<u4").tobytes()
    shape = integers.shape
    return _HEADER.pack(_MAGIC, _VERSION, *shape, checksum(integers), zlib.crc32(payload)) + payload


def read(content: bytes, dim: int) -> tuple[Header, np.ndarray]:
    """Header and words of what `write` returned.

    Args:
        content: the bytes.
        dim: dimensions of the code that they were written by.

    Raises:
        BitstreamError: they are none, damaged, or of another number of dimensions.
    """
    if len(content) < _HEADER.size or content[:4] != _MAGIC:
        raise BitstreamError(f"these {len(content)} bytes are no coded embeddings")
    _, version, *header, crc = _HEADER.unpack_from(content)
    header, payload = Header(*header), content[_HEADER.size :]
    if version != _VERSION:
        raise BitstreamError(f"coded in version {version}, expected {_VERSION}")
    if zlib.crc32(payload) != crc:
        raise BitstreamError(f"these {len(content)} bytes are cut off or damaged")
    if header.dim != dim:
        raise BitstreamError(f"{header.dim} dimensions were coded, this code is of {dim}")
    return header, np.frombuffer(payload, dtype="<u4").astype(np.uint32)


def write_picture(magic: bytes, words: np.ndarray) -> bytes:
    """The bytes of a picture's file: the code's name, a checksum, a range coder's words."""
    payload = words.astype("<u4").tobytes()
    return _PICTURE.pack(magic, zlib.crc32(payload)) + payload


def read_picture(magic: bytes, content: bytes) -> np.ndarray:
    """The words of what `write_picture` returned.

    Raises:
        BitstreamError: these bytes are of no such file, or damaged.
    """
    if len(content) < _PICTURE.size or content[: len(magic)] != magic:
        raise BitstreamError(f"these {len(content)} bytes are no picture of this code")
    _, crc = _PICTURE.unpack_from(content)
    payload = content[_PICTURE.size :]
    if zlib.crc32(payload) != crc:
        raise BitstreamError(f"these {len(content)} bytes are cut off or damaged")
    return np.frombuffer(payload, dtype="<u4").astype(np.uint32)


@contextmanager
def decoding() -> Iterator[None]:
    """Tell a range decoder's complaint as what it means: it was given another model.

    Raises:
        BitstreamError: constriction met what its model cannot have written.
    """
    try:
        yield
    except AssertionError as error:
        raise BitstreamError(_OTHER_MODEL) from error


def check(header: Header, integers: Int64[np.ndarray, "N D"]) -> None:
    """See that decoded integers are those that were coded.

    Raises:
        BitstreamError: they are not.
    """
    if checksum(integers) != header.checksum:
        raise BitstreamError(_OTHER_MODEL)


def checksum(integers: Int64[np.ndarray, "N D"]) -> int:
    """CRC-32 of integers."""
    return zlib.crc32(np.ascontiguousarray(integers, dtype="<i8").tobytes())


def encode_excesses(
    encoder: Any, cells: Sequence[Cells], integers: Int64[np.ndarray, "N D"]
) -> None:
    """Append the distances of escaped integers, dimension by dimension, digits after their number.

    Args:
        encoder: constriction's range encoder.
        cells: of each dimension.
        integers: of the states.
    """
    for column, of_dim in zip(integers.T, cells, strict=True):
        index = of_dim.index(column)
        for distance in of_dim.excess(column, index)[of_dim.escaped(index)].tolist():
            digits = (distance + 1).bit_length()
            encoder.encode(digits, _uniform(2**_LENGTH_BITS))
            for place in range(digits - 1):
                encoder.encode((distance + 1) >> place & 1, _uniform(2))


def decode_excesses(
    decoder: Any, cells: Sequence[Cells], index: Int64[np.ndarray, "N D"]
) -> Int64[np.ndarray, "N D"]:
    """The integers of decoded cells and of the distances that `encode_excesses` appended."""
    excess = np.zeros_like(index)
    for dim, of_dim in enumerate(cells):
        for row in np.flatnonzero(of_dim.escaped(index[:, dim])).tolist():
            digits = decoder.decode(_uniform(2**_LENGTH_BITS))
            number = 1 << max(digits - 1, 0)
            for place in range(digits - 1):
                number |= decoder.decode(_uniform(2)) << place
            excess[row, dim] = number - 1
    columns = [
        of_dim.integers(*pair) for of_dim, *pair in zip(cells, index.T, excess.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def excess_bits(
    cells: Sequence[Cells], integers: Int64[np.ndarray, "N D"]
) -> Float64[np.ndarray, "N D"]:
    """Bits that the distances of escaped integers take; 0 for the others."""
    bits = np.zeros(integers.shape)
    for dim, of_dim in enumerate(cells):
        index = of_dim.index(integers[:, dim])
        distance = of_dim.excess(integers[:, dim], index)
        written = _LENGTH_BITS + np.floor(np.log2(np.maximum(distance, 0) + 1))
        bits[:, dim] = np.where(of_dim.escaped(index), written, 0)
    return bits


def constriction() -> Any:
    """The package of entropy coders, or what to install.

    Raises:
        ImportError: it is missing; names the extra.
    """
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            'writing bits needs the package constriction: pip install "never-give-up[analysis]"'
        ) from error
    return constriction


def header_bits() -> int:
    """Bits of a file besides what its states take."""
    return 8 * _HEADER.size


def _uniform(size: int) -> Any:
    return constriction().stream.model.Uniform(size)
