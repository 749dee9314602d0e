"""Pictures of states in Parquet files, decoded when one is looked at."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from ngu.analysis.parquet_schema import FRAME, parquet, readable
from ngu.sentences import SettingsError, reason

_KEPT = 4
"""Groups whose frames are kept for the next look."""


class ParquetFrames:
    """Pictures that lie in Parquet files as the bytes of image files, read when one is asked for.

    Args:
        places: file and number of each row group.
        ends: rows that all groups up to each one hold.
        rows: of the pictures.
    """

    def __init__(
        self,
        places: Sequence[tuple[Path, int]],
        ends: Int64[np.ndarray, " groups"],
        rows: Int64[np.ndarray, " n"],
    ) -> None:
        self._places, self._ends, self._rows = list(places), ends, rows
        self._group = lru_cache(_KEPT)(_frames_of)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "H W channels"]:
        """One picture."""
        return decoded(self.encoded(row))

    def encoded(self, index: int) -> bytes:
        """The bytes of one picture's image file.

        Raises:
            IndexError: there is no such picture.
            SettingsError: its file is damaged, or it has none.
        """
        row = int(self._rows[index])
        group = int(np.searchsorted(self._ends, row, side="right"))
        begin = int(self._ends[group - 1]) if group else 0
        path, number = self._places[group]
        frame = self._group(path, number)[row - begin].as_py()
        if frame is None:
            raise SettingsError(f"{path} holds no picture of the state {index}")
        return frame

    def contents(self) -> Int64[np.ndarray, " N"]:
        """A number for each picture, the same where its file is."""
        numbers = np.empty(len(self), np.int64)
        for index in np.argsort(self._rows).tolist():  # so that each group is read once
            digest = hashlib.blake2b(self.encoded(index), digest_size=8).digest()
            numbers[index] = int.from_bytes(digest, "little", signed=True)
        return numbers

    def reordered(self, order: Int64[np.ndarray, " m"]) -> ParquetFrames:
        """The pictures at other places."""
        return ParquetFrames(self._places, self._ends, self._rows[order])


def decoded(encoded: bytes) -> UInt8[np.ndarray, "H W channels"]:
    """The picture in the bytes of an image file, with 1 or 3 channels.

    Raises:
        SettingsError: Pillow is missing, or it is no picture.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise SettingsError(
            'pictures need the package PIL: pip install "never-give-up[analysis]"'
        ) from error
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            picture = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise SettingsError(f"a frame is no picture: {reason(error)}") from error
    return picture if picture.ndim == 3 else picture[:, :, None]


def _frames_of(path: Path, group: int) -> Any:
    module = parquet()
    with readable(path), module.ParquetFile(path, memory_map=True) as file:
        return file.read_row_group(group, columns=[FRAME]).column(0)
