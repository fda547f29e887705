"""The bones of the head: braincase, face, jaw, neck."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.implicit import Chain, Ellipsoid, Field, Points, Shape, join, step
from training.cohort.sampling import Slab, both, mirrored

_BASE = 7.0
_STEP = 16.0  # mm: half of what the floor rises at once


def vault(slab: Slab, head: Head) -> Field:
    """Distance to the outside of the braincase, also used under the scalp."""
    s, a, b = head.shape, head.half_length, head.half_breadth
    y, z = s.vault_centre_y, head.vault_centre_z
    d = slab.full(1e3)
    window = slab.window(Ellipsoid((0, y, z), (b, a, head.half_height)), 24.0)
    if window is None:
        return d
    p = slab.points.at(window)
    part = Ellipsoid((0, y, z), (b - 2, a - 2, head.half_height)).distance(p)
    lobes = [
        Ellipsoid((0, y - 0.40 * a, s.forehead_height), (0.80 * b, 0.60 * a - 1 + s.forehead_bulge, 50)),
        Ellipsoid((0, y + 0.45 * a, s.occiput_height), (0.80 * b, 0.55 * a - 1 + s.occiput_bulge, 46)),
        *both(lambda side: Ellipsoid((side * 0.35 * b, y + 0.2 * a, 54), (0.64 * b + s.parietal_bulge, 0.55 * a, 52))),
    ]
    for lobe in lobes:
        part = join(part, lobe.distance(p), 12.0)
    d[window] = part
    return d


def skull_floor(p: Points, ahead: float = 0.0) -> tuple[Field, Field]:
    """Height of the floor of the three cranial fossae, which step down from front to back ``ahead`` mm earlier.

    The second field is how much a height above the floor exceeds the distance to it: much where the floor is steep.
    """
    far: Field = np.sqrt(np.square(p.x) + np.float32(36.0))
    # The petrous ridges run outwards and back, the sphenoid wings outwards and forward.
    behind, steep = _rise(p.y - np.float32(0.40) * far, -9.0 - ahead, 22.0)
    before, steeper = _rise(p.y + np.float32(0.52) * far, -24.0 - ahead, 12.0)
    floor = np.float32(26.0) - np.float32(29.0) * behind - np.float32(31.0) * before
    side = np.minimum(far * np.float32(1 / 45.0), np.float32(1.0))
    floor += np.float32(6.0) * side * side
    # Bowls: the posterior fossa rises again towards the back.
    back = np.maximum(p.y - np.float32(36.0), 0)
    floor += np.float32(0.011) * back * back
    slope = np.square(np.float32(31.0) * steep) + np.square(np.float32(35.0) * steeper)
    return np.asarray(floor), np.sqrt(slope + np.float32(1.0))


def _rise(values: Field, centre: float, width: float) -> tuple[Field, Field]:
    """A smooth step from 0 to 1 and its slope."""
    t = (values - np.float32(centre)) * np.float32(1.0 / width) + np.float32(0.5)
    np.clip(t, 0, 1, out=t)
    slope = np.float32(6.0 / width) * t * (np.float32(1.0) - t)
    return t * t * (np.float32(3.0) - np.float32(2.0) * t), slope


def _distance(below: Field, steep: Field) -> Field:
    """From height to distance: by the slope close to the floor, and never off by more than half a step."""
    near = below / steep
    np.minimum(near, below + np.float32(_STEP), out=near)
    np.maximum(near, below - np.float32(_STEP), out=near)
    return near


def braincase(slab: Slab, head: Head, outside: Field) -> tuple[Field, Field]:
    """Distances to the braincase's bone (as a solid) and to its cavity."""
    s, p = head.shape, slab.points
    floor, steep = skull_floor(p)
    lower, steep_below = skull_floor(p, 4.0)
    solid = np.maximum(outside, _distance(np.minimum(floor, lower) - np.float32(_BASE) - p.z, steep_below))
    # Thin over the temples, thick at the back and in front.
    temple = np.abs(p.x) * np.float32(1.0 / head.half_breadth)
    temple *= temple
    temple *= np.float32(1.0) - step(p.z, 45.0, 50.0)
    wall = np.float32(s.wall_thickness) * (np.float32(1.0) - np.float32(s.temporal_thinning) * temple)
    cavity = np.maximum(outside + wall, _distance(floor - p.z, steep))
    ridges = _ridges(head)
    slab.unite(solid, *ridges, blend=4.0)
    slab.carve(cavity, *ridges, blend=4.0)
    slab.carve(cavity, *_orbits(head, 2.0), blend=2.0)
    _shape_saddle(slab, head, solid, cavity)
    slab.carve(solid, Chain([(0, 26, -60), (0, 21, -22)], 14.0, (1.1, 1, 1)), blend=4.0)
    return solid, cavity


def _ridges(head: Head) -> list[Shape]:
    """Bone that stands up from the floor: petrous pyramids, clivus, sphenoid body and wings, crest of the occiput."""
    b, d, f = head.half_breadth, head.shape.detail, head.front
    high, size = d.petrous_height, d.petrous_size
    return [
        *both(
            lambda k: Chain([(k * (b - 12), 17, 0 + high), (k * 38, 2, 3 + high), (k * 13, -11, 1)],
                            [12.0 * size, 10.0 * size, 6.5], (1, 1, 1.1))
        ),
        Chain([(0, f + 81, 13), (0, -2, -12), (0, 5, -27)], [8.0, 7.0, 5.0], (0.62, 1, 1)),
        Ellipsoid((0, f + 66, 9), (17, 17, 13)),
        *both(lambda k: Chain([(k * 10, f + 62, 24), (k * (b - 22), f + 48, 27)], [3.4, 2.6], (1, 1, 0.9))),
        Chain([(0, f + 12, 22), (0, f + 22, 26)], [3.0, 1.5], (1.6, 1, 0.5)),
        Chain([(0, head.shape.vault_centre_y + head.half_length - 9, 10), (0, 46, -33)], [6.0, 2.5], (1.4, 1, 1)),
    ]  # fmt: skip


def _shape_saddle(slab: Slab, head: Head, solid: Field, cavity: Field) -> None:
    """The Turkish saddle between its clinoid processes."""
    d, y, z = head.shape.detail, head.sella_y, head.sella_z
    half = d.sella_length / 2
    bowl = Ellipsoid((0, y, z + 1.0), (8.5, half, d.sella_depth * 0.62))
    slab.carve(solid, bowl, blend=1.5)
    slab.unite(cavity, bowl, blend=1.5)
    back = [(0, y + half + 2.6, z - 6), (0, y + half + 2.0, z - 3 + d.dorsum_height)]
    processes = (
        Chain(back, [3.2, 1.7], (0.26, 1, 1)),
        *both(lambda k: Chain([(k * 9, y - half - 4, z + 5), (k * 10, y - half + 3, z + 6.5)], [2.6, 1.5])),
    )
    slab.unite(solid, *processes, blend=2.0)
    slab.carve(cavity, *processes, blend=1.0)


def _orbits(head: Head, grow: float = 0.0) -> tuple[Shape, Shape]:
    s, f = head.shape, head.front
    ex, _, oz = head.eye
    ow, oh = s.orbit_width, s.orbit_height
    return both(
        lambda k: Chain(
            [(k * (ex + 3), f - 2, oz), (k * ex, f + 20, oz), (k * 15, f + 52, oz + 3)],
            [ow + 2 + grow, ow + grow, 4 + grow],
            (1, 1, ow / oh),
        )
    )


def add_face(slab: Slab, head: Head, bone: Field) -> None:
    """Brow, orbital rims, cheekbones, upper jaw and nasal bones; then the orbits are taken out."""
    s, f, zb = head.shape, head.front, head.zygion
    ex, _, oz = head.eye
    ow, oh, cz, fwd = s.orbit_width, s.orbit_height, s.cheekbone_height, s.cheekbone_forward
    brow, ridge = s.brow_height, s.brow_ridge
    rim = ex + ow + 3.0
    slab.unite(bone, Ellipsoid((0, head.incisor + 29, -17), (30, 29, 25)), blend=8.0)
    slab.unite(bone, Ellipsoid((0, f + 40, 2), (18, 34, 16)), blend=6.0)
    slab.unite(
        bone,
        *both(
            lambda k: Chain(
                [(0, f + 5, brow - 1), (k * 13, f + 4 - ridge, brow), (k * 32, f + 10 - 0.6 * ridge, brow + 4)], 5.0
            )
        ),
        *both(
            lambda k: Chain([(k * 32, f + 10, brow + 4), (k * rim, f + 25, brow - 5), (k * (rim + 1), f + 28, oz)], 4.6)
        ),
        blend=7.0,
    )
    slab.unite(
        bone,
        *both(lambda k: Ellipsoid((k * (zb - 15), f + 31 - fwd, cz), (13, 12, 12))),
        *both(lambda k: Chain([(k * (rim + 1), f + 28, oz), (k * (zb - 13), f + 30 - fwd, cz + 5)], 4.4)),
        *both(
            lambda k: Chain(
                [
                    (k * (zb - 16), f + 28 - fwd, cz + 7),
                    (k * (ex + 2), f + 14 - 0.6 * fwd, oz - oh - 3),
                    (k * 16, f + 11, oz - oh + 4),
                    (k * 9, f + 7 - s.nasion_depth, s.nasion_z - 4),
                ],
                4.4,
            )
        ),
        blend=6.0,
    )
    slab.unite(
        bone,
        *both(
            lambda k: Chain(
                [
                    (k * (zb - 10), f + 36, cz),
                    (k * (zb - 3), f + 54, cz + 2),
                    (k * (zb - 4), f + 70, cz + 5),
                    (k * (zb - 10), -6, 3),
                ],
                [4.0, 3.0, 3.0, 4.0],
                (1, 1, 0.6),
            )
        ),
        blend=3.0,
    )
    slab.carve(bone, *_orbits(head), blend=3.0)
    base = s.nasion_z - s.nose_length
    nasal = (s.nose_deviation * 0.4, f - 0.45 * s.nose_protrusion + 4 - s.nose_hump, s.nasion_z - 0.42 * s.nose_length)
    slab.unite(bone, Chain([(0, f + 6 - s.nasion_depth, s.nasion_z), nasal], [s.nose_bridge_width, 3.2]), blend=3.0)
    aperture = [(s.septum_bow * 0.3, f + 16, s.nasion_z - 0.46 * s.nose_length), (0, f + 16, base + 9)]
    slab.carve(bone, Chain(aperture, [4.0, 0.34 * s.nose_width], (1, 0.32, 1)), blend=2.0)


def add_skull_base(slab: Slab, head: Head, bone: Field) -> None:
    """Mastoids, styloid processes, pterygoid plates, occipital condyles."""
    b, f, size = head.half_breadth, head.front, head.shape.detail.mastoid_size
    slab.unite(
        bone,
        *both(lambda k: Ellipsoid((k * (b - 17), 16, -14 - 3 * size), (10 * size, 13 * size, 19 * size))),
        *both(lambda k: Ellipsoid((k * 14, 12, -29), (6, 10, 5), (0, 0, k * 25))),
        blend=4.0,
    )
    slab.unite(
        bone,
        *both(lambda k: Chain([(k * 16, f + 57, 2), (k * 17, f + 60, -26)], 2.0, (1, 0.3, 1))),
        *both(lambda k: Chain([(k * 12, f + 58, 2), (k * 12, f + 62, -28)], 1.8, (1, 0.4, 1))),
        *both(lambda k: Chain([(k * (b - 23), 2, -12), (k * (b - 27), -4, -38)], [2.6, 1.2])),
        blend=2.0,
    )


def add_jaw(slab: Slab, head: Head, bone: Field) -> None:
    """Upper alveolar ridge and, through the hinge, the mandible."""
    s, bite = head.shape, head.bite
    slab.unite(bone, Chain(head.arch(bite + 16, -1.0), 5.5, (1, 1, 0.6)), blend=5.0)
    slab.carve(bone, Ellipsoid((0, head.incisor + 34, bite + 4), (s.palate_width - 5, 27, 15)), blend=3.0)
    half, gz, gb = s.jaw_width / 2 - 4, s.gonion_height, s.gonion_back
    chin_z, chin_y, cw = s.chin_z + 10, head.chin_y, s.chin_width
    low = [
        (cw * 0.3, chin_y, chin_z),
        (cw + 7, chin_y + 6, chin_z),
        (half * 0.72, head.front + 42, 0.55 * chin_z + 0.45 * gz),
    ]
    body = [*low, (half * 0.98, gb - 10, gz + 8)]
    ramus = [(half, gb, gz + 11), (half + 2, gb + 1, -28), (head.condyle[0], -14, -10)]
    closed = head.hinge()
    thick = 6.0 + s.mandible_depth * 0.4
    mandible = slab.full(1e3)
    slab.unite(mandible, *mirrored(Chain(body, thick, (1, 1, 0.5))), blend=4.0, through=closed)
    slab.unite(mandible, Chain(head.arch(bite - 16, -1.0), 5.0, (1, 1, 0.5)), blend=5.0, through=closed)
    slab.unite(
        mandible,
        *mirrored(Chain(ramus, [4.6, 4.2, 3.6], (1, 0.34, 1))),
        *both(lambda k: Ellipsoid((k * head.condyle[0], -13, -4), (9, 5, 5))),
        *both(lambda k: Chain([(k * (half + 1), gb - 12, -30), (k * (half - 1), gb - 22, -10)], [4, 2.4], (1, 0.5, 1))),
        blend=4.0,
        through=closed,
    )
    np.minimum(bone, mandible, out=bone)


def add_neck(slab: Slab, head: Head, bone: Field) -> None:
    """The cervical spine down to the edge of any usual scan, and the hyoid."""
    lean = head.shape.neck_forward * 0.15
    atlas, axis = 13.0, 13.7 - lean
    ring = [(0, -9.5), (12, -7), (20, 0), (25, 6), (22, 14), (14, 22), (0, 26)]
    slab.unite(
        bone,
        *mirrored(Chain([(x, atlas + 8 + y, -37) for x, y in ring], [3.4, 3.6, 6.5, 5.0, 3.2, 3.0, 3.4])),
        Chain([(0, atlas - 1, -40), (0, axis + 1, -56)], [4.4, 5.6]),
        blend=2.0,
    )
    for n in range(1, 7):
        z, y = -37.0 - 17.0 * n, 13.0 + 0.7 * n - lean * n
        wide = 13.0 + 0.6 * n
        arch = [
            (wide * 0.8, y + 1, z),
            (wide + 5, y + 9, z),
            (wide - 1, y + 19, z - 1),
            (6, y + 27, z - 3),
            (0, y + 30, z - 4),
        ]
        slab.unite(
            bone,
            Chain([(0, y - 2.0, z), (0, y + 2.5, z)], 7.2, (0.56, 1, 0.98)),
            *mirrored(Chain(arch, [3.4, 4.4, 3.4, 2.8, 2.8])),
            Chain([(0, y + 29, z - 4), (0, y + 41 + 1.5 * n, z - 10)], [2.6, 3.2]),
            blend=2.5,
        )
    chin = head.shape.chin_z
    slab.unite(
        bone, *both(lambda k: Chain([(0, -42, chin - 6), (k * 12, -36, chin - 5), (k * 18, -18, chin + 1)], 2.4))
    )
