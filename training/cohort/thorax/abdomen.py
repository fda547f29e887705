"""What the dome of the diaphragm covers: liver, stomach, spleen, kidneys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.cohort.implicit import Ellipsoid, Field, join, lay
from training.cohort.sampling import Slab
from training.cohort.thorax.frame import Chest

_FAT = -102.0


@dataclass(frozen=True, slots=True)
class Organs:
    """HU of the organs of the upper abdomen."""

    liver: float = 58.0
    spleen: float = 50.0
    kidney: float = 32.0
    stomach: float = 28.0


def lay_abdomen(slab: Slab, chest: Chest, image: Field, cavity: Field, organs: Organs, edge: float) -> None:
    """Fills the abdominal cavity, whose distance is ``cavity``, and its organs."""
    if float(cavity.min()) > edge:
        return
    lay(image, cavity, _FAT, edge)
    for distance, value in _organs(slab, chest, cavity, organs):
        lay(image, distance, value, edge)
    _lay_gas(slab, chest, image, edge)


def _organs(slab: Slab, chest: Chest, cavity: Field, organs: Organs) -> list[tuple[Field, float]]:
    s = chest.shape
    w, d = s.cage_width / 284.0, s.cage_depth / 185.0
    right, left = chest.dome(-1), chest.dome(1)
    middle = float(chest.centre_y(right - 40.0))
    inset = cavity + np.float32(0.4)
    found = []
    liver = _ball(slab, Ellipsoid((-62 * w, middle - 2, right - 88), (76 * w, 88 * d, 104)))
    lobe = _ball(slab, Ellipsoid((-2 * w, middle - 34 * d, right - 42), (68 * w, 40 * d, 34), (0, 12, 0)))
    found.append((np.maximum(join(liver, lobe, 24.0), inset), organs.liver))
    stomach = _ball(slab, stomach_of(chest))
    found.append((np.maximum(stomach, inset), 45.0))
    found.append((np.maximum(stomach, inset) + np.float32(3.5), organs.stomach))
    spleen = _ball(slab, Ellipsoid((96 * w, middle + 40 * d, left - 62), (34 * w, 44 * d, 50), (20, -12, 0)))
    found.append((np.maximum(spleen, inset), organs.spleen))
    for side, top in ((1, left - 84.0), (-1, right - 104.0)):
        kidney = _ball(
            slab, Ellipsoid((side * 54 * w, float(chest.spine_y(top)) + 14, top - 52), (26, 24, 54), (0, side * -8, 0))
        )
        found.append((np.maximum(kidney, inset), organs.kidney))
    return found


def stomach_of(chest: Chest) -> Ellipsoid:
    s = chest.shape
    w, left = s.cage_width / 284.0, chest.dome(1)
    middle = float(chest.centre_y(left - 40.0))
    return Ellipsoid((50 * w, middle - 8, left - 50), (40 * w, 42, 46), (14, 18, 0))


def _lay_gas(slab: Slab, chest: Chest, image: Field, edge: float) -> None:
    """Gas above what the stomach holds: to the dome when upright, to the front when lying."""
    full = chest.gas * chest.shape.stomach_bubble / 21.0
    if full < 0.15:
        return
    whole = stomach_of(chest)
    bag = _ball(slab, Ellipsoid(whole.centre, tuple(r - 4.0 for r in whole.radii), whole.turn))
    if chest.supine:
        level = whole.centre[1] + whole.radii[1] * (0.35 - 1.1 * (1.0 - min(full, 1.4) / 1.4))
        bag = np.maximum(bag, slab.points.y - np.float32(level))
    else:
        level = whole.centre[2] + whole.radii[2] * (1.0 - 0.62 * min(full, 1.6))
        bag = np.maximum(bag, np.float32(level) - slab.points.z)
    lay(image, bag, -990.0, edge)


def _ball(slab: Slab, shape: Ellipsoid) -> Field:
    d = slab.full(1e3)
    window = slab.window(shape, 30.0)
    if window is not None:
        d[window] = shape.distance(slab.points.at(window))
    return d


ORGANS: Mapping[str, Organs] = {
    "none": Organs(),
    "arterial": Organs(liver=72.0, spleen=115.0, kidney=120.0),
    "delayed": Organs(liver=88.0, spleen=92.0, kidney=130.0),
    "venous": Organs(liver=112.0, spleen=120.0, kidney=170.0),
}
