"""The wall of the trunk: skin, fat, muscle, breasts, shoulders and neck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.cohort.implicit import Chain, Ellipsoid, Field, Shape, join, step
from training.cohort.sampling import Slab, mirrored
from training.cohort.thorax.frame import ROUND, Chest
from training.cohort.thorax.girdle import elbow_of, scapula_points, shoulder_joint

_LEVEL_STEP = 0.25


class Cage:
    """Where the points of a slab lie in the cage, computed once for everything that follows its outline.

    ``distance`` is to the middle of the ribs, mm; ``across`` and ``back`` are shares of half width and half depth;
    ``wide`` and ``deep`` are those half widths and depths.
    """

    __slots__ = ("across", "back", "deep", "distance", "wide")

    def __init__(self, slab: Slab, chest: Chest) -> None:
        p = slab.points
        # Levels stand at multiples of the step, so that no value depends on how a volume is cut into slabs.
        first, last = (int(np.rint(float(z) / _LEVEL_STEP)) for z in (p.z.min(), p.z.max()))
        line = np.arange(first, last + 1) * _LEVEL_STEP
        index = np.rint(p.z * np.float32(1.0 / _LEVEL_STEP)).astype(np.int32)
        index -= first

        def at(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Field:
            found: Field = values.astype(np.float32)[index]
            return found

        self.wide, self.deep = at(chest.half_width(line)), at(chest.half_depth(line))
        self.across = p.x - at(0.4 * chest.spine_x(line))
        self.across /= self.wide
        self.back = p.y - at(chest.centre_y(line))
        self.back /= self.deep
        xx, yy = np.square(self.across), np.square(self.back)
        reach = xx + yy
        np.clip(xx * yy, 0, 1, out=xx)
        reach -= np.float32(ROUND) * xx
        np.sqrt(np.maximum(reach, 0, out=reach), out=reach)
        reach -= np.float32(1.0)
        reach *= np.minimum(self.wide, self.deep)
        self.distance: Field = reach


def muscle(slab: Slab, chest: Chest, cage: Cage, bulks: Sequence[tuple[Shape, float]]) -> Field:
    """Distance to the outside of the muscles; ``bulks`` are those of :func:`muscle_bulks`."""
    s, p = chest.shape, slab.points
    thick = np.float32(0.055 * s.muscle)
    far = np.abs(cage.across)
    front = step(-cage.back, 0.45, 0.7)
    upper = step(p.z, 25.0 * chest.scale, 90.0)
    # Pectorals in front and above, latissimus at the side and behind, abdominal wall below.
    depth = np.float32(6.5) + thick * np.float32(13.0) * front * upper * step(far, 0.3, 0.4)
    depth += thick * np.float32(8.0) * step(far, 0.72, 0.3) * (np.float32(1.0) - front)
    depth += np.float32(3.0) * step(cage.back, 0.5, 0.5)
    d = cage.distance - depth
    for shape, blend in bulks:
        slab.unite(d, shape, blend=blend)
    return d


def muscle_bulks(chest: Chest) -> list[tuple[Shape, float]]:
    """Muscles that stand out from the cage, and how softly each joins the rest: back, shoulders, arms and neck."""
    levels = (150.0, 90.0, 30.0, -40.0, -120.0, -220.0, -320.0)
    back = [(float(chest.spine_x(z)), float(chest.back_y(z)) - 1.0, z) for z in levels]
    width = 15.0 + 0.35 * chest.shape.muscle
    erectors: list[tuple[Shape, float]] = [
        (Chain([(x + k * 22.0, y, z) for x, y, z in back], width), 14.0) for k in (-1.0, 1.0)
    ]
    return erectors + _shoulders(chest)


def _shoulders(chest: Chest) -> list[tuple[Shape, float]]:
    s = chest.shape
    top = s.clavicle_height
    shapes: list[tuple[Shape, float]] = []
    bulk = 0.6 * s.muscle
    for side in (1, -1):
        joint, p = shoulder_joint(chest, side), scapula_points(chest, side)
        # Deltoid, and the blade in its muscles.
        shapes.append((Ellipsoid(tuple(joint), (36 + bulk, 36 + bulk, 38 + bulk)), 22.0))
        blade = [p["top"] + [0, -6, 0], p["root"] + [side * 14, -10, 0], p["low"] + [side * 4, -8, 8]]
        shapes.append((Chain([tuple(v) for v in blade], [14.0, 15.0, 12.0]), 22.0))
        shapes.append(
            (Chain([tuple(p["root"] + [side * 20, -8, 0]), tuple(p["socket"] - [side * 14, 0, 8])], [15, 22]), 22.0)
        )
        girdle = [(side * 14.0, -10 + float(chest.spine_y(top)), top + 52), (side * 66.0, -2.0, top + 24)]
        girdle.append((float(joint[0] - side * 24), float(joint[1]), float(joint[2] + 12)))
        shapes.append((Chain(girdle, [0.55 * s.neck_width, 25 + 0.3 * bulk, 24 + 0.5 * bulk]), 24.0))
        # Pectoral fold to the arm, and the arm itself.
        fold = [
            (side * 60.0, chest.front_y(52) + 8.0, 52.0),
            (float(joint[0] - side * 14), float(joint[1] - 22), float(joint[2] - 12)),
        ]
        shapes.append((Chain(fold, [12.0, 17.0 + 0.3 * bulk]), 24.0))
        arm = [tuple(joint), tuple(elbow_of(chest, side))]
        shapes.append((Chain(arm, [33 + bulk, 29 + 0.8 * bulk]), 16.0))
        side_wall = [tuple(p["low"] + [side * 10, -22, 0]), tuple(joint + np.array([-side * 14, 12, -32]))]
        shapes.append((Chain(side_wall, [12.0, 20.0 + 0.4 * bulk]), 24.0))
    neck = [(0.0, float(chest.spine_y(top)) - 14, top - 20), (0.0, float(chest.spine_y(210)) - 14, top + 230)]
    shapes.append((Chain(neck, s.neck_width), 22.0))
    return shapes


def skin(slab: Slab, chest: Chest, muscles: Field) -> tuple[Field, Field | None]:
    """Distances to the skin and, for breasts, to what in them is not skin."""
    s = chest.shape
    d = muscles - np.float32(chest.fat)
    size = s.breast + 1.6 * chest.weight
    if s.breast <= 12.0 or size <= 14.0:
        return d, None
    breasts = slab.full(1e3)
    for shape in mirrored(_left_breast(chest, size)):
        slab.unite(breasts, shape, blend=4.0)
    near = breasts < np.float32(60.0)
    if near.any():
        d = join(d, breasts, 26.0)
    return d, breasts


def _left_breast(chest: Chest, size: float) -> Ellipsoid:
    """Lying down they flatten and move outwards and up; standing they hang."""
    s = chest.shape
    z = s.breast_height + (16.0 if chest.supine else 0.0)
    apart = s.breast_apart + (0.20 * size if chest.supine else 0.0)
    # They stand on the pectoral muscle and its fat.
    wall = 6.0 + 0.3 * s.muscle + 0.6 * chest.fat
    forward = (0.30 if chest.supine else 0.16) * size - wall
    radii = (1.12 * size, 0.5 * size, 1.1 * size) if chest.supine else (1.0 * size, 0.72 * size, 1.0 * size)
    place = (apart, chest.front_y(z) + forward, z + (0.0 if chest.supine else -0.10 * size))
    return Ellipsoid(place, radii, (0.0 if chest.supine else -16.0, 0.0, 20.0))


def glands(chest: Chest) -> tuple[Shape, ...]:
    """The denser part of each breast."""
    s = chest.shape
    size = 0.62 * (s.breast + 0.4 * chest.weight) * (0.75 + 0.5 * s.gland)
    if s.breast <= 12.0 or size <= 10.0:
        return ()
    outer = _left_breast(chest, s.breast + 1.6 * chest.weight)
    x, y, z = outer.centre
    radii = tuple(r * size / max(outer.radii[0], 1.0) for r in outer.radii)
    return mirrored(Ellipsoid((x + 0.06 * size, y - 0.25 * outer.radii[1], z), radii, outer.turn))
