"""Frames as small pictures inside of the page: WebP in data URIs, each content once."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from ngu.analysis.data import Frames

LONGEST = 96
"""Pixels of a thumbnail's longer side, at most."""
MOST_BYTES = 13_000_000
"""Of all thumbnails together, so that the page stays below 20 MB."""


class Thumbnails:
    """Collects pictures of states.

    Args:
        embeddings: how many of them share the place.

    Attributes:
        pictures: data URIs.
    """

    def __init__(self, embeddings: int = 1) -> None:
        self.pictures: list[str] = []
        self._most = MOST_BYTES // embeddings
        self._known: dict[bytes, int] = {}

    def add(self, frames: Frames | None, rows: Iterable[int]) -> dict[int, int]:
        """Take pictures in, as long as there is place for them.

        Args:
            frames: whose pictures; None: there are none.
            rows: whose first, in the order of their importance.

        Returns:
            Index into ``pictures`` of each row that has one.
        """
        index: dict[int, int] = {}
        used = 0
        for row in dict.fromkeys(rows):
            if frames is None or used > self._most:
                break
            encoded = webp(frames[row])
            key = hashlib.sha256(encoded).digest()
            if key not in self._known:
                self._known[key] = len(self.pictures)
                text = base64.b64encode(encoded).decode()
                self.pictures.append(f"data:image/webp;base64,{text}")
                used += len(text)
            index[row] = self._known[key]
        return index


def shrunk(frame: UInt8[np.ndarray, "H W channels"], longest: int = LONGEST) -> np.ndarray:
    """A picture of 3 channels whose longer side is at most so long.

    Args:
        frame: 1 or 3 channels.
        longest: side in pixels.

    Returns:
        Bytes [h, w, 3].
    """
    from PIL import Image

    picture = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).convert("RGB")
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def webp(frame: UInt8[np.ndarray, "H W channels"]) -> bytes:
    """A thumbnail's file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(shrunk(frame)).save(file, "WEBP", quality=60, method=2)
    return file.getvalue()
