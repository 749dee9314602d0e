"""The replay on disk: segments of the ring in files that are written once and never changed.

A save writes only what no file holds yet, so its cost grows with the steps since the last one and
not with the size of the replay. Time is cut into segments of equally many slots; a segment that is
complete is written once, the one that is being filled at each save anew, under another name. A file
is named after its slots and a checksum of what happened in them, so a run that resumes from an
older checkpoint writes beside the files of its abandoned future and not over them.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ngu.checkpoint import DamagedCheckpoint, load_tree, save_tree

_SEGMENT_NBYTES = 64 * 10**6


class SegmentFiles:
    """Writes a ring's slots to files and reads them back.

    Args:
        columns: The ring's arrays [L, E, ...] by name, read and written in place.
        recurrent: Recurrent states [L / period, E, 2, H] of the slots that are multiples of it.
        period: Slots from one recurrent state to the next.
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        recurrent: Float[np.ndarray, "L E 2 H"],
        period: int,
    ) -> None:
        self._columns = columns
        self._recurrent = recurrent
        self._period = period
        self._length = len(columns["first"])
        nbytes = recurrent.nbytes + sum(column.nbytes for column in columns.values())
        self.segment_slots = max(1, _SEGMENT_NBYTES * len(recurrent) // nbytes) * period
        self._known: list[dict[str, Any]] = []

    def save(self, directory: Path, slots_written: int) -> list[dict[str, Any]]:
        """Brings `directory` up to date and returns which files hold the ring, oldest first.

        Args:
            directory: Where the files are; made if it is not there.
            slots_written: Slots stored since the beginning.

        Raises:
            OSError: If a file cannot be written; no file is changed, those written before stay.
        """
        directory.mkdir(parents=True, exist_ok=True)
        files = []
        oldest = max(0, slots_written - self._length)
        for begin in range(
            oldest // self.segment_slots * self.segment_slots, slots_written, self.segment_slots
        ):
            start, stop = max(begin, oldest), min(begin + self.segment_slots, slots_written)
            files.append(self._find(directory, start, stop) or self._write(directory, start, stop))
        self._known = files
        return [dict(file) for file in files]

    def load(self, directory: Path, files: list[dict[str, Any]], slots_written: int) -> None:
        """Fills the ring from the files that `save` named.

        Raises:
            DamagedCheckpoint: If one is missing, damaged, or not what it should be; the ring may
                be filled in part then.
        """
        self._known = []
        oldest = max(0, slots_written - self._length)
        expected = oldest
        for file in files:
            path = directory / file["name"]
            start, stop = file["start"], file["stop"]
            if start > expected or stop <= expected:
                raise DamagedCheckpoint(f"{path}: slots {expected} to {start} are in no file")
            self._read(path, start, stop, oldest)
            expected = stop
        if expected != slots_written:
            raise DamagedCheckpoint(
                f"{directory}: the replay's slots {expected} to {slots_written} are in no file"
            )
        self._known = [dict(file) for file in files]

    def _find(self, directory: Path, start: int, stop: int) -> dict[str, Any] | None:
        """A file of an earlier save that holds the slots; it may begin earlier."""
        for file in self._known:
            holds = file["start"] <= start and file["stop"] == stop
            if holds and (directory / file["name"]).exists():
                return file
        return None

    def _write(self, directory: Path, start: int, stop: int) -> dict[str, Any]:
        # In parts and not joined, so that they are written from the ring without a copy.
        columns = {
            name: [ring[rows] for rows in self._rows(start, stop)]
            for name, ring in self._columns.items()
        }
        recurrent = [self._recurrent[rows] for rows in self._recurrent_rows(start, stop)]
        crc = 0
        for name, parts in columns.items():
            if name != "observation":
                for part in parts:
                    crc = zlib.crc32(part.tobytes(), crc)
        file = {
            "name": f"slots-{start:012d}-{stop:012d}-{crc:08x}.safetensors",
            "start": start,
            "stop": stop,
        }
        tree = {"start": start, "stop": stop, "columns": columns, "recurrent": recurrent}
        save_tree(directory / file["name"], tree)
        return file

    def _read(self, path: Path, start: int, stop: int, oldest: int) -> None:
        try:
            tree = load_tree(path)
        except FileNotFoundError:
            raise DamagedCheckpoint(f"{path}: the file is missing") from None
        if (tree["start"], tree["stop"]) != (start, stop):
            raise DamagedCheckpoint(
                f"{path}: holds slots {tree['start']} to {tree['stop']}, expected {start} to {stop}"
            )
        kept = max(start, oldest)
        for name, ring in self._columns.items():
            _fill(ring, self._rows(kept, stop), tree["columns"][name])
        _fill(self._recurrent, self._recurrent_rows(kept, stop), tree["recurrent"])

    def _rows(self, start: int, stop: int) -> Iterator[slice]:
        """Rows of the ring with slots start to stop, in one part or, where it wraps, in two."""
        return _wrapped(start, stop, self._length)

    def _recurrent_rows(self, start: int, stop: int) -> Iterator[slice]:
        return _wrapped(-(-start // self._period), -(-stop // self._period), len(self._recurrent))


def _wrapped(start: int, stop: int, length: int) -> Iterator[slice]:
    while start < stop:
        row = start % length
        count = min(stop - start, length - row)
        yield slice(row, row + count)
        start += count


def _fill(ring: np.ndarray, rows: Iterator[slice], parts: list[np.ndarray]) -> None:
    """Copies the last entries of the parts, as many as there are rows, into the ring."""
    slices = list(rows)
    wanted = sum(part.stop - part.start for part in slices)
    values = np.concatenate(parts) if parts else ring[:0]
    values = values[len(values) - wanted :]
    for part in slices:
        count = part.stop - part.start
        ring[part], values = values[:count], values[count:]
