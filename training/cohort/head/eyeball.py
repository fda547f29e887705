"""Eyes seen through the gap between the lids: white, iris, pupil, lashes and the light on the cornea."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.head.frame import Head
from training.cohort.head.look import Look

Array = NDArray[np.float64]

_RADIUS = 12.9  # mm of the globe
_IRIS, _PUPIL = 5.9, 1.9
_HALF_GAP = 14.2  # mm from the middle of the gap to each corner
_UPPER, _LOWER = 5.2, 3.9  # mm that the lids stand open
_WHITE = np.array([0.60, 0.56, 0.52])
_CORNER = np.array([0.62, 0.34, 0.30])


@dataclass(frozen=True, slots=True)
class Eyes:
    """``centres`` (2, 3) left and right; ``gaze`` (2, 3) unit vectors; ``open`` (upper, lower) mm."""

    centres: Array
    gaze: Array
    open: tuple[float, float]
    slant: float
    look: Look

    @classmethod
    def of(cls, head: Head, look: Look, lids: float, gaze: Array, camera: Array | None) -> Eyes:
        """``lids`` is how wide they are open (1 is usual), ``gaze`` radians aside and up of straight at ``camera``."""
        ex, ey, ez = head.eye
        centres = np.array([[ex, ey + 0.6, ez], [-ex, ey + 0.6, ez]])
        ahead = np.array([[0.0, -1.0, 0.0]] * 2) if camera is None else camera - centres
        ahead = ahead + np.linalg.norm(ahead, axis=1, keepdims=True) * np.array([np.tan(gaze[0]), 0.0, np.tan(gaze[1])])
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        wide = 1.0 - 0.03 * max(0.0, head.shape.lid_fullness) - 0.18 * look.wrinkles
        return cls(centres, ahead, (_UPPER * lids * wide, _LOWER), 0.035 * head.shape.orbit_slant, look)

    def lay(self, image: Array, points: Array, rays: Array, light: Array, lit: tuple[Array, Array]) -> None:
        """Replaces the colour (n, 3) of skin points (n, 3) that lie in the gap; ``lit`` is (ambient, main light)."""
        for centre, gaze, side in zip(self.centres, self.gaze, (1.0, -1.0), strict=True):
            u = side * (points[:, 0] - centre[0]) / _HALF_GAP
            front = (points[:, 1] < centre[1] - 4.0) & (np.abs(u) < 1.25)
            w = points[:, 2] - centre[2] + 0.5 - self.slant * _HALF_GAP * u
            round_ = np.sqrt(np.clip(1 - u * u, 0, 1))
            upper, lower = self.open[0] * round_ * (1 - 0.12 * u), -self.open[1] * round_ * (1 - 0.25 * (u + 0.2))
            self._lashes(image, front & (np.abs(u) < 1.0), w, upper, lower, u)
            seen = np.flatnonzero(front & (np.abs(u) < 1.0) & (w < upper) & (w > lower))
            if len(seen):
                edge = np.minimum(upper[seen] - w[seen], 6.0), w[seen] - lower[seen]
                image[seen] = self._globe(points[seen], rays[seen], light, centre, gaze, u[seen], edge,
                                          (lit[0][seen], lit[1][seen]))  # fmt: skip

    def _lashes(self, image: Array, front: NDArray[np.bool_], w: Array, upper: Array, lower: Array, u: Array) -> None:
        dark = np.exp(-(((w - upper - 0.3) / 0.75) ** 2)) * 0.75 + np.exp(-(((w - lower + 0.3) / 0.5) ** 2)) * 0.35
        crease = np.exp(-(((w - upper - 3.4 + 0.6 * self.look.lids) / 0.8) ** 2)) * 0.28 * (np.abs(u) < 0.95)
        image *= 1.0 - (np.clip(dark + crease, 0, 0.85) * front)[:, None]

    def _globe(
        self,
        points: Array,
        rays: Array,
        light: Array,
        centre: Array,
        gaze: Array,
        u: Array,
        edge: tuple[Array, Array],
        lit: tuple[Array, Array],
    ) -> Array:
        back = points - 6.0 * rays - centre
        along = np.sum(back * rays, axis=1)
        reach = -along - np.sqrt(np.maximum(along**2 - np.sum(back**2, axis=1) + _RADIUS**2, 0))
        normal = (back + reach[:, None] * rays) / _RADIUS
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        angle = np.arccos(np.clip(normal @ gaze, -1, 1)) * _RADIUS
        iris = np.clip((_IRIS - angle) / 0.6 + 0.5, 0, 1)[:, None]
        pupil = np.clip((_PUPIL - angle) / 0.4 + 0.5, 0, 1)[:, None]
        around = np.arctan2(normal[:, 2] - gaze[2], normal[:, 0] - gaze[0])
        fibres = 1.0 + 0.22 * np.sin(around * 23 + self.look.grain % 9) * np.sin(around * 9 + 1.3)
        ring = 1.0 - 0.65 * np.exp(-(((angle - _IRIS) / 0.8) ** 2)) + 0.35 * np.exp(-(((angle - 2.6) / 1.0) ** 2))
        tint = np.asarray(self.look.iris)[None] * (fibres * ring)[:, None]
        white = np.broadcast_to(_WHITE, tint.shape) * (1 - 0.25 * np.abs(u)[:, None] ** 2)
        red = np.clip((-u - 0.80) / 0.12, 0, 1)[:, None]
        white = white * (1 - red) + _CORNER * red
        surface = (white * (1 - iris) + tint * iris) * (1 - pupil) + 0.01 * pupil
        # The upper lid shades what lies under it.
        shade = 0.45 + 0.55 * np.clip(edge[0] / 3.2, 0, 1)
        shade *= 0.8 + 0.2 * np.clip(edge[1] / 1.0, 0, 1)
        level = lit[0] + lit[1] * np.clip(0.25 + 0.75 * (normal @ light), 0, 1)
        half = light - rays
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        spark = np.clip((np.sum(normal * half, axis=1) - 0.982) / 0.008, 0, 1) * np.clip(lit[1], 0.15, 1)
        result: Array = surface * (level * shade)[:, None] + 0.8 * spark[:, None]
        return result
