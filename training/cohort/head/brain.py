"""The brain and its fluid: folded cerebrum, nuclei, ventricles, cerebellum, stem, and the sheets between."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.head.tissue import Tissues
from training.cohort.implicit import Chain, Ellipsoid, Field, Points, lay
from training.cohort.sampling import Slab, both

_CORTEX = 2.5  # mm
_SULCUS = 16.0  # mm deep
_SPREAD = 76.0  # mm: the radius that the folds are drawn on


def lay_brain(slab: Slab, head: Head, image: Field, cavity: Field, edge: float, tissue: Tissues) -> None:
    """Fills the cranial cavity, given the distance to it."""
    where = _occupied(cavity, edge)
    if where is None:
        return
    part, hollow, p = image[where], cavity[where], slab.points.at(where)
    lay(part, hollow, tissue.fluid, edge)
    tent = tentorium(p)
    _lay_cerebrum(part, p, head, hollow, tent, edge, tissue)
    _lay_cerebellum(part, p, hollow, tent, edge, tissue)
    _lay_core(slab, head, image, edge, tissue)
    _lay_sheets(part, p, head, hollow, tent, edge, tissue)


def _occupied(cavity: Field, edge: float) -> tuple[slice, slice, slice] | None:
    inside = cavity < edge
    spans = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(axis=tuple(n for n in range(3) if n != axis)))
        if not len(found):
            return None
        spans.append(slice(int(found[0]), int(found[-1]) + 1))
    return spans[0], spans[1], spans[2]


def tentorium(p: Points) -> Field:
    """Height above the tent that the cerebellum lies under; in front of its free edge it is far below everything."""
    height = p.z - np.float32(31.0)
    height += np.float32(0.34) * np.abs(p.x)
    height += np.float32(0.26) * np.maximum(p.y - np.float32(18.0), 0)
    edge = np.float32(0.45) * np.abs(p.x)
    result: Field = np.where(p.y < np.float32(14.0) - edge, np.float32(99.0), height)
    return result


def folds(p: Points, head: Head) -> Field:
    """Millimetres to the nearest sulcus, measured along the surface; sulci run into the depth as sheets."""
    s = head.shape
    q = [
        p.x * np.float32(1.0 / head.half_breadth),
        (p.y - np.float32(s.vault_centre_y)) * np.float32(1.0 / head.half_length),
        (p.z - np.float32(head.vault_centre_z - 6.0)) * np.float32(1.0 / head.half_height),
    ]
    radius = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    # Part straight, part radial: sheets that meet the surface squarely, and still bend and end in the depth.
    radius *= np.float32(0.55)
    radius += np.float32(0.45)
    q = [v * np.float32(_SPREAD) / radius for v in q]
    # The halves are alike and not mirrored.
    q[0] = np.abs(q[0]) + np.where(p.x > 0, np.float32(0.0), np.float32(9.0))
    value, slope, bend = np.zeros_like(radius), np.zeros_like(radius), 0.0
    for *k, phase, weight in s.folds:
        wave = q[0] * np.float32(k[0])
        wave += q[1] * np.float32(k[1])
        wave += q[2] * np.float32(k[2])
        wave += np.float32(phase)
        length = float(np.linalg.norm(k))
        value += np.float32(weight) * np.sin(wave)
        slope += np.square(np.float32(weight * length) * np.cos(wave))
        bend += (weight * length**2) ** 2
    np.abs(value, out=value)
    # The root of value = slope d + bend d^2 / 2: the distance to the zero, also where two folds meet.
    value *= np.float32(2.0)
    value /= np.sqrt(slope) + np.sqrt(slope + np.float32(np.sqrt(bend)) * value)
    result: Field = value
    return result


def _lay_cerebrum(
    image: Field, p: Points, head: Head, cavity: Field, tent: Field, edge: float, tissue: Tissues
) -> None:
    s = head.shape
    wide = np.float32(0.1 + 0.28 * s.atrophy)
    deep = -cavity - np.float32(0.3 + 0.5 * s.atrophy)
    apart = np.abs(p.x) - np.float32(0.2 + 0.2 * s.atrophy)
    # Below the corpus callosum the halves are joined by the nuclei.
    joined = np.square((p.y + np.float32(4.0)) / np.float32(44.0))
    joined += np.square((p.z - np.float32(head.vault_centre_z)) / np.float32(27.0))
    apart += np.float32(60.0) * np.maximum(np.float32(1.0) - joined, 0)
    deep = np.minimum(deep, apart)
    deep = np.minimum(deep, tent - np.float32(0.9))
    # The cistern above the saddle, and the stem's own room.
    deep = np.minimum(deep, np.hypot(np.hypot(p.x * np.float32(0.9), p.y + np.float32(8.0)), p.z - 14) - np.float32(17))
    sylvius = _sylvian(p, head)
    sheet = np.minimum(folds(p, head), sylvius)
    below = np.maximum(deep - np.where(sylvius < np.float32(3.0), np.float32(26.0), np.float32(_SULCUS)), 0)
    pial = np.minimum(deep, np.hypot(sheet, below) - wide)
    lay(image, -pial, tissue.grey, edge)
    lay(image, np.float32(_CORTEX) - pial, tissue.white, max(edge, 1.6))


def _sylvian(p: Points, head: Head) -> Field:
    """The cleft above the temporal lobe: millimetres to its sheet, far away where there is none."""
    z = head.vault_centre_z - np.float32(21.0) + np.float32(0.30) * (p.y + np.float32(40.0))
    reach = np.maximum(np.float32(26.0) - np.abs(p.x), 0)
    ends = np.maximum(np.abs(p.y + np.float32(18.0)) - np.float32(34.0), 0)
    result: Field = np.abs(p.z - z) + reach + ends
    return result


def _lay_cerebellum(image: Field, p: Points, cavity: Field, tent: Field, edge: float, tissue: Tissues) -> None:
    deep = np.minimum(-cavity - np.float32(1.6), -tent - np.float32(1.2))
    deep = np.minimum(deep, p.y - np.float32(16.0) + np.float32(0.7) * np.maximum(np.abs(p.x) - np.float32(12.0), 0))
    # A notch between the hemispheres behind and below.
    notch = np.abs(p.x) - np.float32(0.25) * np.maximum(p.y - np.float32(58.0), 0) + np.float32(0.3)
    deep = np.minimum(deep, np.maximum(notch, np.float32(62.0) - p.y))
    if float(deep.max()) < -edge:
        return
    arc = np.hypot(p.y - np.float32(20.0), (p.z - np.float32(2.0)) * np.float32(1.25))
    arc += np.float32(0.12) * np.abs(p.x)
    leaf = np.abs(np.sin(arc * np.float32(np.pi / 5.2)))
    lay(image, -deep, tissue.grey, edge)
    lay(image, np.maximum(-deep, leaf * np.float32(5.0) - np.float32(0.7)), 0.5 * (tissue.fluid + tissue.grey), edge)
    core = np.float32(7.0) - deep + np.float32(5.0) * np.maximum(np.float32(0.75) - leaf, 0)
    lay(image, np.maximum(core, arc - np.float32(42.0)), tissue.white, max(edge, 1.6))


def _lay_core(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """What lies in the middle: corpus callosum, nuclei, ventricles, stem, pituitary gland."""
    y, z, v = head.shape.vault_centre_y, head.vault_centre_z, head.shape.ventricles
    arch = [(0, y - 38, z + 3), (0, y - 33, z + 15), (0, y - 4, z + 22), (0, y + 25, z + 15), (0, y + 29, z + 9)]
    slab.paint(image, Chain(arch, [4.5, 4.2, 3.6, 4.2, 4.8], (0.3, 1, 1)), value=tissue.white, edge=edge)
    slab.paint(
        image,
        *both(lambda k: Ellipsoid((k * (9 + v), y + 4, z - 2), (7.5, 14, 9), (0, 0, k * 18))),
        *both(lambda k: Ellipsoid((k * 26, y - 10, z - 3), (5.2, 17, 10), (0, k * 8, k * -8))),
        *both(lambda k: Ellipsoid((k * (11 + 1.5 * v), y - 26, z + 5), (5, 9, 8))),
        value=tissue.nuclei,
        edge=max(edge, 2.0),
    )
    horns = [
        (6 + v, y - 33, z + 5),
        (7 + v, y - 20, z + 12),
        (10 + v, y + 6, z + 16),
        (18 + v, y + 27, z + 8),
        (26 + v, y + 18, z - 9),
        (29, y - 4, z - 18),
    ]
    radii = [2.4 * v, 3.8 * v, 3.8 * v, 5.0 * v, 3.2 * v, 1.5 * v]
    slab.paint(
        image,
        *both(lambda k: Chain([(k * a, b, c) for a, b, c in horns], radii, (1.2, 1, 0.8))),
        *both(lambda k: Chain([(k * (18 + v), y + 27, z + 8), (k * (16 + v), y + 48, z + 2)], [4 * v, 1.0 * v])),
        Ellipsoid((0, y - 2, z - 3), (1.6 * v, 13, 8)),
        value=tissue.fluid,
        edge=edge,
    )
    choroid = both(lambda k: Ellipsoid((k * (19 + v), y + 25, z + 6), (2.0, 3.0, 2.2)))
    slab.paint(image, *choroid, value=tissue.dura, edge=edge)
    _lay_stem(slab, image, edge, tissue, v)
    slab.paint(image, Ellipsoid((0, head.sella_y, head.sella_z), (6, 5, 3.6)), value=tissue.nuclei, edge=edge)
    stalk = Chain([(0, head.sella_y, head.sella_z), (0, head.sella_y + 5, head.sella_z + 12)], 1.2)
    chiasm = Chain([(-8, head.sella_y - 8, head.sella_z + 7), (0, head.sella_y, head.sella_z + 9),
                    (8, head.sella_y - 8, head.sella_z + 7)], 1.8)  # fmt: skip
    slab.paint(image, stalk, chiasm, value=tissue.nerve, edge=edge)
    pineal = Ellipsoid((0, y + 24, z - 2), (3, 4, 2.6))
    slab.paint(image, pineal, value=tissue.nuclei + 0.12 * (tissue.compact - tissue.nuclei), edge=edge)


def _lay_stem(slab: Slab, image: Field, edge: float, tissue: Tissues, v: float) -> None:
    """Midbrain, pons, medulla; the cord goes on in the neck."""
    peduncles = both(lambda k: Chain([(k * 12, 0, 36), (k * 7, 4, 22)], [6.0, 7.0]))
    pons = Ellipsoid((0, 4, 8), (15, 11, 13), (-18, 0, 0))
    stem = Chain([(0, 9, 28), (0, 11, 10), (0, 17, -12), (0, 25, -34)], [9.5, 9.0, 7.6, 5.2], (0.85, 1, 1))
    slab.paint(
        image,
        *both(lambda k: Chain([(k * 9, 11, 6), (k * 20, 26, 2)], [6.5, 8.0])),
        *peduncles,
        stem,
        pons,
        value=0.75 * tissue.white + 0.25 * tissue.grey,
        edge=edge,
    )
    slab.paint(image, Ellipsoid((0, 23.5, 3), (4.6 * v, 3.4 * v, 9), (-18, 0, 0)), value=tissue.fluid, edge=edge)
    slab.paint(image, Chain([(0, 14, 32), (0, 20, 12)], 0.9 * v), value=tissue.fluid, edge=edge)


def _lay_sheets(image: Field, p: Points, head: Head, cavity: Field, tent: Field, edge: float, tissue: Tissues) -> None:
    """Falx and tentorium, and the venous sinuses at their roots."""
    z = np.float32(head.vault_centre_z + 27.0)
    low = z - np.float32(0.0011) * np.square(p.y - np.float32(5.0)) * np.float32(8.0)
    falx = np.maximum(np.abs(p.x) - np.float32(0.55), np.maximum(low - p.z, np.float32(22.0) - p.z))
    lay(image, np.maximum(falx, cavity), tissue.dura, edge)
    lay(image, np.maximum(np.abs(tent) - np.float32(0.6), cavity), tissue.dura, edge)
    reach = np.abs(p.x) * np.float32(0.9) - cavity - np.float32(5.5)
    channel = np.maximum(reach, np.maximum(cavity, np.float32(10.0) - p.z))
    lay(image, channel, tissue.sinus, edge)
    across = np.hypot(tent, cavity + np.float32(2.5)) - np.float32(3.6)
    lay(image, np.maximum(np.maximum(across, cavity), np.float32(30.0) - p.y), tissue.sinus, edge)
