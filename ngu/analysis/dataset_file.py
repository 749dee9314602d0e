"""The dataset of a recording: a folder of Parquet files, each whole from the moment it is there.

`DatasetWriter` buffers so many states and writes them as one file of one row group, which takes its
name when it is on the disk (`ngu.durable.replacing`). A process that is killed loses what it had
buffered and nothing else; pandas and pyarrow read the folder too. `ngu.analysis.load` reads it.

| column | |
|---|---|
| episode, step | int64: the episode, numbered over all environments; the step in it, 0 at first |
| embedding | D float32 |
| embedding_std | D float32: of the posterior, where the embedding is the mean of one |
| action | what led to the state, as the environment takes it; null at an episode's first state |
| reward, ... | float32: rewards, novelty and its parts; NaN where a state has none |
| neighbour_step, neighbour_squared_distance, neighbour_kernel | K each, see `Neighbours` |
| label_NAME | int64: what is known of the state |
| frame | PNG |
| ram | 128 uint8: an Atari console's memory |
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ngu.analysis.parquet_schema import OURS, VERSION, check_version, parquet, readable
from ngu.durable import replacing
from ngu.sentences import SettingsError

ROWS_PER_PART = 2_000
"""States in a file."""


@dataclass(frozen=True)
class About:
    """What a dataset is of; stands in the metadata of each of its files."""

    env: str
    """The environment's name."""
    agent: str
    """Who acted."""
    embedding: str
    """What embedded the states."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What each label means, by name."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Run, checkpoint, seed and whatever else tells where it comes from."""
    version: int = VERSION
    """Of the columns."""


class DatasetWriter:
    """Writes states into a new folder.

    Args:
        folder: an empty one may exist.
        about: what the dataset is of.
        rows_per_part: states in a file.

    Raises:
        FileExistsError: something is there already; nothing of it is changed.
        SettingsError: pyarrow is not installed.
        OSError: the folder cannot be written.
    """

    def __init__(
        self, folder: str | Path, about: About, *, rows_per_part: int = ROWS_PER_PART
    ) -> None:
        parquet()
        self.folder = Path(folder)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise FileExistsError(f"{folder} exists and is not empty: choose another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._about = {OURS: json.dumps(dataclasses.asdict(about))}
        self._rows_per_part = rows_per_part
        self._parts = 0
        self._schema: Any = None
        self._batches: list[Any] = []

    def add(self, columns: Mapping[str, Any]) -> None:
        """Take n states; a file is written when there are enough for one.

        Args:
            columns: by name, the same ones each time: arrays [n] or [n, K] of numbers, or lists of
                n bytes objects; a masked array is null where it is masked.

        Raises:
            OSError: the file cannot be written; what was written before stays.
        """
        import pyarrow

        batch = pyarrow.table({name: _column(values) for name, values in columns.items()})
        if self._schema is None:
            self._schema = batch.schema.with_metadata(self._about)
        self._batches.append(batch.cast(self._schema))
        self.rows += len(batch)
        if sum(map(len, self._batches)) >= self._rows_per_part:
            self._write(self._rows_per_part)

    def close(self) -> None:
        """Write what is still buffered."""
        if self._batches:
            self._write(sum(map(len, self._batches)))

    def _write(self, count: int) -> None:
        import pyarrow

        buffered = pyarrow.concat_tables(self._batches).combine_chunks()
        with replacing(self.folder / f"part-{self._parts:06d}.parquet") as file:
            parquet().write_table(
                buffered.slice(0, count), file, row_group_size=count, compression="zstd"
            )
        self._parts += 1
        rest = buffered.slice(count)
        self._batches = [rest] if len(rest) else []


def read_about(path: str | Path) -> About:
    """What a dataset is of.

    Args:
        path: its folder, or one of its files.

    Raises:
        SettingsError: it is no dataset of ours, or one of a later version.
        OSError: it cannot be read.
    """
    path = Path(path)
    part = next(iter(sorted(path.glob("part-*.parquet"))), path) if path.is_dir() else path
    with readable(part):
        metadata = parquet().read_schema(part).metadata or {}
    if OURS not in metadata:
        raise SettingsError(f"{path} is no dataset that ngu.record wrote")
    return About(**check_version(metadata, path))


def _column(values: Any) -> Any:
    """A column as Arrow holds it: matrices as lists of a fixed length."""
    import pyarrow

    if isinstance(values, list):
        return pyarrow.array(values, pyarrow.binary())
    mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    array = np.ma.getdata(values)
    if array.ndim == 1:
        return pyarrow.array(array, mask=mask)
    flat = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    rows = None if mask is None else pyarrow.array(mask.all(1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1], mask=rows)
