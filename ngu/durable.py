"""Files that survive a full disk and a killed process: replaced whole, appended to whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of ``path`` at the end of the block, or never.

    The bytes go to a temporary file beside ``path`` (`temporary_of`) and are forced to the disk
    before the rename. If the block or the disk fails, the temporary file is removed and what was
    at ``path`` stays.

    Args:
        path: The file to write, or to replace.

    Yields:
        The temporary file, open for writing bytes.

    Raises:
        OSError: The file cannot be written, for instance because the disk is full.
    """
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """Where `replacing` writes before it renames."""
    return path.with_name(f".{path.name}.tmp")


def append_whole(path: Path, record: bytes) -> None:
    """Appends a record to a file, all of it or nothing; the file is made if it is not there.

    Args:
        path: The file.
        record: The bytes.

    Raises:
        OSError: The record could not be written; the file is as long as it was.
    """
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(record):
                written += file.write(record[written:])
        except BaseException:
            file.truncate(end)
            raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders, and makes renames durable itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
