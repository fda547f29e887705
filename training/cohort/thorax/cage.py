"""Curves and surfaces of one chest on one day that bones, lungs and skin all hang on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.thorax.shape import ThoraxShape

_WIDEST = -40.0
Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Chest:
    """The anatomy of ``shape``, breathing. ``breath`` is 1 at full inspiration; ``weight`` is mm of fat gained.

    ``effusion`` is mm of fluid in the left (above 0) or right angle, ``gas`` how full of it the stomach is.
    """

    shape: ThoraxShape
    breath: float = 1.0
    weight: float = 0.0
    effusion: float = 0.0
    gas: float = 1.0
    arms_down: bool = False

    @property
    def pitch(self) -> float:
        """Height of a vertebra with its disc."""
        return self.shape.cage_height / 12.4

    def vertebra_z(self, number: float) -> float:
        """Height of thoracic vertebra ``number`` (1 to 12; 0 and less are cervical, 13 and more lumbar)."""
        return (8.0 - number) * self.pitch

    def spine_x(self, z: Array | float) -> Array:
        s = self.shape
        return np.asarray(s.scoliosis * np.cos((np.asarray(z) - s.scoliosis_height) * (np.pi / 240.0)))

    def spine_y(self, z: Array | float) -> Array:
        return np.asarray(-self.shape.kyphosis * ((np.asarray(z) - 10.0) / 150.0) ** 2)

    def _narrowing(self, z: Array | float) -> Array:
        top = 0.735 * self.shape.cage_height * (self.shape.cage_taper / 0.57) ** 0.5
        up = np.clip((np.asarray(z) - _WIDEST) / top, -0.35, 0.985)
        return np.asarray(np.sqrt(1.0 - up * up))

    def half_width(self, z: Array | float) -> Array:
        return (0.5 * self.shape.cage_width - 3.0 * (1.0 - self.breath)) * self._narrowing(z)

    def half_depth(self, z: Array | float) -> Array:
        deep = 0.5 * self.shape.cage_depth - 6.0 * (1.0 - self.breath)
        return deep * (0.42 + 0.58 * self._narrowing(z))

    def centre_y(self, z: Array | float) -> Array:
        return self.spine_y(z) + 33.0 - self.half_depth(z)

    def front_y(self, z: float) -> float:
        return float(self.centre_y(z) - self.half_depth(z))

    def dome(self, side: int) -> float:
        """Height of the top of the diaphragm; ``side`` is 1 for the left."""
        lift = 34.0 * (1.0 - self.breath)
        return self.shape.dome_right + lift - (self.shape.dome_difference if side > 0 else 0.0)
