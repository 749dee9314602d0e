"""Where the snapshots of an archive's cells lie: in memory up to a limit, beyond it on disk."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


class SnapshotStore:
    """A snapshot for each of N cells.

    Those that find no place in memory go to a temporary file, which ends with the store.

    Args:
        limit: bytes that are held in memory.
        folder: where the file is; None for the system's folder for temporary files.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, limit: int, folder: str | None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise ValueError(f"spill_folder must be a folder that exists, got {folder!r}")
        self._limit, self._folder = limit, folder
        self._held: list[bytes | None] = []
        self._spill: sqlite3.Connection | None = None
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, cell: int) -> bytes:
        held = self._held[cell]
        if held is not None:
            return held
        assert self._spill is not None
        row = self._spill.execute("SELECT snapshot FROM snapshots WHERE cell = ?", (cell,))
        return row.fetchone()[0]

    def __setitem__(self, cell: int, snapshot: bytes) -> None:
        """Set a cell's snapshot; the cell after the last one is a new one.

        Raises:
            OSError: the disk has no place for it; the cell is as it was.
        """
        new = cell == len(self._held)
        before = None if new else self._held[cell]
        others = self.nbytes - len(before or b"")
        if others + len(snapshot) > self._limit:
            self._write(cell, snapshot)
            held = None
        else:
            others += len(snapshot)
            held = snapshot
        if new:
            self._held.append(held)
        else:
            self._held[cell] = held
        self.nbytes = others

    def of(self, cells: list[int]) -> SnapshotStore:
        """A store of these cells' snapshots alone, in this order.

        Raises:
            OSError: the disk has no place for them.
        """
        store = SnapshotStore(self._limit, self._folder)
        for place, cell in enumerate(cells):
            store[place] = self[cell]
        return store

    def state_dict(self) -> dict[str, Any]:
        """All snapshots, one after the other, and where each ends."""
        snapshots = [self[cell] for cell in range(len(self))]
        ends = np.cumsum([len(snapshot) for snapshot in snapshots], dtype=np.int64)
        return {"bytes": np.frombuffer(b"".join(snapshots), np.uint8), "ends": ends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._held, self.nbytes = [], 0
        whole, first = memoryview(state["bytes"]), 0
        for cell, end in enumerate(state["ends"].tolist()):
            self[cell] = whole[first:end].tobytes()
            first = end

    def _write(self, cell: int, snapshot: bytes) -> None:
        try:
            if self._spill is None:
                self._spill = self._open()
            self._spill.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (cell, snapshot))
        except sqlite3.OperationalError as error:
            folder = self._folder or tempfile.gettempdir()
            raise OSError(
                f"the archive's snapshots beyond memory_gb cannot be written to {folder}: {error}"
            ) from error

    def _open(self) -> sqlite3.Connection:
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".sqlite", delete=False) as file:
            path = Path(file.name)
        spill = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # It never has to outlive this process: the checkpoints hold everything.
        spill.execute("PRAGMA journal_mode = OFF")
        spill.execute("PRAGMA synchronous = OFF")
        spill.execute("CREATE TABLE snapshots (cell INTEGER PRIMARY KEY, snapshot BLOB)")
        path.unlink()  # the open file stays until the connection is closed
        return spill
