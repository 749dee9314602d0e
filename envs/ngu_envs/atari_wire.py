"""How a process and its Atari worker talk: bytes over two pipes, nothing that runs when read."""

from __future__ import annotations

import io
import os

import numpy as np

CREATE = b"c"
"""Followed by n uint64 seeds: makes the games anew. Answered by a byte each: how many
actions there are, and how many rows the pictures have that come with steps."""
RESET = b"r"
"""Answered by observations and records, and by pictures where the set-up asks for them."""
STEP = b"s"
"""Followed by n uint8 actions. Answered as RESET is."""
SAVE = b"g"
"""Answered by a block of arrays."""
LOAD = b"l"
"""Followed by a block of arrays. Answered by a byte."""

SNAPSHOT = b"n"
"""Followed by n bytes, 1 where a game is asked for. Answered by parts: a snapshot of each."""
RESTORE = b"p"
"""Followed by n bytes, 1 where a game goes back, and parts: a snapshot for each of them. Answered
by these games' observations and records."""


def read_into(descriptor: int, buffer: memoryview) -> bool:
    """Fills `buffer`; False where the other side has gone before."""
    while len(buffer):
        count = os.readv(descriptor, [buffer])
        if count == 0:
            return False
        buffer = buffer[count:]
    return True


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes everything.

    Raises:
        BrokenPipeError: The other side has gone.
    """
    rest = memoryview(data).cast("B")
    while len(rest):
        rest = rest[os.write(descriptor, rest) :]


def bytes_of(array: np.ndarray) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as a block: its length in 8 bytes, then an npz file."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return len(file.getvalue()).to_bytes(8, "little") + file.getvalue()


def read_block(descriptor: int) -> dict[str, np.ndarray] | None:
    """The arrays of a block; None where the other side has gone."""
    block = _read_sized(descriptor, 8)
    if block is None:
        return None
    with np.load(io.BytesIO(block), allow_pickle=False) as file:
        return dict(file)


def join(parts: list[bytes]) -> bytes:
    """Parts, each after its length in 4 bytes."""
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "little"), part))


def read_parts(descriptor: int, count: int) -> list[bytes] | None:
    """What `join` joined; None where the other side has gone."""
    parts = []
    for _ in range(count):
        part = _read_sized(descriptor, 4)
        if part is None:
            return None
        parts.append(bytes(part))
    return parts


def _read_sized(descriptor: int, bytes_of_length: int) -> bytearray | None:
    """What comes after its length; None where the other side has gone."""
    length = bytearray(bytes_of_length)
    if not read_into(descriptor, memoryview(length)):
        return None
    data = bytearray(int.from_bytes(length, "little"))
    return data if read_into(descriptor, memoryview(data)) else None
