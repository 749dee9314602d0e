"""From the emulator's picture to 84 x 84: each new pixel is the mean of the area that it covers.

The usual preprocessing (Mnih et al., Nature 2015) as OpenCV's INTER_AREA does it, in exact
arithmetic: only means that lie exactly between two grey levels can differ from OpenCV's, which
sums in float32, by one level.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from jaxtyping import Float32, UInt8

SIDE = 84
SCREEN_WIDTH = 160


def area_weights(source: int, target: int) -> Float32[np.ndarray, "source target"]:
    """How much of each source pixel each target pixel covers, in the largest unit that is whole.

    Each column sums to source / gcd(source, target).
    """
    common = gcd(source, target)
    source_length, target_length = target // common, source // common  # of one pixel, in units
    source_start = np.arange(source)[:, None] * source_length
    target_start = np.arange(target) * target_length
    start = np.maximum(source_start, target_start)
    end = np.minimum(source_start + source_length, target_start + target_length)
    return np.maximum(end - start, 0).astype(np.float32)


class AreaResize:
    """Resizes grey pictures of `height` x 160 to 84 x 84.

    The weights repeat: 210 rows to 84 is 42 times 5 rows to 2, and 160 columns to 84 is 4 times 40
    columns to 21, so two small matrices do it.

    Args:
        height: Rows of the emulator's picture; 210 in most games.
    """

    def __init__(self, height: int):
        row_groups, column_groups = gcd(height, SIDE), gcd(SCREEN_WIDTH, SIDE)
        self._columns = area_weights(SCREEN_WIDTH // column_groups, SIDE // column_groups)
        self._rows = np.ascontiguousarray(area_weights(height // row_groups, SIDE // row_groups).T)
        self._pixels = np.empty((row_groups, height // row_groups, SCREEN_WIDTH), np.float32)
        self._area = np.float32(self._columns[:, 0].sum() * self._rows[0].sum())

    def __call__(self, frame: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "84 84"]:
        """One picture; all sums are whole numbers below 2^24, so float32 holds them exactly."""
        np.copyto(self._pixels, frame.reshape(self._pixels.shape))
        row_sums = np.matmul(self._rows, self._pixels)
        sums = row_sums.reshape(-1, len(self._columns)) @ self._columns
        return np.rint(sums / self._area).astype(np.uint8).reshape(SIDE, SIDE)
