"""gymnasium's CarRacing, which draws the same pictures in less time."""

from __future__ import annotations

import numpy as np
import pygame
from gymnasium.envs.box2d import car_racing
from jaxtyping import Bool, Float

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
    """

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
