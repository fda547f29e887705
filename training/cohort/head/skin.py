"""The surface of the head: everything that a face is recognised by."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.implicit import Chain, Ellipsoid, Field, step
from training.cohort.sampling import Slab, both, mirrored


def skin(slab: Slab, head: Head, outside: Field) -> Field:
    """Distance to the skin. ``outside`` is the distance to the braincase."""
    s = head.shape
    d = outside - np.float32(s.scalp_thickness)
    _add_masses(slab, head, d)
    _add_neck(slab, head, d)
    _add_fat(slab, head, d)
    _add_eyes(slab, head, d)
    _add_nose(slab, head, d)
    _add_mouth(slab, head, d)
    _add_ears(slab, head, d)
    return d


def _add_masses(slab: Slab, head: Head, d: Field) -> None:
    """Brow, midface, cheekbones, jaw and chin: bone's outline with its usual cover."""
    s, f, zb = head.shape, head.front, head.zygion
    cz, fwd, chin = s.cheekbone_height, s.cheekbone_forward, s.chin_z
    mid = 0.5 * (head.incisor + f + 6)
    top, low = 26.0, chin + 2.0
    slab.unite(d, Ellipsoid((0, mid + 46, (top + low) / 2), (zb - 6, 50, (top - low) / 2 + 12)), blend=14.0)
    slab.unite(d, Ellipsoid((0, head.incisor + 26, head.bite + 14), (32, 30, 34)), blend=12.0)
    ridge, brow = s.brow_ridge, s.brow_height
    slab.unite(
        d,
        *both(
            lambda k: Chain(
                [
                    (k * 4, f + 4 - 0.7 * ridge, brow),
                    (k * 30, f + 8 - 0.7 * ridge, brow + 4),
                    (k * 50, f + 28, brow - 3),
                ],
                8.5,
            )
        ),
        *both(lambda k: Ellipsoid((k * (zb - 18), f + 31 - fwd, cz), (17, 17, 16))),
        *both(lambda k: Chain([(k * (zb - 12), f + 40, cz), (k * (zb - 9), -8, 0)], [11, 12])),
        blend=10.0,
    )
    half, gz, gb = s.jaw_width / 2, s.gonion_height, s.gonion_back
    jaw = [
        (s.chin_width * 0.6, head.chin_y + 3, chin + 10),
        (half * 0.68, f + 40, 0.5 * (chin + 8) + 0.5 * gz),
        (half - 6, gb - 6, gz + 9),
        (half - 2, -8, -14),
    ]
    closed = head.hinge()
    slab.unite(
        d, *both(lambda k: Chain([(k * x, y, z) for x, y, z in jaw], [11.5, 13, 13, 12])), blend=12.0, through=closed
    )
    slab.unite(
        d,
        *both(lambda k: Ellipsoid((k * (zb - 17), f + 64, -24), (15, 30, 26), (0, k * 9, 0))),
        *both(lambda k: Ellipsoid((k * (zb - 22), f + 58, 20), (18, 30, 24))),
        blend=14.0,
    )
    slab.unite(d, Ellipsoid((0, head.chin_y + 1, chin + 11), (s.chin_width + 4, 11, 12)), blend=9.0, through=closed)


def _add_neck(slab: Slab, head: Head, d: Field) -> None:
    s = head.shape
    width, y = s.neck_width, 12.0 - 0.5 * s.neck_forward
    neck = Chain(
        [(0, y + 4, -30), (0, y + 2, -80), (0, y + 8, -190)], [width * 0.86, width * 0.92, width], (1, 0.95, 1)
    )
    slab.unite(d, neck, blend=16.0)
    slab.unite(
        d,
        Chain([(0, head.front + 46, s.chin_z - 2), (0, -34, s.chin_z - 18), (0, -34, -190)], [16, 21, 24]),
        blend=22.0,
    )
    shoulder = Chain([(0, y + 22, -185), (150, y + 22, -215)], [55, 50])
    slab.unite(d, shoulder, Chain([(-x, v, z) for x, v, z in shoulder.knots], shoulder.radii), blend=30.0)


def _add_fat(slab: Slab, head: Head, d: Field) -> None:
    """Fat lies on the lower face, under the jaw and on the neck, little on the forehead."""
    s, p = head.shape, slab.points
    share = np.float32(1.0) - step(p.z, 6.0, 50.0)
    d -= np.float32(head.fat) * share
    f = head.front
    for side, swelling in ((1.0, head.swelling[0]), (-1.0, head.swelling[1])):
        full = s.cheek_fullness + 0.5 * head.weight + 0.4 * head.smile + swelling
        cheek = Ellipsoid((side * 36, f + 34, -32), (18 + full, 20 + 1.3 * full, 22 + full))
        slab.unite(d, cheek, blend=12.0)


def _add_eyes(slab: Slab, head: Head, d: Field) -> None:
    s, f = head.shape, head.front
    ex, ey, ez = head.eye
    slant = s.orbit_slant
    slab.carve(
        d, *both(lambda k: Ellipsoid((k * (ex + 1), f - 6, ez - 1), (17, 15, 10.5), (0, k * -slant, 0))), blend=11.0
    )
    lid = 13.6 + 0.6 * s.lid_fullness
    slab.unite(d, *both(lambda k: Ellipsoid((k * ex, ey + 0.5, ez), (lid + 1.5, lid, lid - 1.5))), blend=4.0)
    crease = [(ex + 13.0 * u, ey - lid - 0.3 + 4.5 * abs(u), ez - 1.5 + 0.2 * slant * u) for u in (-1.0, 0.0, 1.0)]
    slab.carve(d, *mirrored(Chain(crease, 0.9)), blend=1.5)


def nose_tip(head: Head) -> tuple[float, float, float]:
    """Centre of the ball at the end of the nose."""
    s = head.shape
    y = head.incisor - 5 - 0.6 * head.fat - s.nose_protrusion + s.nose_tip_radius
    return s.nose_deviation, y, s.nasion_z - s.nose_length + 7 + s.nose_tip_lift


def _add_nose(slab: Slab, head: Head, d: Field) -> None:
    s, f, dev = head.shape, head.front, head.shape.nose_deviation
    top = (0.0, f + 4 - s.nasion_depth, s.nasion_z + 2)
    base_z, tip_r = s.nasion_z - s.nose_length, s.nose_tip_radius
    tip = nose_tip(head)
    hump = (dev * 0.4, 0.52 * top[1] + 0.48 * tip[1] - s.nose_hump, 0.52 * top[2] + 0.48 * tip[2])
    slab.unite(
        d, Chain([top, hump, tip], [s.nose_bridge_width + 0.5, s.nose_bridge_width + 0.8, tip_r * 0.8]), blend=7.0
    )
    slab.unite(
        d,
        Chain([(dev * 0.6, f + 14, s.nasion_z - 14), (dev, f + 8, base_z + 7)], [9.0, s.nose_width * 0.36]),
        blend=8.0,
    )
    slab.unite(d, Ellipsoid(tip, (tip_r, tip_r, tip_r * 0.85)), blend=4.0)
    wing = s.nose_width / 2 - 5.5
    slab.unite(
        d, *both(lambda k: Ellipsoid((dev * 0.8 + k * wing, tip[1] + 10, base_z + 5), (6.2, 9.6, 7.0))), blend=4.0
    )
    slab.carve(
        d,
        *both(
            lambda k: Chain(
                [(dev * 0.9 + k * wing * 0.55, tip[1] + 6, base_z - 5), (dev * 0.6 + k * 5, tip[1] + 15, base_z + 9)],
                3.0,
            )
        ),
        blend=2.0,
    )


def lips(head: Head) -> tuple[Chain, Chain]:
    """The upper and the lower lip; the lower one moves with the jaw."""
    s, up = head.shape, head.smile
    w, z, y = s.mouth_width / 2 + 0.5 * up, head.bite + 1.0, _mouth_y(head)
    u, v = s.upper_lip, s.lower_lip
    upper = Chain(_along(w, 1.0, z + up, z + 3, y + 2), [1.5, u * 0.85, u, u * 0.85, 1.5])
    return upper, Chain(_along(w, 0.92, z - 1 + up, z - 6, y + 2.6), [1.5, v * 0.9, v, v * 0.9, 1.5])


def mouth_line(head: Head) -> Chain:
    """Where the lips meet."""
    w, z = head.shape.mouth_width / 2 + 0.5 * head.smile, head.bite + 1.0
    return Chain(_along(w, 0.96, z - 0.8 + head.smile, z - 1.5, _mouth_y(head) - 3.5), 0.9 + 0.22 * head.jaw)


def _mouth_y(head: Head) -> float:
    return head.incisor - 8.0 - 0.7 * head.fat - head.shape.lip_forward


def _along(w: float, wide: float, corner: float, middle: float, ahead: float) -> list[tuple[float, float, float]]:
    """From right to left along a lip: ``corner`` and ``middle`` are heights, ``ahead`` is y in the middle."""
    side = (0.5 * w, ahead + 2.0, 0.75 * middle + 0.25 * corner)
    half = [(wide * w, ahead + 10.0, corner), side]
    return [(-a, b, c) for a, b, c in half] + [(0.0, ahead, middle)] + half[::-1]


def _add_mouth(slab: Slab, head: Head, d: Field) -> None:
    y, z, closed = _mouth_y(head), head.bite + 1.0, head.hinge()
    upper, lower = lips(head)
    slab.unite(d, upper, blend=5.0)
    slab.unite(d, lower, blend=5.0, through=closed)
    slab.carve(d, mouth_line(head), blend=2.0)
    dent = Chain([(-14, y + 6, z - 17), (0, y + 3, z - 17), (14, y + 6, z - 17)], 3.0)
    slab.carve(d, dent, blend=8.0, through=closed)


def _add_ears(slab: Slab, head: Head, d: Field) -> None:
    """A plate that stands off behind its front edge, with a hollow and a tragus."""
    s, angle = head.shape, float(np.radians(head.shape.ear_angle))
    length, breadth, z = s.ear_length / 2, s.ear_breadth / 2, s.ear_height
    root = (0.88 * head.half_breadth + s.scalp_thickness, 4.0)
    out, back = float(np.sin(angle)), float(np.cos(angle))
    turn = (-14.0, 0.0, -s.ear_angle)
    x, y = root[0] + 0.85 * breadth * out, root[1] + 0.85 * breadth * back
    slab.unite(d, *mirrored(Ellipsoid((x, y, z), (4.4, breadth, length), turn)), blend=5.0)
    slab.unite(
        d,
        *mirrored(Ellipsoid((x - 1, y - 0.3 * breadth, z - 0.62 * length), (4.6, 0.6 * breadth, 0.34 * length), turn)),
    )
    dent = (x + 4.2 * back, y - 4.2 * out - 1.5, z)
    slab.carve(d, *mirrored(Ellipsoid(dent, (3.4, 0.68 * breadth, 0.70 * length), turn)), blend=2.0)
    slab.carve(d, *mirrored(Ellipsoid((root[0] + 3.5, root[1] + 4.5, z - 3), (6.5, 5.5, 8.0))), blend=2.5)
    slab.unite(d, *mirrored(Ellipsoid((root[0] + 1.0, root[1] - 3.0, z - 3), (3.4, 3.4, 5.0))), blend=2.5)
