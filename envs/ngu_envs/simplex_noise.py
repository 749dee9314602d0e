"""OpenSimplex noise of many seeds at the same points, all points at once.

What depends on the points alone is worked out once: the corners of the lattice around each point,
and how much each counts. A seed then only draws a gradient for each corner.

Source: K. Spencer's OpenSimplex noise, as `noise3` of the package opensimplex computes it.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int

_NORM = 103.0
# A component of 11 and two of 4, with all signs.
_GRADIENTS = np.array(
    [
        np.roll([11.0, 4.0, 4.0], axis) * (x, y, z)
        for z, y, x in itertools.product((1, -1), (1, -1), (-1, 1))
        for axis in range(3)
    ]
)
_X, _Y, _Z = np.eye(3, dtype=np.int64)
_VERTICES = (0 * _X, _X, _Y, _Z)
_AROUND = np.array(list(itertools.product((-1, 0, 1, 2), repeat=3)))


class SimplexNoise:
    """Noise at fixed points, equal to opensimplex's but for rounding of the last sum.

    A cell of the lattice is cut into a tetrahedron at its near corner, one at its far corner, and
    an octahedron between them, where each corner counts that is close enough.

    Args:
        points: Where, at coordinates x, y, z.
    """

    def __init__(self, points: Float[np.ndarray, "P 3"]):
        self._count = len(points)
        # Rounded as opensimplex rounds: which corners count hangs on it where two are as close.
        stretched = points + (_sum(points) * (-1.0 / 6))[:, None]
        cell = np.floor(stretched).astype(np.int64)
        inside = stretched - cell
        total = _sum(inside)
        near, far = np.flatnonzero(total <= 1), np.flatnonzero(total >= 2)
        between = np.flatnonzero((total > 1) & (total < 2))
        parts = [(between, cell[between] + offset) for offset in _AROUND]
        for offset in (*_VERTICES, *_extra_corners(inside[near], 1 - total[near])):
            parts.append((near, cell[near] + offset))
        # The far tetrahedron is the near one seen from the other side.
        for offset in (*_VERTICES, *_extra_corners(-inside[far], total[far] - 3)):
            parts.append((far, cell[far] + 1 - offset))
        owner, corner = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        distance = points[owner] - (corner + corner.sum(1, keepdims=True) / 3)
        closeness = 2 - (distance**2).sum(1)
        counts = closeness > 0
        self._owner = owner[counts]
        self._corner = (corner[counts] & 255).astype(np.uint8).T.copy()
        self._weight = closeness[counts, None] ** 4 * distance[counts] / _NORM

    def values(self, permutation: Int[np.ndarray, " 256"]) -> Float[np.ndarray, " P"]:
        """The noise of the seed that orders the numbers below 256 in this permutation."""
        x, y, z = self._corner
        drawn = permutation[(permutation[(permutation[x] + y) & 255] + z) & 255]
        gradient = _GRADIENTS[drawn % len(_GRADIENTS)]
        return np.bincount(self._owner, (gradient * self._weight).sum(1), self._count)


def _sum(points: np.ndarray) -> np.ndarray:
    return points[:, 0] + points[:, 1] + points[:, 2]


def _extra_corners(
    vertices: Float[np.ndarray, "N 3"], origin: Float[np.ndarray, " N"]
) -> tuple[np.ndarray, np.ndarray]:
    """The two corners [N, 3] that count beside the vertices of the near tetrahedron.

    Args:
        vertices: How close its vertices on the axes are, more for closer.
        origin: How close its vertex at the origin is.
    """
    x, y, z = vertices.T
    z_for_x, z_for_y = (x < y) & (z > x), (x >= y) & (z > y)
    a, b = np.where(z_for_x, z, x), np.where(z_for_y, z, y)
    corner_a = np.where(z_for_x[:, None], _Z, _X)
    corner_b = np.where(z_for_y[:, None], _Z, _Y)
    both = corner_a + corner_b
    omitted = 1 - both
    first = np.where((b > a)[:, None], corner_b, corner_a)
    at_origin = ((origin > a) | (origin > b))[:, None]
    return np.where(at_origin, 2 * first - both, both), np.where(at_origin, first, both) - omitted
