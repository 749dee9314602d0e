"""Recorded pictures that an autoencoder can see, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from ngu.analysis.latents import image_statistics
from ngu.analysis.loading import load
from ngu.sentences import SettingsError
from ngu.state_file import load_tree
from ngu.world.convolutions import PictureShape, picture_shape, resized

FILE = "pictures.safetensors"
"""What ``train_vae`` calls the pictures that it leaves beside its autoencoder."""

_MOST = 2000  # are enough for means, and encoded within seconds


class RecordedPictures(NamedTuple):
    """Pictures as an autoencoder sees them; there may be none."""

    pictures: UInt8[np.ndarray, "N ..."]
    """At most 2,000, evenly spaced."""
    known: Mapping[str, Shaped[np.ndarray, " N"]]
    """Numbers of each that a dimension may go with, by name: labels, or properties of it."""


def pictures_beside(vae: Path, shape: tuple[int, ...]) -> RecordedPictures:
    """The pictures that ``train_vae`` left beside an autoencoder; none where there is no such file.

    Args:
        vae: the autoencoder's file.
        shape: of a picture that it sees.

    Raises:
        SettingsError: they are no pictures, or others than it sees.
        DamagedCheckpoint: the file is damaged.
        OSError: it cannot be read.
    """
    path = vae.with_name(FILE)
    if not path.exists():
        return RecordedPictures(np.empty((0, *shape), np.uint8), {})
    tree = load_tree(path)
    pictures = tree.get("pictures") if isinstance(tree, dict) else None
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
        raise SettingsError(f"{path} holds no pictures")
    if pictures.shape[1:] != shape:
        raise SettingsError(
            f"{path} must hold pictures {list(shape)}, as the autoencoder sees, got "
            f"{list(pictures.shape[1:])}"
        )
    pictures = pictures[_spread(len(pictures))]
    return RecordedPictures(pictures, image_statistics(pictures))


def pictures_of_dataset(path: Path, shape: tuple[int, ...]) -> RecordedPictures:
    """Frames and labels of a recorded dataset; without labels properties of the frames.

    Args:
        path: what :func:`ngu.analysis.load` takes.
        shape: of a picture that the autoencoder sees. Frames are brought to it where it is square,
            as ``train_vae`` does.

    Raises:
        SettingsError: there are no frames, or others than the autoencoder sees.
        OSError: a file cannot be read.
    """
    data = load(path)
    if data.frames is None:
        raise SettingsError(f"{path} holds no frames to show")
    rows = _spread(len(data.frames))
    frames = [data.frames[row] for row in rows.tolist()]
    if len({frame.shape for frame in frames}) > 1:
        raise SettingsError(f"the frames of {path} must be of one size")
    pictures = _fitted(np.stack(frames), shape, path)
    labels = {name: values[rows] for name, values in data.labels.items()}
    return RecordedPictures(pictures, labels or image_statistics(pictures))


def _fitted(
    frames: UInt8[np.ndarray, "N H W channels"], shape: tuple[int, ...], path: Path
) -> UInt8[np.ndarray, "N ..."]:
    """Frames of the size that an autoencoder sees, with its channels where it has them."""
    wanted = picture_shape(shape)
    found = PictureShape(frames.shape[3], *frames.shape[1:3])
    square = wanted.height == wanted.width
    if found.channels != wanted.channels or not (square or found == wanted):
        raise SettingsError(
            f"the frames of {path} must be {_told(wanted)}, as the autoencoder sees, got "
            f"{_told(found)}"
        )
    pictures = resized(frames, wanted.height) if square else frames
    if len(shape) == 2:
        return pictures[..., 0]
    last = shape[2] == wanted.channels
    return pictures if last else np.ascontiguousarray(np.moveaxis(pictures, 3, 1))


def _told(shape: PictureShape) -> str:
    plural = "s" if shape.channels > 1 else ""
    return f"{shape.height} x {shape.width} with {shape.channels} channel{plural}"


def _spread(count: int) -> Int64[np.ndarray, " n"]:
    return np.linspace(0, count - 1, min(count, _MOST)).astype(np.int64)
