"""What of the chest is not bone: skin, fat, lungs, diaphragm, heart, great vessels, airways; as linear attenuation."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Chain, Ellipsoid, Field, inside, lay
from training.cohort.sampling import Slab, both, mirrored
from training.cohort.thorax.cage import Chest

# Per millimetre at the effective energy of a chest beam (about 65 keV).
WATER, FAT, LUNG, AIR = 0.0200, 0.0180, 0.0050, 0.0
# As thick as the planes that sample it stand apart: their sum then shows no steps.
_EDGE = 3.5


def attenuation(slab: Slab, chest: Chest) -> tuple[Field, Field]:
    """float32 attenuation per mm on the slab's points, and how much of each point is lung (0 to 1)."""
    image = slab.full(AIR)
    lay(image, body(slab, chest), WATER, _EDGE)
    lung = lungs(slab, chest)
    heart = mediastinum(slab, chest)
    share = inside(lung, _EDGE) * (np.float32(1.0) - inside(heart, _EDGE))
    image += share * np.float32(LUNG - WATER)
    _lay_airways(slab, chest, image)
    return image, share


def body(slab: Slab, chest: Chest) -> Field:
    """Distance to the skin of trunk, shoulders, neck and breasts."""
    s = chest.shape
    wall = s.muscle * 0.7 + s.fat + chest.weight
    width, depth = s.cage_width / 2 + wall, s.cage_depth / 2 + 6 + 0.7 * wall
    y = float(chest.centre_y(-40.0)) + 4.0
    d = Chain([(0, y, 60), (0, y, -420)], width, (1, width / depth, 1)).distance(slab.points)
    sw, top = s.shoulder_width, s.clavicle_height
    slab.unite(
        d, *both(lambda k: Ellipsoid((k * (sw - 52), -2, top - 22), (52 + s.fat, 52 + 0.5 * s.fat, 46))), blend=40.0
    )
    slab.unite(
        d,
        *both(
            lambda k: Chain(
                [(k * 10, 6, top + 75), (k * 70, 8, top + 26), (k * (sw - 45), 4, top - 6)],
                [s.neck_width * 0.7, 36, 34],
            )
        ),
        blend=30.0,
    )
    slab.unite(d, Chain([(0, -14, top - 20), (0, -26, top + 220)], s.neck_width), blend=25.0)
    away = (8, 10) if chest.arms_down else (46, 30)
    arm = 40 + 0.5 * s.fat + 0.4 * s.muscle
    slab.unite(
        d,
        *both(lambda k: Chain([(k * (sw - 22), 2, top - 36), (k * (sw + away[0]), away[1], -150)], [arm + 2, arm - 6])),
        blend=16.0,
    )
    if s.breast > 12.0:
        r, z = s.breast + 1.5 * chest.weight, s.breast_height + (14 if chest.arms_down else 0)
        place = (s.breast_apart, chest.front_y(z) + 0.10 * r, z + 0.15 * r)
        slab.unite(d, *mirrored(Ellipsoid(place, (1.1 * r, 0.62 * r, 1.15 * r), (-18, 0, 0))), blend=34.0)
    return d


def lungs(slab: Slab, chest: Chest) -> Field:
    """Distance to the pleura of both lungs, down to the diaphragm."""
    s, p = chest.shape, slab.points
    line = _heights(slab)
    a, b = chest.half_width(line) - 7.0, chest.half_depth(line) - 7.0
    cy, cx = chest.centre_y(line), chest.spine_x(line) * 0.4
    a, b, cy, cx = (_at(slab, v, line) for v in (a, b, cy, cx))
    nx, ny = (p.x - cx) / a, (p.y - cy) / b
    d = (np.sqrt(nx * nx + ny * ny) - np.float32(1.0)) * np.minimum(a, b)
    far = np.abs(p.x)
    apex_x, apex_w = 46.0, 62.0 * s.apex_width
    lean = (far - np.float32(apex_x)) / np.float32(apex_w)
    lean = np.where(lean < 0, lean * np.float32(0.35), lean)
    cap = p.z - np.float32(s.apex_height) + np.float32(9.0) * lean * lean
    d = np.maximum(d, cap * np.float32(0.8))
    result: Field = np.maximum(d, _diaphragm(slab, chest, a, b, cy, ny) - p.z)
    return result


def _diaphragm(slab: Slab, chest: Chest, a: Field, b: Field, cy: Field, ny: Field) -> Field:
    """Height of the diaphragm: a dome on each side that falls off to the sides and, further, to the back."""
    s, p = chest.shape, slab.points
    left = p.x > 0
    top = np.where(left, np.float32(chest.dome(1)), np.float32(chest.dome(-1)))
    curve = np.where(left, np.float32(s.dome_curve_left), np.float32(s.dome_curve_right))
    across = np.abs(p.x) / a
    out = (across - np.float32(0.46)) * np.float32(1.85)
    out = np.where(out < 0, out * np.float32(0.55), out)
    back = np.maximum(ny + np.float32(0.15), 0)
    height = top - curve * (out * out) - np.float32(62.0) * back * back
    height -= np.float32(14.0) * np.square(np.maximum(-ny - np.float32(0.15), 0))
    if chest.effusion:
        level = abs(chest.effusion)
        wet = left if chest.effusion > 0 else ~left
        meniscus = (
            np.float32(chest.dome(1 if chest.effusion > 0 else -1) - 62.0 + level) + np.float32(0.9 * level) * across**4
        )
        height = np.where(wet, np.maximum(height, meniscus), height)
    result: Field = height.astype(np.float32)
    return result


def mediastinum(slab: Slab, chest: Chest) -> Field:
    """Distance to heart, great vessels and what lies between the lungs."""
    s = chest.shape
    drop = 0.35 * (chest.dome(1) - (s.dome_right - s.dome_difference)) + 0.3 * (s.dome_right + 118.0)
    base = -72.0 + drop
    wide, tall = s.heart_width / 2, s.heart_height / 2
    heart = -52.0 - 0.14 * s.cage_depth
    d = slab.full(1e3)
    x = s.heart_left
    slab.unite(d, Ellipsoid((x + 4, heart, base - 4), (wide * 1.02, 44, tall * 0.72), (0, s.heart_tilt * 0.8, 0)))
    slab.unite(d, Ellipsoid((x - 26, heart + 4, base + 6), (s.right_atrium, 38, tall * 0.72)), blend=16.0)
    slab.unite(d, Ellipsoid((x - 4, heart + 14, base + 30), (34, 34, 30)), blend=20.0)
    mw = s.mediastinum_width
    middle = [(0, -18, s.clavicle_height + 40), (0, -26, 60), (0, -16, -60), (2, -12, -260)]
    slab.unite(d, Chain(middle, [mw * 0.85, mw * 0.95, mw * 0.9, mw * 1.15], (1, 0.8, 1)), blend=14.0)
    column = [(float(chest.spine_x(z)), float(chest.spine_y(z)) + 6.0, z) for z in (200.0, 100.0, 0.0, -90.0, -180.0)]
    slab.unite(d, Chain(column, 17.0), blend=10.0)
    floor = chest.dome(1) - 40.0
    slab.unite(d, Chain([(x - 14, heart + 6, base - 10), (x - 16, heart + 10, floor)], 34.0), blend=16.0)
    slab.unite(d, Chain([(x + 10, heart, base - 10), (x + 16, heart, floor)], 36.0), blend=16.0)
    slab.unite(d, Chain([(-mw + 6, -48, 110), (-mw, -56, 10)], 9.0), blend=14.0)
    knob, unfold = s.aortic_knob, s.aorta_unfolding
    arch_z = s.carina + 16.0
    arch = [
        (-8, heart + 10, base + 40),
        (-14 - 0.4 * unfold, heart + 14, arch_z - 30),
        (0, -38, arch_z + 4),
        (16, -8, arch_z),
    ]
    slab.unite(d, Chain(arch, [15, 14, 12, 0.85 * knob]), blend=14.0)
    slab.unite(d, Ellipsoid((15 + 0.4 * unfold, -2, arch_z), (knob, knob + 4, knob)), blend=12.0)
    slab.unite(
        d, Chain([(14 + 0.4 * unfold, 10, arch_z - 4), (16 + 0.7 * unfold, 14, 0), (12, 10, -200)], 11.5), blend=12.0
    )
    slab.unite(d, Chain([(14, heart + 12, s.carina - 26), (28, -26, s.carina - 30)], [14, 10]), blend=18.0)
    return d


def _lay_airways(slab: Slab, chest: Chest, image: Field) -> None:
    s = chest.shape
    x, w = s.trachea_shift, s.trachea_width
    top = s.clavicle_height + 220.0
    slab.paint(
        image, Chain([(x * 0.3, -44, top), (x, -26, s.carina + 60), (x * 0.6, -16, s.carina)], w), value=AIR, edge=_EDGE
    )
    slab.paint(
        image,
        Chain([(x * 0.6, -16, s.carina), (-24, -8, s.carina - 24), (-32, -6, s.carina - 46)], [w * 0.8, w * 0.75, 4.5]),
        value=AIR,
        edge=_EDGE,
    )
    slab.paint(
        image,
        Chain([(x * 0.6, -16, s.carina), (30, -6, s.carina - 30), (40, -2, s.carina - 50)], [w * 0.75, w * 0.65, 4.0]),
        value=AIR,
        edge=_EDGE,
    )
    r = s.stomach_bubble * chest.gas
    if r > 6.0:
        bubble = Ellipsoid((56, -40, chest.dome(1) - 12 - 0.5 * r), (1.2 * r, r, 0.5 * r), (0, 14, 0))
        slab.paint(image, bubble, value=AIR, edge=7.0)


def _heights(slab: Slab) -> Field:
    """A table of heights that covers the slab: the cage's curves are looked up and not computed at every point."""
    low, high = float(slab.points.z.min()), float(slab.points.z.max())
    return np.linspace(low, high + 1e-3, 256, dtype=np.float32)


def _at(slab: Slab, values: np.ndarray[tuple[int, ...], np.dtype[np.floating]], line: Field) -> Field:
    scale = np.float32((len(line) - 1) / (line[-1] - line[0]))
    index = ((slab.points.z - line[0]) * scale).astype(np.int32)
    result: Field = values.astype(np.float32)[index]
    return result
