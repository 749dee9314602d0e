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

    Args:
        height: Rows of the emulator's picture; 210 in most games.
    """

    def __init__(self, height: int):
        # 160 : 84 is 40 : 21, so the same small matrix serves four groups of columns.
        self._columns = area_weights(SCREEN_WIDTH // 4, SIDE // 4)
        self._rows = None if height == 210 else np.ascontiguousarray(area_weights(height, SIDE).T)
        self._height = height
        common = gcd(height, SIDE)
        self._area = np.float32((height // common) * (SCREEN_WIDTH // 4))
        # Row r of pairs: 5 source rows become 2, the middle one is shared.
        self._row_sums = np.empty((42, 2, SCREEN_WIDTH), np.float32)

    def __call__(self, frame: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "84 84"]:
        """One picture; all sums are whole numbers below 2^24, so float32 holds them exactly."""
        if self._rows is None:
            fives = frame.reshape(42, 5, SCREEN_WIDTH).astype(np.uint16)
            middle = fives[:, 2]
            self._row_sums[:, 0] = 2 * (fives[:, 0] + fives[:, 1]) + middle
            self._row_sums[:, 1] = 2 * (fives[:, 3] + fives[:, 4]) + middle
            row_sums = self._row_sums
        else:
            row_sums = self._rows @ frame.astype(np.float32)
        sums = row_sums.reshape(-1, SCREEN_WIDTH // 4) @ self._columns
        return np.rint(sums / self._area).astype(np.uint8).reshape(SIDE, SIDE)
