"""Curves and surfaces of one chest on one day that bones, lungs, heart and skin all hang on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from training.cohort.thorax.findings import Findings
from training.cohort.thorax.shape import ThoraxShape

Array = NDArray[np.floating]
Point = tuple[float, float, float]
# Where the arms are: beside the trunk with the shoulders rolled forward (an upright film), beside the trunk lying down
# (a film in bed), or over the head (a CT, a lateral film).
Arms = Literal["forward", "down", "up"]

# The cage's outline over its height, as shares of the greatest half width and of the greatest depth.
_LEVEL = np.array([-320.0, -260, -200, -150, -100, -60, -20, 20, 60, 90, 115, 135, 150, 162, 172, 182])
_WIDE = np.array([0.93, 0.93, 0.945, 0.965, 0.99, 1, 0.99, 0.955, 0.885, 0.79, 0.675, 0.555, 0.45, 0.36, 0.28, 0.2])
_DEEP = np.array([0.9, 0.91, 0.94, 0.97, 1, 1, 0.975, 0.92, 0.83, 0.735, 0.63, 0.54, 0.46, 0.4, 0.36, 0.34])
_WIDTH_OF, _DEPTH_OF = PchipInterpolator(_LEVEL, _WIDE), PchipInterpolator(_LEVEL, _DEEP)
_USUAL_HEIGHT = 286.0
# How much rounder than an ellipse the cage is: x^2 + y^2 - ROUND x^2 y^2 = 1.
ROUND = 0.36


@dataclass(frozen=True, slots=True)
class Chest:
    """The anatomy of ``shape``, breathing. ``breath`` is 1 at full inspiration; ``weight`` is mm of fat gained.

    ``gas`` is how full of it the stomach is. The frame is that of :mod:`training.cohort.thorax.shape`.
    """

    shape: ThoraxShape
    breath: float = 1.0
    weight: float = 0.0
    arms: Arms = "forward"
    supine: bool = False
    gas: float = 1.0
    findings: Findings = field(default_factory=Findings)

    @property
    def scale(self) -> float:
        """How tall this chest is."""
        return self.shape.cage_height / _USUAL_HEIGHT

    @property
    def pitch(self) -> float:
        """Height of the seventh vertebra with its disc."""
        return self.shape.cage_height / 12.4

    @property
    def fat(self) -> float:
        """Millimetres of fat under the skin."""
        return max(2.0, self.shape.fat + self.weight)

    def vertebra_z(self, number: float) -> float:
        """Height of thoracic vertebra ``number`` (1 to 12; 0 and less are cervical, 13 and more lumbar)."""
        grown = 0.011 * ((max(number, -1.0) - 6.5) ** 2 - 2.25)
        return -self.pitch * (number - 8.0 + grown)

    def spine_x(self, z: Array | float) -> Array:
        s = self.shape
        return np.asarray(s.scoliosis * np.cos((np.asarray(z) - s.scoliosis_height) * (np.pi / 240.0)))

    def spine_y(self, z: Array | float) -> Array:
        """y of the vertebral bodies' middle: the kyphosis, and the lordosis of neck and loin that follow it."""
        t = np.clip((np.asarray(z, float) - 10.0 * self.scale) / (150.0 * self.scale), -1.6, 1.6)
        bend = t * t - 0.12 * t**4
        flat = 0.9 if self.supine else 1.0
        return np.asarray(-self.shape.kyphosis * flat * bend - (4.0 * t if self.supine else 7.0 * t))

    def half_width(self, z: Array | float) -> Array:
        share = _WIDTH_OF(np.clip(np.asarray(z, float) / self.scale, _LEVEL[0], _LEVEL[-1]))
        wide = 0.5 * self.shape.cage_width - 3.5 * (1.0 - self.breath) + (2.0 if self.supine else 0.0)
        return np.asarray(wide * share ** (0.57 / self.shape.cage_taper))

    def half_depth(self, z: Array | float) -> Array:
        share = _DEPTH_OF(np.clip(np.asarray(z, float) / self.scale, _LEVEL[0], _LEVEL[-1]))
        deep = self.shape.cage_depth - 11.0 * (1.0 - self.breath) - (6.0 if self.supine else 0.0)
        return np.asarray(0.5 * deep * share)

    def back_y(self, z: Array | float) -> Array:
        return np.asarray(self.spine_y(z) + 34.0)

    def centre_y(self, z: Array | float) -> Array:
        return np.asarray(self.back_y(z) - self.half_depth(z))

    def front_y(self, z: float) -> float:
        return float(self.centre_y(z) - self.half_depth(z))

    def wall(self, angle: Array, z: Array) -> tuple[Array, Array]:
        """x and y of the cage (middle of the ribs) on the left; ``angle`` is 0 behind and pi in front."""
        sine, cosine = np.sin(angle), np.cos(angle)
        both = np.maximum(ROUND * sine * sine * cosine * cosine, 1e-9)
        reach = np.sqrt((1.0 - np.sqrt(1.0 - 4.0 * both)) / (2.0 * both))
        return self.half_width(z) * reach * sine, self.centre_y(z) + self.half_depth(z) * reach * cosine

    def dome(self, side: int) -> float:
        """Height of the top of the diaphragm; ``side`` is 1 for the left."""
        lift = (38.0 if self.supine else 34.0) * (1.0 - self.breath) + (10.0 if self.supine else 0.0)
        low = 14.0 * self.findings.emphysema
        return self.shape.dome_right + lift - low - (self.shape.dome_difference if side > 0 else 0.0)

    def diaphragm(self, side: Array | int, across: Array | float, back: Array | float) -> Array:
        """Height of the diaphragm at a place given in half widths and half depths of the cage.

        A dome on each side that dips to the heart, falls away to the ribs and, furthest, to the back.
        """
        s = self.shape
        left = np.asarray(side) > 0
        top = np.where(left, np.float32(self.dome(1)), np.float32(self.dome(-1)))
        curve = np.where(left, np.float32(s.dome_curve_left), np.float32(s.dome_curve_right))
        curve = curve * np.float32(1.0 - 0.45 * self.findings.emphysema)
        out = (np.asarray(across, np.float32) - np.float32(0.5)) * np.float32(1.7)
        out = np.where(out < 0, out * np.float32(0.6), out)
        behind = np.maximum(np.asarray(back, np.float32) + np.float32(0.2), 0)
        before = np.maximum(np.float32(-0.4) - np.asarray(back, np.float32), 0)
        edge = np.square(np.asarray(across, np.float32)) + np.square(np.asarray(back, np.float32))
        edge = np.square(np.maximum(edge - np.float32(0.45), 0))
        return np.asarray(
            top
            - curve * out * out
            - np.float32(42.0) * behind * behind
            - np.float32(40.0) * before * before
            - np.float32(60.0) * edge
        )

    def lung_point(self, side: int, across: Array | float, back: Array | float, up: Array | float) -> Array:
        """(..., 3) a place in a lung that moves with the breath.

        ``across`` is 0 at the midline and 1 at the ribs, ``back`` -1 in front and 1 behind, ``up`` 0 at the diaphragm
        and 1 at the apex.
        """
        low = self.diaphragm(side, across, back)
        z = np.asarray(low + np.asarray(up) * (self.shape.apex_height - 4.0 - low), float)
        x = side * np.asarray(across) * (self.half_width(z) - 7.0) + 0.4 * self.spine_x(z)
        y = self.centre_y(z) + np.asarray(back) * (self.half_depth(z) - 7.0)
        return np.stack(np.broadcast_arrays(x, y, z), axis=-1)
