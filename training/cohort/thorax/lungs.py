"""The lungs between cage, diaphragm and mediastinum, with their fissures and what illness fills them with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.cohort.implicit import Chain, Ellipsoid, Field, inside, lay
from training.cohort.sampling import Slab
from training.cohort.thorax.findings import Spot
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.wall import Cage

# The inner surface of the ribs lies this far from their middle.
_PLEURA = 6.5


def space(slab: Slab, chest: Chest, cage: Cage, floor: Field) -> Field:
    """Distance to the inside of the thorax above the diaphragm, whose height is ``floor``."""
    s, p = chest.shape, slab.points
    d = cage.distance + np.float32(_PLEURA)
    far = np.abs(p.x - np.float32(0.4 * float(chest.spine_x(140.0))))
    lean = (far - np.float32(43.0)) / np.float32(66.0 * s.apex_width)
    lean = np.where(lean < 0, lean * np.float32(0.6), lean)
    cap = p.z - np.float32(s.apex_height) + np.float32(20.0) * lean * lean
    d = np.maximum(d, cap * np.float32(0.85))
    return np.asarray(np.maximum(d, (floor - p.z) * np.float32(0.8)), np.float32)


def floor_of(slab: Slab, chest: Chest, cage: Cage) -> Field:
    """Height of the diaphragm under (or over) every point."""
    side = np.where(slab.points.x > 0, np.float32(1), np.float32(-1))
    across = np.minimum(np.abs(cage.across), np.float32(1.15))
    right_left = chest.diaphragm(side, across, np.clip(cage.back, -1.1, 1.1))
    # The two domes meet under the heart without a step.
    blend = np.clip(slab.points.x * np.float32(1 / 30.0), -1, 1)
    other = chest.diaphragm(-side, across, np.clip(cage.back, -1.1, 1.1))
    share = np.float32(0.5) + np.float32(0.5) * np.abs(blend)
    return np.asarray(share * right_left + (np.float32(1) - share) * other, np.float32)


def lay_lungs(slab: Slab, chest: Chest, image: Field, lung: Field, cage: Cage, edge: float) -> None:
    """Lays both lungs, whose distance is ``lung``: denser below where blood sinks, with fissures."""
    f, p = chest.findings, slab.points
    level = np.float32(-868.0 + 55.0 * (1.0 - chest.breath) - 45.0 * f.emphysema)
    sink = cage.back if chest.supine else -p.z * np.float32(1 / 160.0)
    tissue = level + np.float32(34.0) * np.clip(sink, -1.2, 1.2)
    tissue += _fissures(slab, chest, cage)
    lay(image, lung, tissue.astype(np.float32), edge)


def _fissures(slab: Slab, chest: Chest, cage: Cage) -> Field:
    """Oblique fissures in both lungs and the horizontal one in the right: thin sheets."""
    p, s = slab.points, chest.shape
    rise = np.float32(0.92 + 0.01 * s.fissure)
    height = np.float32(8.0 + 1.2 * s.fissure) + rise * (p.y + np.float32(48.0)) - np.float32(8.0) * np.abs(cage.across)
    oblique = (p.z - height) * np.float32(0.7)
    flat = p.z - np.float32(s.hilum_height - 20.0 + 0.8 * s.fissure) + np.float32(10.0) * np.square(cage.across)
    sheet = np.maximum(np.float32(1.0) - np.abs(oblique) * np.float32(1 / 1.6), 0)
    right = np.where((p.x < 0) & (oblique > 0), np.maximum(np.float32(1.0) - np.abs(flat) * np.float32(1 / 1.6), 0), 0)
    return np.asarray(np.float32(120.0) * np.maximum(sheet, right), np.float32)


def lay_illness(slab: Slab, chest: Chest, image: Field, lung: Field, cage: Cage, floor: Field, edge: float) -> None:
    """Consolidation, nodules, bullae, fluid and air in the pleural space."""
    f = chest.findings
    if f.patches:
        _lay_patches(slab, chest, image, lung, edge)
    for spot in f.nodules:
        centre = _place(chest, spot)
        _lay_within(
            slab, image, lung, Ellipsoid(centre, (spot.radius, spot.radius * 0.92, spot.radius * 1.05)), 38.0, edge
        )
    if f.collapse:
        _lay_collapse(slab, chest, image, lung, cage, edge)
    if f.fluid:
        _lay_fluid(slab, chest, image, lung, cage, floor, edge)


def _place(chest: Chest, spot: Spot) -> tuple[float, float, float]:
    x, y, z = chest.lung_point(spot.side, spot.across, spot.back, spot.up)
    return float(x), float(y), float(z)


def _lay_within(slab: Slab, image: Field, lung: Field, shape: Ellipsoid, value: float, edge: float) -> None:
    window = slab.window(shape, edge)
    if window is not None:
        lay(
            image[window], np.maximum(shape.distance(slab.points.at(window)), lung[window] - np.float32(1)), value, edge
        )


def _lay_patches(slab: Slab, chest: Chest, image: Field, lung: Field, edge: float) -> None:
    """Filled air spaces with a ragged edge, some of them still open."""
    d = slab.full(1e3)
    for spot in chest.findings.patches:
        slab.unite(d, Ellipsoid(_place(chest, spot), (spot.radius, spot.radius, 0.85 * spot.radius)), blend=12.0)
    near = d < np.float32(14.0)
    if not near.any():
        return
    p = slab.points
    rng = np.random.Generator(np.random.PCG64(chest.findings.grain))
    for length in (34.0, 23.0, 17.0, 12.0, 9.0):
        way = rng.normal(size=3)
        way *= 2 * np.pi / (length * np.linalg.norm(way))
        wave = p.x * np.float32(way[0]) + p.y * np.float32(way[1]) + p.z * np.float32(way[2])
        d += np.float32(0.16 * length) * np.sin(wave + np.float32(rng.uniform(0, 6.28)))
    share = inside(d, 9.0) * inside(lung, edge) * np.float32(chest.findings.filled)
    image += share * (np.float32(38.0) - image)


def _lay_collapse(slab: Slab, chest: Chest, image: Field, lung: Field, cage: Cage, edge: float) -> None:
    """Air between lung and wall, widest where air rises to."""
    f, p = chest.findings, slab.points
    up = -cage.back if chest.supine else (p.z - np.float32(20.0)) * np.float32(1 / 110.0)
    gap = np.float32(f.collapse) * np.clip(np.float32(0.45) + np.float32(0.75) * up, 0.0, 1.4)
    half = np.where(p.x * np.float32(f.collapse_side) > 0, np.float32(-1e3), np.float32(1e3))
    cap = p.z - np.float32(chest.shape.apex_height - 6.0) + gap
    shrunk = np.maximum(cage.distance + np.float32(_PLEURA) + gap, cap)
    room = np.maximum(lung, half)
    lay(image, np.maximum(room, -shrunk).astype(np.float32), -995.0, edge)
    lay(image, np.maximum(room, np.abs(shrunk) - np.float32(0.9)).astype(np.float32), -300.0, edge)


def _lay_fluid(slab: Slab, chest: Chest, image: Field, lung: Field, cage: Cage, floor: Field, edge: float) -> None:
    """Fluid that sinks: to the angle when upright, with a meniscus; a layer along the back when lying."""
    f, p = chest.findings, slab.points
    half = np.where(p.x * np.float32(f.fluid_side) > 0, np.float32(-1e3), np.float32(1e3))
    if chest.supine:
        depth = np.float32(0.42 * f.fluid) * np.clip(
            np.float32(1.25) - (p.z - np.float32(chest.dome(f.fluid_side))) * np.float32(1 / 180.0), 0.2, 1.2
        )
        near_back = np.maximum(cage.back - np.float32(0.1), 0) * np.float32(1.25)
        wet = -(cage.distance + np.float32(_PLEURA) + depth * near_back)
    else:
        level = np.float32(chest.dome(f.fluid_side) - 62.0 + f.fluid) + np.float32(0.5 * f.fluid) * np.square(
            np.square(cage.across)
        )
        level += np.float32(0.35 * f.fluid) * np.maximum(cage.back, 0) ** 4
        wet = p.z - level
    lay(image, np.maximum(np.maximum(lung, half), wet).astype(np.float32), 12.0, edge)


def lay_airways(slab: Slab, image: Field, walls: Sequence[Chain], pipes: Sequence[Chain], edge: float) -> None:
    """Windpipe and bronchi: their walls, then their air."""
    slab.paint(image, *walls, value=30.0, edge=edge)
    slab.paint(image, *pipes, value=-992.0, edge=edge)
