"""Which states count as the same: their pictures, small and in few shades, are equal.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919), methods, "downscaling".
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool

from ngu.spaces import ObservationSpec


class DownscaledCells:
    """Names a picture's cell by its averages over areas, rounded down to a few shades.

    A grid is as small as it is: it keeps every place. Of several channels the last one is read.

    Args:
        observation_space: of one environment: images or grids.
        width: areas in an image's row.
        height: areas in an image's column.
        levels: shades.

    Raises:
        TypeError: the observations are no pictures.
    """

    def __init__(
        self, observation_space: gymnasium.Space[Any], *, width: int, height: int, levels: int
    ) -> None:
        spec = ObservationSpec(observation_space)
        if spec.kind not in ("image", "grid"):
            raise TypeError(
                "an archive's cells are small pictures: observations must be images or grids, got "
                f"{observation_space}"
            )
        _, rows, columns = spec.image_shape
        self._channel_axis = spec.channel_axis
        if spec.kind == "grid":
            width, height = columns, rows
        self._rows = area_averages(rows, min(height, rows))
        self._columns = area_averages(columns, min(width, columns)).T
        self._levels = levels
        self._bound = np.float32(1 / spec.scale)
        self.size = self._rows.shape[0] * self._columns.shape[1]

    def __call__(self, observations: np.ndarray, where: Bool[np.ndarray, " E"]) -> list[bytes]:
        """Names [E], ``size`` bytes each, of the cells of observations [E, ...].

        They are right everywhere, not only in ``where``.
        """
        if self._channel_axis is not None:
            observations = np.take(observations, -1, axis=self._channel_axis + 1)
        averages = self._rows @ observations.astype(np.float32) @ self._columns
        # A touch above, so that the average of equal shades does not fall below them.
        shades = averages * (self._levels / self._bound) + 1e-3
        cells = np.minimum(shades, self._levels - 1).astype(np.uint8)
        return [cell.tobytes() for cell in cells]


def area_averages(length: int, parts: int) -> np.ndarray:
    """Weights [parts, length] that average equal parts of a line, each pixel by its overlap."""
    edges = np.linspace(0, length, parts + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) * (parts / length)).astype(np.float32)
