"""What of the chest is not bone: skin, fat, lungs, diaphragm, heart, great vessels, airways; as linear attenuation."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Chain, Ellipsoid, Field, inside, lay
from training.cohort.sampling import Slab, both
from training.cohort.thorax.cage import Chest

# Per millimetre at the effective energy of a chest beam (about 65 keV).
WATER, FAT, LUNG, AIR = 0.0200, 0.0180, 0.0050, 0.0
_EDGE = 3.0


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
        r, z = s.breast + 1.5 * chest.weight, s.breast_height - (0 if not chest.arms_down else -14)
        slab.unite(
            d,
            *both(lambda k: Ellipsoid((k * s.breast_apart, chest.front_y(z) - 0.12 * r, z), (r * 1.05, 0.75 * r, r))),
            blend=14.0,
        )
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
    cap = (
        p.z - np.float32(s.apex_height) + np.float32(24.0) * np.square((far - np.float32(apex_x)) / np.float32(apex_w))
    )
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
    out = np.maximum(across - np.float32(0.5), 0) * np.float32(2.0)
    inner = np.maximum(np.float32(0.42) - across, 0)
    back = np.maximum(ny + np.float32(0.15), 0)
    height = top - curve * (out * out) - np.float32(30.0) * inner * inner - np.float32(62.0) * back * back
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
    slab.unite(
        d, Chain([(0, -18, s.clavicle_height + 40), (0, -30, 60), (0, -22, -190)], [mw * 0.8, mw, mw * 0.8]), blend=14.0
    )
    slab.unite(d, Chain([(-mw + 4, -48, 110), (-mw - 2, -56, 10)], 9.0), blend=10.0)
    knob, unfold = s.aortic_knob, s.aorta_unfolding
    arch_z = s.carina + 16.0
    slab.unite(
        d,
        Chain(
            [
                (-8, heart + 10, base + 40),
                (-18 - 0.5 * unfold, heart + 14, arch_z - 30),
                (0, -38, arch_z + 8),
                (20, 2, arch_z),
            ],
            [15, 15, 14, knob],
        ),
        blend=8.0,
    )
    slab.unite(d, Ellipsoid((18 + 0.35 * unfold, -2, arch_z), (knob, knob + 8, knob)), blend=6.0)
    slab.unite(
        d, Chain([(18 + 0.3 * unfold, 12, arch_z - 4), (20 + 0.7 * unfold, 14, 0), (14, 10, -200)], 12.0), blend=6.0
    )
    slab.unite(d, Chain([(16, heart + 12, s.carina - 22), (34, -30, s.carina - 26)], [15, 12]), blend=10.0)
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
    if s.stomach_bubble > 6.0:
        r = s.stomach_bubble
        slab.paint(
            image, Ellipsoid((58, -42, chest.dome(1) - 12 - 0.55 * r), (r * 1.5, r, r * 0.55)), value=AIR, edge=_EDGE
        )


def _heights(slab: Slab) -> Field:
    """A table of heights that covers the slab: the cage's curves are looked up and not computed at every point."""
    low, high = float(slab.points.z.min()), float(slab.points.z.max())
    return np.linspace(low, high + 1e-3, 256, dtype=np.float32)


def _at(slab: Slab, values: np.ndarray[tuple[int, ...], np.dtype[np.floating]], line: Field) -> Field:
    scale = np.float32((len(line) - 1) / (line[-1] - line[0]))
    index = ((slab.points.z - line[0]) * scale).astype(np.int32)
    result: Field = values.astype(np.float32)[index]
    return result
