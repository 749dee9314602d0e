"""Which states count as the same: their pictures, small and in few shades, are equal.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919), methods, "downscaling".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Bool, Float32, Int

from ngu.spaces import ObservationSpec


class Named(NamedTuple):
    """The cells of E states."""

    names: list[bytes]
    """E names, all of one length; empty where none was asked for."""
    embeddings: Float32[np.ndarray, "E D"]
    """Of the states, near where these are alike."""


class Regrouped(NamedTuple):
    """What N cells have become."""

    groups: Int[np.ndarray, " N"]
    """The new number of each; those that fell together have the same."""
    names: list[bytes]
    """Of the M new cells."""
    embeddings: Float32[np.ndarray, "M D"]
    """Of the states that the new cells began with."""


class Cells(ABC):
    """Says which states count as the same; one that learns to does more than name them."""

    @abstractmethod
    def __call__(self, observations: np.ndarray, where: Bool[np.ndarray, " E"]) -> Named:
        """The cells of the observations [E, ...] in ``where``."""

    def observe(  # noqa: B027 - most have nothing to learn
        self,
        obs_tm1: np.ndarray,
        action_tm1: np.ndarray,
        obs_t: np.ndarray,
        where: Bool[np.ndarray, " E"],
    ) -> None:
        """Take note of the steps [E, ...] in ``where``."""

    def regrouped(self) -> Regrouped | None:
        """All cells grouped anew where it is time to; None where it is not."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {}

    def load_state_dict(  # noqa: B027 - most have nothing that lasts
        self, state: dict[str, Any]
    ) -> None:
        """Take back what :meth:`state_dict` returned."""


class DownscaledCells(Cells):
    """Names a picture's cell by its averages over areas, rounded down to a few shades.

    A grid is as small as it is: it keeps every place. Of several channels the last one is read. Of
    a vector each number is rounded down to as many levels between its bounds; one without bounds
    is squashed to v / (1 + |v|) first. The embedding is the same before it is rounded.

    Args:
        observation_space: of one environment: images, grids or vectors.
        width: areas in an image's row.
        height: areas in an image's column.
        levels: shades.

    Raises:
        TypeError: the observations are none of these.
    """

    def __init__(
        self, observation_space: gymnasium.Space[Any], *, width: int, height: int, levels: int
    ) -> None:
        spec = ObservationSpec(observation_space)
        if not isinstance(observation_space, gymnasium.spaces.Box):
            raise TypeError(
                "an archive's cells are small pictures: observations must be images, grids or "
                f"vectors, got {observation_space}"
            )
        self._levels = levels
        self._channel_axis = spec.channel_axis
        self._areas: tuple[np.ndarray, np.ndarray] | None = None
        self._low, self._range = np.float32(0), np.float32(1 / spec.scale)
        if spec.kind == "vector":
            low = observation_space.low.astype(np.float32)
            with np.errstate(over="ignore"):
                span = observation_space.high.astype(np.float32) - low
            self._bounded = np.isfinite(span) & (span > 0)
            self._low = np.where(self._bounded, low, -1).astype(np.float32)
            self._range = np.where(self._bounded, span, 2).astype(np.float32)
        else:
            _, rows, columns = spec.image_shape
            if spec.kind == "grid":
                width, height = columns, rows
            self._areas = (
                area_averages(rows, min(height, rows)),
                area_averages(columns, min(width, columns)).T,
            )

    def __call__(self, observations: np.ndarray, where: Bool[np.ndarray, " E"]) -> Named:
        """The cells of observations [E, ...]; right everywhere, not only in ``where``."""
        values = last_channel(observations, self._channel_axis).astype(np.float32)
        if self._areas is None:
            values = np.where(self._bounded, values, values / (1 + np.abs(values)))
        else:
            rows, columns = self._areas
            values = rows @ values @ columns
        shares = ((values - self._low) / self._range).reshape(len(values), -1)
        # A touch above, so that the average of equal shades does not fall below them.
        shades = np.clip(shares * self._levels + 1e-3, 0, self._levels - 1).astype(np.uint8)
        return Named([shade.tobytes() for shade in shades], shares)


def last_channel(observations: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """Of observations [E, ...] the last channel; they themselves where there are no channels."""
    if channel_axis is None:
        return observations
    return np.moveaxis(observations, channel_axis + 1, 0)[-1]


def area_averages(length: int, parts: int) -> np.ndarray:
    """Weights [parts, length] that average equal parts of a line, each pixel by its overlap."""
    edges = np.linspace(0, length, parts + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) * (parts / length)).astype(np.float32)
