"""A chest sampled without its bones: Hounsfield units of all soft parts, air and fluid."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Ellipsoid, Field, inside, lay
from training.cohort.sampling import Slab
from training.cohort.thorax import lungs
from training.cohort.thorax.abdomen import Organs, lay_abdomen
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.heart import Blood, Heart, heart_field, mediastinal_contents, mediastinum
from training.cohort.thorax.spine import body_size, place
from training.cohort.thorax.wall import Cage, glands, muscle, muscle_bulks, skin

AIR, FAT, MUSCLE, GLAND = -1000.0, -104.0, 52.0, 30.0
_MYOCARDIUM = 48.0


class SoftParts:
    """The soft parts of one chest; ``edge`` is the width in mm over which tissues pass into each other."""

    def __init__(self, chest: Chest, edge: float, blood: Blood | None = None, organs: Organs | None = None) -> None:
        self.chest, self.edge = chest, edge
        self.blood, self.organs = blood or Blood(), organs or Organs()
        heart = Heart(chest)
        self._chambers, self._cavities = tuple(heart.chambers().values()), heart.cavities()
        self._vessels, self._gullet = heart.vessels(), heart.gullet()
        self._windpipe, self._its_wall = heart.windpipe(), heart.windpipe(wall=1.4)
        self._between, self._bulks = mediastinal_contents(chest, heart), muscle_bulks(chest)
        self._glands, self._canal = glands(chest), spinal_canal(chest)

    def lay(self, slab: Slab, image: Field) -> Field:
        """Lays everything over ``image`` (HU, changed in place); returns how much of each point is lung (0 to 1)."""
        chest, edge = self.chest, self.edge
        cage = Cage(slab, chest)
        muscles = muscle(slab, chest, cage, self._bulks)
        surface, breasts = skin(slab, chest, muscles)
        scene = image.copy()
        lay(image, surface, 25.0, edge)
        lay(image, surface + np.float32(1.8), FAT, edge)
        if breasts is not None:
            self._lay_glands(slab, image, np.maximum(breasts, -muscles))
        lay(image, muscles, MUSCLE, edge)
        floor = lungs.floor_of(slab, chest, cage)
        room = lungs.space(slab, chest, cage, floor)
        under = np.maximum(cage.distance + np.float32(9.0), slab.points.z - floor + np.float32(3.0))
        lay_abdomen(slab, chest, image, under.astype(np.float32), self.organs, edge)
        lay(image, room, FAT + 10.0, edge)
        walls = heart_field(slab, self._chambers)
        middle = mediastinum(slab, walls, 2.5 + 0.16 * chest.fat, self._between)
        lung = np.maximum(room, np.float32(0.5) - middle)
        lungs.lay_lungs(slab, chest, image, lung, cage, edge)
        lungs.lay_illness(slab, chest, image, lung, cage, floor, edge)
        share = inside(lung, edge)
        self._lay_heart(slab, image, np.maximum(walls, floor - slab.points.z - np.float32(2.0)))
        lungs.lay_airways(slab, image, self._its_wall, self._windpipe, edge)
        # What any shape pushed through the skin ends there.
        lay(image, -surface, scene, edge)
        return share

    def _lay_glands(self, slab: Slab, image: Field, inner: Field) -> None:
        for gland in self._glands:
            window = slab.window(gland, self.edge)
            if window is not None:
                p = slab.points.at(window)
                d = np.maximum(gland.distance(p), inner[window] + np.float32(5.0))
                # Strands of fat run through it.
                wave = np.sin(
                    p.x * np.float32(0.21) + np.float32(2) * np.sin(p.z * np.float32(0.11) + p.y * np.float32(0.13))
                )
                d += np.float32(4.0) * (wave + np.sin(p.y * np.float32(0.27) - p.z * np.float32(0.19) + wave))
                share = inside(d.astype(np.float32), 9.0) * np.float32(0.35 + 0.6 * self.chest.shape.gland)
                image[window] += share * (np.float32(GLAND) - image[window])

    def _lay_heart(self, slab: Slab, image: Field, walls: Field) -> None:
        edge, blood = self.edge, {"veins": self.blood.veins, "right": self.blood.right, "left": self.blood.left}
        lay(image, walls, _MYOCARDIUM, edge)
        for shape, whose in self._cavities:
            slab.paint(image, shape, value=blood[whose], edge=edge)
        for vessel, whose in self._vessels:
            slab.paint(image, vessel, value=blood[whose], edge=edge)
        slab.paint(image, self._gullet, value=38.0, edge=edge)
        slab.paint(image, *self._canal, value=22.0, edge=edge)


def spinal_canal(chest: Chest) -> tuple[Ellipsoid, ...]:
    """The cord in its fluid, as a row of ovals."""
    found = []
    for number in range(-3, 15):
        x, y, z = place(chest, number)
        deep = body_size(chest, number)[1]
        found.append(Ellipsoid((x, y + deep + 9.0, z), (9.5, 8.0, 1.1 * chest.pitch)))
    return tuple(found)
