"""What the head holds: brain and its fluid, eyes, airways, sinuses, teeth."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.implicit import Chain, Ellipsoid, Field, lay, step
from training.cohort.sampling import Slab, both, mirrored

GREY, WHITE, FLUID, BLOOD, FAT, MUSCLE, AIR, ENAMEL = 38.0, 29.0, 7.0, 55.0, -95.0, 55.0, -1000.0, 2100.0


def lay_brain(slab: Slab, head: Head, image: Field, cavity: Field, edge: float) -> None:
    """Fills the cranial cavity: fluid, folded cortex, white matter, ventricles, falx and tentorium."""
    if float(cavity.min()) > edge:
        return
    s, p = head.shape, slab.points
    lay(image, cavity, FLUID, edge)
    folds = np.sin(p.x * np.float32(0.42) + np.float32(1.7) * np.sin(p.z * np.float32(0.13)))
    folds *= np.sin(p.y * np.float32(0.36) + np.float32(1.9) * np.sin(p.x * np.float32(0.11) + np.float32(1.0)))
    folds += np.sin(p.z * np.float32(0.40) + np.float32(1.5) * np.sin(p.y * np.float32(0.12)))
    crease = np.abs(folds)
    depth = cavity + np.float32(0.6 * s.atrophy)
    gap = np.float32(0.7 + 0.25 * s.atrophy) - np.abs(p.x)
    depth = np.maximum(depth, np.where(p.z > np.float32(40.0), gap, np.float32(-99.0)))
    width = np.float32(2.0 / (1.0 + s.atrophy))
    cortex = depth + np.float32(9.0) * np.maximum(np.float32(1.0) - width * np.float32(4.0) * crease, 0)
    lay(image, cortex, GREY, edge)
    lay(
        image,
        depth + np.float32(3.5) + np.float32(10.0) * np.maximum(np.float32(1.0) - np.float32(1.3) * crease, 0),
        WHITE,
        2.5,
    )
    _lay_ventricles(slab, head, image, edge)
    falx = np.maximum(np.abs(p.x) - np.float32(0.8), cavity)
    lay(image, np.maximum(falx, np.float32(38.0) - p.z), BLOOD, edge)
    tent = np.abs(p.z - np.float32(24.0) + np.abs(p.x) * np.float32(0.35)) - np.float32(0.7)
    lay(image, np.maximum(np.maximum(tent, cavity), np.float32(22.0) - p.y), BLOOD, edge)


def _lay_ventricles(slab: Slab, head: Head, image: Field, edge: float) -> None:
    s, z = head.shape, head.vault_centre_z
    y, v = s.vault_centre_y, s.ventricles
    slab.paint(image, *both(lambda k: Ellipsoid((k * 17, y - 8, z + 2), (8, 18, 11))), value=GREY, edge=4.0)
    horns = [
        (8, y - 34, z + 6),
        (8, y - 20, z + 13),
        (12, y + 8, z + 18),
        (20, y + 26, z + 8),
        (27, y + 14, z - 10),
        (30, y - 6, z - 18),
    ]
    radii = [2.0 * v, 4.0 * v, 4.6 * v, 5.4 * v, 3.4 * v, 1.6 * v]
    slab.paint(
        image,
        *both(lambda k: Chain([(k * a, b, c) for a, b, c in horns], radii, (1.2, 1, 0.8))),
        value=FLUID,
        edge=edge,
    )
    slab.paint(image, Ellipsoid((0, y - 6, z + 1), (1.8 * v, 13, 8)), value=FLUID, edge=edge)
    slab.paint(image, Ellipsoid((0, 28, -4), (5 * v, 5, 9)), value=FLUID, edge=edge)
    slab.paint(image, Ellipsoid((0, y - 20, 6), (10, 9, 5)), value=FLUID, edge=edge)


def lay_orbits(slab: Slab, head: Head, image: Field, edge: float) -> None:
    """Orbital fat, globes with lens and wall, eye muscles and optic nerves."""
    s, f = head.shape, head.front
    ex, ey, ez = head.eye
    ow, oh = s.orbit_width - 0.8, s.orbit_height - 0.8
    cone = both(lambda k: Chain([(k * ex, ey - 1, ez), (k * 15, f + 50, ez + 3)], [ow, 3.5], (1, 1, ow / oh)))
    slab.paint(image, *cone, value=FAT, edge=edge)
    for side in (1.0, -1.0):
        for dx, dz in ((10.0, 0.0), (-10.0, 0.0), (0.0, 9.5), (0.0, -9.5)):
            muscle = Chain([(side * (ex + dx), ey + 3, ez + dz), (side * 17, f + 48, ez + 3 + 0.2 * dz)], 1.9)
            slab.paint(image, muscle, value=MUSCLE, edge=edge)
    slab.paint(
        image, *both(lambda k: Chain([(k * ex, ey + 9, ez), (k * 14, f + 54, ez + 4)], 2.2)), value=35.0, edge=edge
    )
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey, ez), (12.2, 12.2, 12.2))), value=45.0, edge=edge)
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey, ez), (11.0, 11.0, 11.0))), value=10.0, edge=edge)
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey - 7.5, ez), (4.6, 2.2, 4.6))), value=95.0, edge=edge)


def lay_airways(slab: Slab, head: Head, image: Field, edge: float) -> None:
    """Nasal cavity with septum and turbinates, pharynx, mouth, ear canals and the paranasal sinuses."""
    s, f, b = head.shape, head.front, head.half_breadth
    base = s.nasion_z - s.nose_length
    low, bow = base + 9.0, s.septum_bow
    _lay_sinuses(slab, head, image, edge)
    slab.paint(
        image,
        *both(lambda k: Chain([(k * 6.5, f + 12, low + 4), (k * 6.5, f + 50, low + 4)], [5.0, 6.0], (1, 1, 0.55))),
        value=AIR,
        edge=edge,
    )
    slab.paint(
        image,
        *both(lambda k: Chain([(k * 4, f + 10, low + 18), (k * 4, f + 46, low + 22)], 2.4, (1, 1, 0.28))),
        value=AIR,
        edge=edge,
    )
    slab.paint(
        image,
        *both(lambda k: Chain([(k * 8, f + 20, low + 2), (k * 8.5, f + 46, low + 2)], 2.6)),
        value=MUSCLE,
        edge=edge,
    )
    slab.paint(
        image,
        *both(lambda k: Chain([(k * 7, f + 24, low + 12), (k * 7.5, f + 44, low + 13)], 1.7)),
        value=MUSCLE,
        edge=edge,
    )
    septum = [(0, f + 8, low + 8), (bow, f + 26, low + 10), (0, f + 50, low + 10)]
    slab.paint(image, Chain(septum, 1.0, (1, 1, 0.06)), value=150.0, edge=edge)
    throat = [(0, f + 58, low + 4), (0, -20, low - 6), (0, -14, low - 40), (0, -20, s.chin_z), (0, -24, -190)]
    slab.paint(image, Chain(throat, [9.0, 8.5, 6.5, 6.5, 9.0], (0.75, 1.2, 1)), value=AIR, edge=edge)
    slab.paint(
        image,
        Chain(
            [(0, head.incisor + 12, head.bite + 5), (0, head.incisor + 44, head.bite + 10)],
            1.2 + 0.5 * head.jaw,
            (0.1, 1, 1),
        ),
        value=AIR,
        edge=edge,
    )
    slab.paint(image, *both(lambda k: Chain([(k * (b + 6), 2, 0), (k * (b - 22), -4, 1)], 3.0)), value=AIR, edge=edge)


def _lay_sinuses(slab: Slab, head: Head, image: Field, edge: float) -> None:
    s, f = head.shape, head.front
    m, h, fs = s.maxillary_sinus, s.sphenoid_sinus, s.frontal_sinus
    ex, _, oz = head.eye
    floor = oz - s.orbit_height - 3
    slab.paint(
        image,
        *both(
            lambda k: Ellipsoid(
                (k * (ex * 0.80), f + 34 - 0.5 * s.maxilla_forward, floor - 14 * m), (12 * m, 16 * m, 14 * m)
            )
        ),
        value=AIR,
        edge=edge,
    )
    slab.paint(image, *both(lambda k: Ellipsoid((k * 8, f + 64, 6), (7 * h, 10 * h, 9 * h))), value=AIR, edge=edge)
    for n in range(4):
        at = (7.5, f + 17 + 9.5 * n, oz - 1 + (n % 2) * 2)
        slab.paint(image, *mirrored(Ellipsoid(at, (4.2, 4.0, 8.0))), value=AIR, edge=edge)
    if fs > 0.1:
        for side in (1.0, -1.0):
            size = fs * (1.0 + side * 0.05 * s.frontal_sinus_skew)
            cell = Ellipsoid(
                (side * 11 + 0.6 * s.frontal_sinus_skew, f + 6.5, s.brow_height + 5 * size), (10 * size, 3.2, 9 * size)
            )
            slab.paint(image, cell, value=AIR, edge=edge)


def lay_mastoid_cells(slab: Slab, head: Head, image: Field, edge: float) -> None:
    b = head.half_breadth
    shapes = both(lambda k: Ellipsoid((k * (b - 17), 15, -12), (7, 9, 14)))
    for shape in shapes:
        window = slab.window(shape, 6.0)
        if window is None:
            continue
        p = slab.points.at(window)
        cells = np.sin(p.x * np.float32(1.1)) * np.sin(p.y * np.float32(1.0)) * np.sin(p.z * np.float32(1.05))
        lay(
            image[window],
            np.maximum(shape.distance(p), np.float32(1.2) - np.float32(6.0) * np.abs(cells)),
            -700.0,
            edge,
        )


def lay_teeth(slab: Slab, head: Head, image: Field, edge: float) -> None:
    """32 places; those missing stay empty, roots are a little less dense than crowns."""
    s, places, closed = head.shape, head.tooth_places(), head.hinge()
    for row, (sign, through) in enumerate(((1.0, None), (-1.0, closed))):
        for n, (x, y) in enumerate(places):
            size = s.teeth[16 * row + n] if s.teeth else 1.0
            if size == 0.0:
                continue
            wide = (4.6 if n in (0, 1, 2, 13, 14, 15) else 3.5) * size
            top, root = head.bite + sign * 1.0, head.bite + sign * 18.0
            tooth = Chain([(x, y, top + sign * wide * 0.5), (x * 0.97, y + 1.5, root)], [wide, 1.6])
            slab.paint(
                image, tooth, value=ENAMEL if 16 * row + n not in s.fillings else 3000.0, edge=edge, through=through
            )


def lay_soft_tissue(slab: Slab, head: Head, image: Field, skin: Field, edge: float) -> None:
    """From the surface inwards: skin, fat whose thickness varies over the head, muscle with fat between."""
    s, p = head.shape, slab.points
    lay(image, skin, 30.0, edge)
    low = np.float32(1.0) - step(p.z, 6.0, 50.0)
    fat = np.float32(2.2) + np.float32(max(0.5, 3.5 + s.face_fat + 1.2 * head.weight)) * low
    layer = skin + np.float32(1.8)
    lay(image, layer, FAT, edge)
    planes = np.sin(p.x * np.float32(0.19)) * np.sin(p.y * np.float32(0.23) + p.x * np.float32(0.05)) * np.float32(5.0)
    planes += np.float32(3.0) * np.sin(p.z * np.float32(0.21) + p.y * np.float32(0.1))
    lay(image, layer + fat + np.maximum(planes, 0) * low, MUSCLE, edge)
