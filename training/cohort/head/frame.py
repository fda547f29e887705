"""Points of one head that bone, skin and airways all hang on: computed once from its measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.cohort.head.shape import HeadShape
from training.cohort.implicit import Points, Transform, rotation


@dataclass(frozen=True, slots=True)
class Bleed:
    """A haemorrhage: ``severity`` in (0, 1], ``side`` 1 left or -1 right, ``place`` three numbers in -1 to 1."""

    severity: float
    side: float
    subdural: bool
    place: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """A person's head as it is on one day: the bone of ``shape``, with this day's fat and opening of the jaw.

    ``weight`` is millimetres of fat gained (or lost) under the skin; ``jaw`` degrees of opening;
    ``smile`` millimetres that the corners of the mouth are drawn up; ``swelling`` millimetres under the left and right
    cheek; ``sinusitis`` the share of the left and right maxillary sinus that is full; ``down`` where that runs to.
    """

    shape: HeadShape
    weight: float = 0.0
    jaw: float = 0.0
    smile: float = 0.0
    swelling: tuple[float, float] = (0.0, 0.0)
    sinusitis: tuple[float, float] = (0.0, 0.0)
    down: tuple[float, float, float] = (0.0, 1.0, 0.0)
    bleed: Bleed | None = None

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

    @property
    def nose_floor(self) -> float:
        """Height of the middle of the lower nasal passage."""
        return self.shape.nasion_z - self.shape.nose_length + 9.0

    @property
    def fillings(self) -> tuple[int, ...]:
        return tuple(n for n in self.shape.fillings if self.shape.teeth[n] > 0.0)

    @property
    def sella_y(self) -> float:
        """Middle of the Turkish saddle."""
        return self.front + 75.0

    @property
    def sella_z(self) -> float:
        """Middle of the gland that lies in the saddle."""
        return self.shape.detail.sella_height

    def arch(self, z: float, grow: float = 0.0) -> list[tuple[float, float, float]]:
        """The dental arch from right to left at height ``z``, ``grow`` millimetres wider than the teeth's middle."""
        w, y = self.shape.palate_width + grow, self.incisor + 3.0 - grow
        half = [(w, y + 40.0), (w * 1.0, y + 27.0), (w * 0.93, y + 16.0), (w * 0.70, y + 6.5), (w * 0.36, y + 1.2)]
        return [(-x, v, z) for x, v in half] + [(0.0, y, z)] + [(x, v, z) for x, v in reversed(half)]

    def lips(self) -> list[tuple[float, float, float]]:
        """The ring muscle of the mouth, from right to left."""
        w, y, z = self.shape.mouth_width / 2, self.incisor - 2.0 - 0.4 * self.fat, self.bite
        return [(-w, y + 10, z), (-0.5 * w, y + 2.5, z), (0, y, z), (0.5 * w, y + 2.5, z), (w, y + 10, z)]

    def teeth(self) -> Iterator[tuple[int, tuple[float, float, float], tuple[float, float, float], float]]:
        """Number (0 to 15 above, 16 to 31 below), crown, root and half width of every tooth that stands."""
        places = self.tooth_places()
        for number, size in enumerate(self.shape.teeth):
            if size == 0.0:
                continue
            n, sign = number % 16, 1.0 if number < 16 else -1.0
            x, y = (float(v) for v in places[n])
            wide = (4.6 if n in (0, 1, 2, 13, 14, 15) else 3.5) * size
            yield (
                number,
                (x, y, self.bite + sign * (1.0 + wide * 0.5)),
                (x * 0.97, y + 1.5, self.bite + sign * 18.0),
                wide,
            )

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
