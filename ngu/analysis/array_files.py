"""Embeddings in numpy's files and in memory, of which only the rows asked for are held.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. What would have to
be unpickled is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from ngu.analysis.columns import (
    EMBEDDING,
    EPISODE,
    STD,
    STEP,
    as_embeddings,
    as_figures,
    as_integers,
    as_stds,
    check_embeddings,
)
from ngu.analysis.source import Taken
from ngu.sentences import SettingsError, reason

Stream = Any
"""A file open for reading bytes, or a member of a zip archive, which is no IO[bytes] when asked."""
_PIECE = 1 << 24
"""Bytes of an array in a .npz file that are read at a time."""


class ArraySource:
    """An array [N, D] in memory, or mapped into it.

    Args:
        array: the embeddings.
        what: their name for the user.
        how: clause on how they are read.
    """

    def __init__(self, array: np.ndarray, what: str, how: str = "held in memory") -> None:
        check_embeddings(array.shape, array.dtype, what)
        self.rows, self.dim = array.shape
        self.how = how
        self._array, self._what = array, what

    def episodes(self) -> None:
        """None: an array does not tell."""
        return

    def take(self, rows: Int64[np.ndarray, " n"]) -> Taken:
        """The states of ascending rows."""
        return Taken(as_embeddings(self._array[rows], self._what))


def open_npy(path: Path) -> ArraySource:
    """The array in a .npy file, mapped into memory.

    Raises:
        SettingsError: it is no such file, damaged, or holds something else.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _read_header(file, str(path))
        begin, size = file.tell(), path.stat().st_size
    if size - begin != header.nbytes:
        raise SettingsError(
            f"{path} is cut off or damaged: it holds {size - begin:,} bytes of numbers, its header "
            f"speaks of {header.nbytes:,}"
        )
    check_embeddings(header.shape, header.dtype, f"the array in {path}")
    order = "F" if header.fortran else "C"
    array = np.memmap(path, header.dtype, "r", begin, header.shape, order)
    return ArraySource(array, f"the array in {path}", "memory-mapped")


class NpzSource:
    """The arrays of a .npz file, read in pieces.

    The embeddings are called embedding or embeddings, or are the only array with two axes.
    Posteriors' standard deviations, episodes and steps are found by their names; what else has one
    axis is a label where it is whole, else a figure.

    Args:
        path: the file.

    Raises:
        SettingsError: it is no such file, damaged, or holds something else.
        OSError: it cannot be read.
    """

    how = "read in pieces"

    def __init__(self, path: Path) -> None:
        self._path = path
        with _zip(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            self._headers: dict[str, _Header] = {}
            for name in names:
                with archive.open(name) as file:
                    key = name.removesuffix(".npy")
                    self._headers[key] = _read_header(file, f"{key} in {path}")
        self._embeddings = self._find()
        header = self._headers[self._embeddings]
        check_embeddings(header.shape, header.dtype, f"{self._embeddings} in {path}")
        self.rows, self.dim = header.shape

    def _find(self) -> str:
        named = [name for name in EMBEDDING if name in self._headers]
        matrices = [name for name, header in self._headers.items() if len(header.shape) == 2]
        found = named or [name for name in matrices if name not in STD]
        if len(found) != 1:
            held = ", ".join(self._headers) or "nothing"
            if len(self._headers) == 1:
                return next(iter(self._headers))
            raise SettingsError(
                f"{self._path} must hold embeddings under the name embeddings, or one array with "
                f"two axes; it holds {held}"
            )
        return found[0]

    def episodes(self) -> Int64[np.ndarray, " N"] | None:
        """Episode of each of the N states; None where the file does not tell."""
        return self._integers(EPISODE, np.arange(self.rows))

    def take(self, rows: Int64[np.ndarray, " n"]) -> Taken:
        """The states of ascending rows."""
        what = f"{self._embeddings} in {self._path}"
        embeddings = as_embeddings(self._read(self._embeddings, rows), what)
        labels, figures = {}, {}
        for name, header in self._headers.items():
            if name in (self._embeddings, *EPISODE, *STEP):
                continue
            if len(header.shape) != 1 or header.dtype.kind not in "fiub":
                continue
            values = self._read(name, rows)
            if header.dtype.kind == "f":
                figures[name] = as_figures(values, len(rows), f"{name} in {self._path}")
            else:
                labels[name] = as_integers(values, len(rows), f"{name} in {self._path}")
        stds = None
        for name in STD:
            if name in self._headers and len(self._headers[name].shape) == 2:
                values = self._read(name, rows)
                stds = as_stds(values, embeddings.shape, f"{name} in {self._path}")
        return Taken(embeddings, stds, self._integers(STEP, rows), labels, figures)

    def _integers(
        self, names: tuple[str, ...], rows: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, " n"] | None:
        name = next((name for name in names if name in self._headers), None)
        if name is None:
            return None
        return as_integers(self._read(name, rows), len(rows), f"{name} in {self._path}")

    def _read(self, name: str, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        """Some rows of an array, ascending, of the N that there must be."""
        header, what = self._headers[name], f"{name} in {self._path}"
        if header.dtype.kind not in "fiub":
            raise SettingsError(f"{what} must be numbers, got {header.dtype}")
        if len(header.shape) == 0 or header.shape[0] != self.rows:
            raise SettingsError(
                f"{what} must have {self.rows:,} rows, as {self._embeddings} has, got "
                f"{list(header.shape)}"
            )
        with _zip(self._path) as archive, archive.open(f"{name}.npy") as file:
            _read_header(file, what)
            return _rows_of(file, header, rows)


class _Header(NamedTuple):
    """What stands before an array's bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def _read_header(file: Stream, what: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        read: Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        header = _Header(*read(file))
    except (ValueError, SyntaxError) as error:
        raise SettingsError(
            f"{what} is no array that numpy saved{_disguise(file)}: {reason(error)}"
        ) from error
    if header.dtype.hasobject:
        raise SettingsError(
            f"{what} holds Python objects, which only unpickling could read, and that runs "
            "whatever is in them; save it as an array of numbers"
        )
    return header


def _disguise(file: Stream) -> str:
    """A clause where a file is a pickle in truth."""
    if not file.seekable():
        return ""
    file.seek(0)
    start = file.read(2)
    is_pickle = len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5
    return " but a pickle, which is not read because reading one runs what is in it" * is_pickle


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A .npz file, its errors as sentences."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        with path.open("rb") as file:
            disguise = _disguise(file)
        raise SettingsError(f"{path} is no whole .npz file{disguise}: {reason(error)}") from error


def _rows_of(file: Stream, header: _Header, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
    """Some rows of the array whose bytes come next, ascending; in memory one piece at a time.

    In Fortran's order the bytes are those of the transpose, whose rows are read whole.
    """
    if header.fortran and header.shape[1:]:
        transposed = header.shape[::-1]
        taken = np.empty((*transposed[:-1], len(rows)), header.dtype)
        line = _Header((transposed[-1],), False, header.dtype)
        for index in np.ndindex(*transposed[:-1]):
            taken[index] = _rows_of(file, line, rows)
        return taken.T
    count, rest = header.shape[0], header.shape[1:]
    taken = np.empty((len(rows), *rest), header.dtype)
    row_bytes = int(np.prod(rest, dtype=np.int64)) * header.dtype.itemsize
    piece = max(1, _PIECE // row_bytes)
    for begin in range(0, count, piece):
        size = min(piece, count - begin)
        data = file.read(size * row_bytes)
        if len(data) < size * row_bytes:
            raise EOFError("an array ends before its last row")
        first, last = np.searchsorted(rows, (begin, begin + size))
        part = np.frombuffer(data, header.dtype).reshape(size, *rest)
        taken[first:last] = part[rows[first:last] - begin]
    return taken
