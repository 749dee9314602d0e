"""gymnasium's CarRacing, which draws the same pictures in less time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pygame
from gymnasium.envs.box2d import car_racing
from jaxtyping import Bool, Float

from ngu_envs.checks import require_integer

_Polygon = list[tuple[float, float]]

# Pixels beyond the picture that count as inside: roundings differ from those of the drawing.
_MARGIN = 2.0


def _square(x: float, y: float) -> _Polygon:
    size = car_racing.GRASS_DIM
    return [(x + size, y), (x, y), (x, y + size), (x + size, y + size)]


_GRASS = [
    _square(car_racing.GRASS_DIM * x, car_racing.GRASS_DIM * y)
    for x in range(-20, 20, 2)
    for y in range(-20, 20, 2)
]
_BOUNDS = car_racing.PLAYFIELD
_FIELD = [(_BOUNDS, _BOUNDS), (_BOUNDS, -_BOUNDS), (-_BOUNDS, -_BOUNDS), (-_BOUNDS, _BOUNDS)]


class CarRacing(car_racing.CarRacing):
    """CarRacing that asks of all parts of the landscape at once which are to be seen.

    gymnasium asks one after the other, of about 700 in every step, and draws more than are seen.

    Args:
        render_mode, verbose, lap_complete_percent, domain_randomize, continuous: gymnasium's.
        patience: steps without a new stretch of road after which an episode is truncated, at least
            1; None goes on, as gymnasium does.

    Raises:
        TypeError: the patience is not an integer.
        ValueError: it is below 1.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        verbose: bool = False,
        lap_complete_percent: float = 0.95,
        domain_randomize: bool = False,
        continuous: bool = True,
        patience: int | None = None,
    ) -> None:
        if patience is not None:
            patience = require_integer("patience", patience, minimum=1)
        self._patience, self._visited, self._waited = patience, 0, 0
        super().__init__(render_mode, verbose, lap_complete_percent, domain_randomize, continuous)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode on another track."""
        result = super().reset(seed=seed, options=options)
        self._visited, self._waited = self.tile_visited_count, 0
        return result

    # gymnasium's is inferred to be never truncated.
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, action: Any
    ) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drives for a fiftieth of a second."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._waited = 0 if self.tile_visited_count > self._visited else self._waited + 1
        self._visited = self.tile_visited_count
        lost = self._patience is not None and self._waited >= self._patience
        return observation, float(reward), terminated, truncated or lost, info

    def _create_track(self) -> bool:
        made = super()._create_track()
        road = [[(point[0], point[1]) for point in polygon] for polygon, _ in self.road_poly]
        self._polygons = _GRASS + road
        self._corners = np.array(self._polygons).swapaxes(0, 1).copy()
        return made

    def _render_road(self, zoom: float, translation: tuple[float, float], angle: float) -> None:
        view = (zoom, translation, angle)
        self._draw_colored_polygon(self.surf, _FIELD, self.bg_color, *view, clip=False)
        for i in np.flatnonzero(_seen(self._corners, *view)).tolist():
            road = i - len(_GRASS)
            color = self.grass_color if road < 0 else [int(c) for c in self.road_poly[road][1]]
            self._draw_colored_polygon(self.surf, self._polygons[i], color, *view)


def _seen(
    corners: Float[np.ndarray, "4 K 2"],
    zoom: float,
    translation: tuple[float, float],
    angle: float,
) -> Bool[np.ndarray, " K"]:
    """Which of K polygons may reach into the picture: their bounding boxes do."""
    right = pygame.math.Vector2(1.0, 0.0).rotate_rad(angle)
    rotation = np.array([[right.x, right.y], [-right.y, right.x]])
    pixels = corners @ (rotation * zoom) + np.array(translation)
    size = np.array([car_racing.WINDOW_W, car_racing.WINDOW_H])
    return ((pixels.max(0) >= -_MARGIN) & (pixels.min(0) <= size + _MARGIN)).all(-1)
