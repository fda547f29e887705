"""Scattered points instead of a grid: what a camera sees of an implicit surface, evaluated exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.cohort.implicit import Field, Matrix, Points, Shape
from training.cohort.sampling import Slab, bend


class Cloud(Slab):
    """A slab of one row: (n, 3) points of the anatomy, sorted by height so that a shape touches one stretch of them.

    Fields upon it have the shape (1, 1, n); :meth:`in_order` brings one back to the order the points came in.
    """

    def __init__(self, points: Matrix, warp: Sequence[Sequence[float]]) -> None:
        self._order = np.argsort(points[:, 2], kind="stable")
        x, y, z = (points[self._order, n].astype(np.float32)[None, None] for n in range(3))
        self.shape = (1, 1, len(points))
        self.patient = Points(x, y, z)
        self.points = bend([x, y, z], warp)
        self._z = z[0, 0]

    def window(self, shape: Shape, margin: float) -> tuple[slice, slice, slice] | None:
        low, high = shape.box()
        first, last = np.searchsorted(self._z, [low[2] - margin, high[2] + margin])
        return (slice(0, 1), slice(0, 1), slice(int(first), int(last))) if last > first else None

    def bent(self) -> Points:
        """The points in the frame that shapes are defined in, (n,) each, in the order of the points given."""
        return Points(*(self.in_order(axis) for axis in (self.points.x, self.points.y, self.points.z)))

    def in_order(self, field: Field) -> Field:
        """(n,) of a field, in the order of the points given."""
        result = np.empty(field.size, field.dtype)
        result[self._order] = field[0, 0]
        return result
