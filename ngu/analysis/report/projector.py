"""A folder for TensorBoard's embedding projector: vectors, what is known of them, and frames.

The format is TensorBoard's own (projector_config.pbtxt): ``tensorboard --logdir FOLDER`` shows it.
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from ngu.analysis.data import EmbeddingData
from ngu.analysis.report.states_map import choose
from ngu.analysis.report.thumbnails import shrunk
from ngu.durable import temporary_of

CONFIG = "projector_config.pbtxt"
"""The file by which TensorBoard, and we, know such a folder."""
_MOST_STATES = 5_000
"""States of an embedding, at most."""
_MOST_NUMBERS = 2_000_000
"""States times dimensions, at most."""
_LONGEST = 64
"""Pixels of a frame's longer side in the sprite, at most."""
_SPRITE_SIDE = 8192
"""Pixels of the largest picture that browsers load as one texture."""


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder that takes the place of ``path`` at the end of the block, or never.

    Raises:
        OSError: something else than a projector folder is there, or it cannot be written.
    """
    check_folder(path)
    temporary = temporary_of(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_folder(path: Path) -> None:
    """See that nothing of somebody else's would be replaced.

    Raises:
        FileExistsError: there is something else.
    """
    if path.exists() and not (path / CONFIG).is_file():
        raise FileExistsError(f"{path} exists and is no projector folder: it is left as it is")


def write_projector(
    folder: Path, named: Sequence[tuple[str, EmbeddingData]], rng: np.random.Generator
) -> None:
    """Write vectors, metadata and sprites into a folder that is there.

    Args:
        folder: where.
        named: embeddings, with the name of each.
        rng: chooses the states of those that have too many.
    """
    entries = []
    for i, (name, data) in enumerate(named):
        prefix = f"{i + 1}-" if len(named) > 1 else ""
        most = min(_MOST_STATES, max(1, _MOST_NUMBERS // data.embeddings.shape[1]))
        rows = choose(len(data.embeddings), most, rng)
        entries.append(_entry(folder, prefix, name, data, rows))
    (folder / CONFIG).write_text("".join(entries), encoding="utf-8")


def _entry(
    folder: Path, prefix: str, name: str, data: EmbeddingData, rows: Int64[np.ndarray, " S"]
) -> str:
    """Write the files of one embedding; returns what the configuration says of it."""
    vectors = data.embeddings[rows]
    np.savetxt(folder / f"{prefix}tensors.tsv", vectors, fmt="%.7g", delimiter="\t")
    _write_metadata(folder / f"{prefix}metadata.tsv", data, rows)
    lines = [
        "embeddings {",
        f"  tensor_name: {json.dumps(name)}",
        f"  tensor_shape: {len(vectors)}",
        f"  tensor_shape: {vectors.shape[1]}",
        f'  tensor_path: "{prefix}tensors.tsv"',
        f'  metadata_path: "{prefix}metadata.tsv"',
    ]
    if data.frames is not None:
        cells = math.ceil(math.sqrt(len(rows)))
        side = min(_LONGEST, _SPRITE_SIDE // cells)
        pictures = [shrunk(data.frames[int(row)], side) for row in rows]
        height, width = pictures[0].shape[:2]
        (folder / f"{prefix}sprite.png").write_bytes(_png(_sheet(pictures, cells)))
        lines += [
            "  sprite {",
            f'    image_path: "{prefix}sprite.png"',
            f"    single_image_dim: {width}",
            f"    single_image_dim: {height}",
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def _write_metadata(path: Path, data: EmbeddingData, rows: Int64[np.ndarray, " S"]) -> None:
    columns: dict[str, np.ndarray] = {"row": np.arange(len(data.embeddings))}
    if data.episodes is not None:
        columns["episode"] = data.episodes
    if data.steps is not None:
        columns["step"] = data.steps
    columns |= {**data.labels, **data.figures}
    lines = ["\t".join(str(values[row]) for values in columns.values()) for row in rows]
    if len(columns) > 1:  # TensorBoard takes the first line for names only then
        lines.insert(0, "\t".join(" ".join(name.split()) or "unnamed" for name in columns))
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


def _sheet(
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]], cells: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures row by row in a square of cells."""
    height, width = pictures[0].shape[:2]
    sheet = np.zeros((cells * height, cells * width, 3), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // cells * height, i % cells * width
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _png(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
