"""Points of one head that bone, skin and airways all hang on: computed once from its measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.cohort.head.shape import HeadShape
from training.cohort.implicit import Points, Transform, rotation


@dataclass(frozen=True, slots=True)
class Head:
    """A person's head as it is on one day: the bone of ``shape``, with this day's fat and opening of the jaw.

    ``weight`` is millimetres of fat gained (or lost) under the skin; ``jaw`` degrees of opening;
    ``smile`` millimetres that the corners of the mouth are drawn up; ``swelling`` millimetres under the left and right
    cheek.
    """

    shape: HeadShape
    weight: float = 0.0
    jaw: float = 0.0
    smile: float = 0.0
    swelling: tuple[float, float] = (0.0, 0.0)

    @property
    def half_length(self) -> float:
        return self.shape.vault_length / 2

    @property
    def half_breadth(self) -> float:
        return self.shape.vault_breadth / 2

    @property
    def front(self) -> float:
        """y of the forehead's foremost bone."""
        return self.shape.vault_centre_y - self.half_length

    @property
    def vault_centre_z(self) -> float:
        return 0.38 * self.shape.vault_height

    @property
    def half_height(self) -> float:
        return 0.62 * self.shape.vault_height

    @property
    def eye(self) -> tuple[float, float, float]:
        """Centre of the left globe."""
        s = self.shape
        return s.orbit_distance / 2, self.front + 20.0 + s.eye_depth, self.orbit_z

    @property
    def orbit_z(self) -> float:
        return self.shape.brow_height - self.shape.orbit_height + 2.0

    @property
    def zygion(self) -> float:
        """Half the width across the cheekbones."""
        return self.shape.cheekbone_width / 2

    @property
    def bite(self) -> float:
        """Height of the plane where the teeth meet."""
        return self.shape.nasion_z - 0.62 * self.shape.face_height

    @property
    def incisor(self) -> float:
        """y of the upper incisors' front."""
        return self.front + 6.0 - self.shape.maxilla_forward

    @property
    def fat(self) -> float:
        """Millimetres that fat adds over the lower face."""
        return 0.55 * self.shape.face_fat + self.weight

    @property
    def chin_y(self) -> float:
        return self.front + 15.0 - self.shape.chin_forward

    @property
    def condyle(self) -> tuple[float, float, float]:
        """Left hinge of the jaw."""
        return self.half_breadth - 17.0, -13.0, -4.0

    def arch(self, z: float, grow: float = 0.0) -> list[tuple[float, float, float]]:
        """The dental arch from right to left at height ``z``, ``grow`` millimetres wider than the teeth's middle."""
        w, y = self.shape.palate_width + grow, self.incisor + 3.0 - grow
        half = [(w, y + 40.0), (w * 1.0, y + 27.0), (w * 0.93, y + 16.0), (w * 0.70, y + 6.5), (w * 0.36, y + 1.2)]
        return [(-x, v, z) for x, v in half] + [(0.0, y, z)] + [(x, v, z) for x, v in reversed(half)]

    def hinge(self) -> Transform:
        """Sends points of the opened jaw to where they are when the teeth meet."""
        turn, about = rotation(self.jaw, 0.0, 0.0), self.condyle

        def closed(p: Points) -> Points:
            return p.turned(turn, (0.0, about[1], about[2]))

        return closed

    def tooth_places(self, count: int = 16) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """(count, 2) x and y of the teeth along the arch, from right to left."""
        knots = np.array(self.arch(0.0))[:, :2]
        lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
        at = (np.arange(count) + 0.5) / count * lengths[-1]
        return np.stack([np.interp(at, lengths, knots[:, n]) for n in range(2)], axis=1)
