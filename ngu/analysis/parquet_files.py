"""Embeddings in Parquet files of any tool, read in pieces; those of `DatasetWriter` tell the most.

Format: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from ngu.analysis.data import Neighbours
from ngu.analysis.parquet_frames import ParquetFrames
from ngu.analysis.parquet_schema import (
    FRAME,
    LABEL,
    NEIGHBOURS,
    OURS,
    check_version,
    parquet,
    readable,
)
from ngu.analysis.source import Taken
from ngu.sentences import SettingsError

_BATCH = 65_536
"""Rows that are decoded at a time."""


class ParquetSource:
    """The rows of one or more Parquet files with the same columns.

    The embeddings are a column of lists called embedding or embeddings, or the only column of lists
    of numbers; without one, all columns of floats are a dimension each. Posteriors' standard
    deviations, episodes and steps are found by their names; other whole numbers are labels, other
    floats figures.

    Args:
        paths: the files, in order.

    Raises:
        SettingsError: pyarrow is missing, or a file is no such file, damaged, or holds something
            else.
        OSError: a file cannot be read.
    """

    how = "read in pieces"

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._files = [self._open(path) for path in self._paths]
        self.rows = sum(file.metadata.num_rows for file in self._files)
        self._schema = schema = self._files[0].schema_arrow
        for path, file in zip(self._paths, self._files, strict=True):
            if not file.schema_arrow.equals(schema):
                raise SettingsError(f"{path} has other columns than {self._paths[0]}")
        self.ours = OURS in (schema.metadata or {})
        if self.ours:
            check_version(schema.metadata, self._named)
        self._what = f"the embeddings in {self._named}"
        self._dimensions = self._find()
        self.dim = self._width()
        check_embeddings((self.rows, self.dim), np.dtype(np.float32), self._what)

    @property
    def _named(self) -> Path:
        return self._paths[0] if len(self._paths) == 1 else self._paths[0].parent

    def _open(self, path: Path) -> Any:
        if path.stat().st_size == 0:
            raise SettingsError(f"{path} is empty")
        module = parquet()
        with readable(path):
            return module.ParquetFile(path, memory_map=True)

    def _columns(self, is_kind: Callable[[Any], bool]) -> list[str]:
        return [field.name for field in self._schema if is_kind(field.type)]

    def _find(self) -> list[str]:
        """Columns of the embeddings: one of lists, or one of floats for each dimension."""
        from pyarrow import types

        lists = self._columns(_is_list_of_numbers)
        named = [name for name in EMBEDDING if name in self._schema.names]
        if named and named[0] not in lists:
            kind = self._schema.field(named[0]).type
            raise SettingsError(f"{self._what} must be lists of real numbers, got {kind}")
        unnamed = [name for name in lists if name not in STD]
        if named or len(unnamed) == 1:
            return (named or unnamed)[:1]
        floats = self._columns(types.is_floating)
        if not floats or lists:
            raise SettingsError(
                f"{self._named} must hold embeddings as a column of lists of numbers called "
                f"embedding, or as columns of floats; it holds {', '.join(self._schema.names)}"
            )
        return floats

    def _width(self) -> int:
        if not _is_list_of_numbers(self._schema.field(self._dimensions[0]).type):
            return len(self._dimensions)
        kind = self._schema.field(self._dimensions[0]).type
        if hasattr(kind, "list_size"):
            return kind.list_size
        for _, batch in self._pieces(self._dimensions, None):
            return _matrix(batch.column(0), None, self._what).shape[1]
        return 1

    def _pieces(
        self, columns: Sequence[str], rows: Int64[np.ndarray, " n"] | None
    ) -> Iterator[tuple[Int64[np.ndarray, " m"], Any]]:
        """Batches in order, and which of their rows are among ``rows``; None asks for all."""
        begin = 0
        for path, file in zip(self._paths, self._files, strict=True):
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                if rows is not None and _within(rows, begin, end).size == 0:
                    begin = end
                    continue
                with readable(path):
                    for batch in file.iter_batches(
                        _BATCH, row_groups=[group], columns=list(columns), use_threads=False
                    ):
                        end = begin + batch.num_rows
                        every = rows is None
                        wanted = (
                            np.arange(batch.num_rows)
                            if every
                            else _within(rows, begin, end) - begin
                        )
                        begin = end
                        if wanted.size:
                            yield wanted, batch

    def episodes(self) -> Int64[np.ndarray, " N"] | None:
        """Episode of each of the N states; None where the files do not tell."""
        name = next((name for name in EPISODE if name in self._schema.names), None)
        if name is None:
            return None
        values = [self._plain(batch.column(0), name) for _, batch in self._pieces([name], None)]
        return as_integers(np.concatenate(values), self.rows, f"{name} in {self._named}")

    def take(self, rows: Int64[np.ndarray, " n"]) -> Taken:
        """The states of ascending rows."""
        from pyarrow import types

        near = [name for name in NEIGHBOURS if name in self._schema.names]
        stds = [name for name in self._columns(_is_list_of_numbers) if name in STD][:1]
        lists = [*near, *stds]
        scalars = [
            field.name
            for field in self._schema
            if _is_number(field.type) and field.name not in (*self._dimensions, *EPISODE)
        ]
        embeddings = np.empty((len(rows), self.dim), np.float32)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in (*scalars, *lists)}
        begin = 0
        for wanted, batch in self._pieces([*self._dimensions, *scalars, *lists], rows):
            piece = embeddings[begin : begin + len(wanted)]
            begin += len(wanted)
            columns = [batch.column(name) for name in self._dimensions]
            if self.dim > 1 and len(columns) == 1:
                piece[:] = _matrix(columns[0], self.dim, self._what)[wanted]
            elif _is_list_of_numbers(columns[0].type):
                piece[:] = _matrix(columns[0], 1, self._what)[wanted]
            else:
                for dimension, column in enumerate(columns):
                    piece[:, dimension] = _floats(column)[wanted]
            for name in scalars:
                parts[name].append(self._plain(batch.column(name), name)[wanted])
            for name in lists:
                parts[name].append(_matrix(batch.column(name), None, name)[wanted])
        taken = {name: np.concatenate(values) for name, values in parts.items()}
        embeddings = as_embeddings(embeddings, self._what)
        steps, labels, figures = None, {}, {}
        for name in scalars:
            what = f"{name} in {self._named}"
            if name in STEP:
                steps = as_integers(taken[name], len(rows), what)
            elif types.is_floating(self._schema.field(name).type):
                figures[name] = as_figures(taken[name], len(rows), what)
            elif name.startswith(LABEL) or not self.ours:
                labels[name.removeprefix(LABEL)] = as_integers(taken[name], len(rows), what)
        neighbours = Neighbours(*(taken[name] for name in near)) if len(near) == 3 else None
        told = [as_stds(taken[n], embeddings.shape, f"{n} in {self._named}") for n in stds]
        return Taken(
            embeddings,
            told[0] if told else None,
            steps,
            labels,
            figures,
            neighbours,
            self._frames(rows),
        )

    def _plain(self, column: Any, name: str) -> np.ndarray:
        """A column of numbers; missing ones are NaN, of which whole numbers have none."""
        from pyarrow import types

        if types.is_floating(column.type):
            return _floats(column)
        if column.null_count:
            if self.ours and not name.startswith(LABEL):
                return np.zeros(len(column), np.int64)  # not loaded, such as a first action
            raise SettingsError(f"{name} in {self._named} must be whole numbers, got missing ones")
        return column.to_numpy(zero_copy_only=False)

    def _frames(self, rows: Int64[np.ndarray, " n"]) -> ParquetFrames | None:
        from pyarrow import types

        if FRAME not in self._columns(types.is_binary):
            return None
        places: list[tuple[Path, int]] = []
        ends, end = [], 0
        for path, file in zip(self._paths, self._files, strict=True):
            for group in range(file.num_row_groups):
                end += file.metadata.row_group(group).num_rows
                places.append((path, group))
                ends.append(end)
        return ParquetFrames(places, np.array(ends, np.int64), rows)


def _within(rows: Int64[np.ndarray, " n"], begin: int, end: int) -> Int64[np.ndarray, " m"]:
    first, last = np.searchsorted(rows, (begin, end))
    return rows[first:last]


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)


def _is_list_of_numbers(kind: Any) -> bool:
    from pyarrow import types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and _is_number(kind.value_type)


def _floats(column: Any) -> np.ndarray:
    """A column of numbers as float, missing ones NaN."""
    values = column.to_numpy(zero_copy_only=False)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _matrix(column: Any, width: int | None, what: str) -> np.ndarray:
    """A column of lists of one length as a matrix.

    Raises:
        SettingsError: a list is missing or of another length, or a number is missing.
    """
    values = column.flatten()
    if column.null_count or values.null_count:
        raise SettingsError(f"{what} must be complete, got a list or number that is missing")
    if not hasattr(column.type, "list_size"):
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        expected = lengths[:1] if width is None else np.array([width])
        if lengths.tolist() != expected.tolist():
            raise SettingsError(
                f"{what} must be lists of one length, got {', '.join(map(str, lengths[:8]))}"
            )
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
