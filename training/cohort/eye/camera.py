"""Where a fundus camera puts each point of the retina, and what its aperture leaves of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.dials.fundus import FundusVisit, Shot
from training.cohort.eye.shape import EyeShape

Plane = NDArray[np.float32]
Points = NDArray[np.float64]

MM_PER_DEGREE = 0.288  # along the retina of an eye of usual length
# How much of the longer edge the round picture fills.
_FILL = {"ROUND": 0.97, "CUT": 0.98, "WIDE": 1.10, "NOTCH": 0.97}
_HEIGHT = {"ROUND": 1.0, "CUT": 0.86, "WIDE": 0.80, "NOTCH": 1.0}
_WIDE_FIELD = 1.55
_WIDE_BEND = 0.2


@dataclass(frozen=True, slots=True)
class Camera:
    """``shape`` is (rows, columns); ``radius`` pixels of the round picture; ``scale`` pixels to the millimetre.

    ``centre`` is what it looks at, in the eye's frame. The nose is on the right of a right eye's picture and on the
    left of a left eye's.
    """

    side: str
    shape: tuple[int, int]
    radius: float
    scale: float
    centre: tuple[float, float]
    torsion: float
    bend: float
    aperture: str

    @staticmethod
    def of(eye: EyeShape, view: str, when: FundusVisit, shot: Shot) -> Camera:
        rows = int(when.matrix * _HEIGHT[when.aperture]) // 2 * 2
        radius = when.matrix * _FILL[when.aperture] / 2
        field = when.field * (_WIDE_FIELD if shot.wide else 1.0)
        reach = 0.5 * field * MM_PER_DEGREE / shot.magnification
        target = eye.disc if view == "DISC" else (0.0, 0.0)
        return Camera(
            side=eye.side,
            shape=(rows, when.matrix),
            radius=radius,
            scale=radius / reach,
            centre=(target[0] + shot.shift[0], target[1] + shot.shift[1]),
            torsion=shot.torsion,
            bend=when.bend + (_WIDE_BEND if shot.wide else 0.0),
            aperture=when.aperture,
        )

    @property
    def middle(self) -> tuple[float, float]:
        """(column, row) of the optical axis."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    def _turn(self) -> Points:
        """Eye's frame to picture's (x right, y down), without scale."""
        a = np.radians(self.torsion)
        flip = np.diag([1.0 if self.side == "R" else -1.0, -1.0])
        return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ flip

    def pixels(self, points: Points) -> Points:
        """(n, 2) millimetres in the eye's frame to (column, row)."""
        v = (points - np.asarray(self.centre)) @ self._turn().T * self.scale
        far = np.square(v / self.radius).sum(axis=1, keepdims=True)
        return np.asarray(v * (1 - self.bend * np.minimum(far, 1.6)) / (1 - self.bend) + np.asarray(self.middle))

    def retina(self, step: int = 1) -> tuple[Plane, Plane]:
        """x and y in the eye's frame of every ``step``-th pixel, millimetres: the inverse of :meth:`pixels`."""
        rows, columns = self.shape
        u = (np.arange(0, columns, step, dtype=np.float32)[None, :] - np.float32(self.middle[0])) / self.radius
        v = (np.arange(0, rows, step, dtype=np.float32)[:, None] - np.float32(self.middle[1])) / self.radius
        u, v = np.broadcast_arrays(u, v)
        grow = np.ones(u.shape, np.float32)
        near = (u * u + v * v).astype(np.float32)
        bend = np.float32(self.bend)
        for _ in range(4):
            grow = (1 - bend) / (1 - bend * np.minimum(near * grow * grow, 1.6))
        back = self._turn().T / self.scale * self.radius
        x = grow * (np.float32(back[0, 0]) * u + np.float32(back[0, 1]) * v) + np.float32(self.centre[0])
        y = grow * (np.float32(back[1, 0]) * u + np.float32(back[1, 1]) * v) + np.float32(self.centre[1])
        return x.astype(np.float32), y.astype(np.float32)

    def off_axis(self) -> Plane:
        """Distance of each pixel from the optical axis, 1 at the edge of the round picture."""
        rows, columns = self.shape
        u = (np.arange(columns, dtype=np.float32)[None, :] - np.float32(self.middle[0])) / np.float32(self.radius)
        v = (np.arange(rows, dtype=np.float32)[:, None] - np.float32(self.middle[1])) / np.float32(self.radius)
        return np.asarray(np.sqrt(u * u + v * v), dtype=np.float32)

    def window(self, off_axis: Plane) -> Plane:
        """How much of each pixel the aperture leaves, 0 to 1."""
        window = np.clip((1 - off_axis) * np.float32(self.radius) + np.float32(0.5), 0, 1)
        if self.aperture == "NOTCH":
            column, row = self.middle
            rows, columns = np.ogrid[: self.shape[0], : self.shape[1]]
            away = np.hypot(columns - (column + 0.99 * self.radius), rows - (row - 0.14 * self.radius))
            window = window * np.clip(away - 0.035 * self.radius, 0, 1)
        return np.asarray(window, dtype=np.float32)
