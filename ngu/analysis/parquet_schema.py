"""What datasets of ours are called in Parquet files, and how such files are opened.

Format: https://parquet.apache.org/docs/file-format/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ngu.sentences import SettingsError, reason

FRAME = "frame"
"""The column of pictures, each the bytes of an image file."""
LABEL = "label_"
"""What the names of labels begin with in a dataset of ours."""
NEIGHBOURS = ("neighbour_step", "neighbour_squared_distance", "neighbour_kernel")
"""Its columns that make up `Neighbours`."""
OURS = b"ngu"
"""The key of its schema's metadata."""
VERSION = 1
"""Of its columns and what they mean."""


def parquet() -> Any:
    """The module pyarrow.parquet.

    Raises:
        SettingsError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SettingsError(
            'Parquet files need the package pyarrow: pip install "never-give-up[analysis]"'
        ) from error
    return pyarrow.parquet


def check_version(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, Any]:
    """What the metadata of a dataset of ours tell.

    Raises:
        SettingsError: it is one of another version.
    """
    try:
        content = json.loads(metadata[OURS])
        version = content["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} does not tell which version it is of") from error
    if version != VERSION:
        raise SettingsError(f"{path} is a dataset of version {version}, expected {VERSION}")
    return content


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what pyarrow says of a damaged file into a sentence."""
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError:
        raise
    except (ArrowException, OSError, EOFError) as error:
        raise SettingsError(
            f"{path} is no whole Parquet file, it is cut off, damaged or something else: "
            f"{reason(error)}"
        ) from error
