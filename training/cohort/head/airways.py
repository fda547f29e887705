"""Air in the head: nose, throat, mouth, ear canals, and the sinuses with what may fill them."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.head.tissue import Tissues
from training.cohort.implicit import Chain, Ellipsoid, Field, Shape, join, lay
from training.cohort.sampling import Slab, both, mirrored


def lay_airways(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """Nasal cavity with septum and turbinates, pharynx, mouth, ear canals and the paranasal sinuses."""
    _lay_sinuses(slab, head, image, edge, tissue)
    _lay_ethmoid(slab, head, image, edge, tissue)
    _lay_nose(slab, head, image, edge, tissue)
    s, b = head.shape, head.half_breadth
    low = head.nose_floor
    throat = [(0, head.front + 58, low + 4), (0, -22, low - 6), (0, -15, low - 36), (0, -20, s.chin_z), (0, -24, -190)]
    tube = Chain(throat, [8.5, 7.5, 5.5, 6.0, 8.5], (0.72, 1.25, 1))
    slab.paint(image, Chain(throat, [11, 10, 8, 8.5, 11.0], (0.72, 1.25, 1)), value=tissue.mucosa, edge=edge)
    slab.paint(image, tube, value=tissue.air, edge=edge)
    palate = Chain([(0, head.front + 52, low - 2), (0, -24, low - 14), (0, -21, low - 24)], 3.2, (0.4, 1, 1))
    slab.paint(image, palate, value=tissue.mucosa, edge=edge)
    mouth = Chain(
        [(0, head.incisor + 10, head.bite + 4), (0, head.incisor + 46, head.bite + 11)],
        1.0 + 0.5 * head.jaw,
        (0.1, 1, 1),
    )
    slab.paint(image, mouth, value=tissue.air, edge=edge)
    canal = both(lambda k: Chain([(k * (b + 6), 2, 0), (k * (b - 16), -1, 1), (k * (b - 24), -2, 2)], [3.0, 2.6, 4.0]))
    slab.paint(image, *canal, value=tissue.air, edge=edge)
    ossicles = both(lambda k: Ellipsoid((k * (b - 24), -2, 3), (1.2, 1.2, 2.2)))
    slab.paint(image, *ossicles, value=tissue.compact, edge=edge)


def _lay_nose(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    s, f, low, size = head.shape, head.front, head.nose_floor, head.shape.detail.nasal_turbinate
    bow = s.septum_bow
    top = head.orbit_z - 3
    wall = both(lambda k: Chain([(k * 6.0, f + 15, low + 3), (k * 8.5, f + 34, low + 3), (k * 8, f + 56, low + 4)],
                                [4.6, 7.0, 7.0], (1, 1, 0.85)))  # fmt: skip
    roof = both(lambda k: Chain([(k * 3.4, f + 13, low + 8), (k * 3.6, f + 34, top), (k * 4, f + 52, top - 6)],
                                [2.4, 2.6, 3.0], (1, 1, 0.22)))  # fmt: skip
    slab.paint(image, *wall, *roof, value=tissue.air, edge=edge)
    slab.paint(
        image,
        *both(lambda k: Chain([(k * (9 + 0.3 * bow * k), f + 20, low + 2), (k * 9.5, f + 52, low + 2)],
                              [2.6 * size, 3.4 * size], (1, 1, 0.8))),
        *both(lambda k: Chain([(k * 7.5, f + 26, low + 13), (k * 8, f + 48, low + 12)], 1.9 * size, (1, 1, 0.6))),
        *both(lambda k: Chain([(k * 12.6, f + 20, low + 5), (k * 13, f + 52, low + 6)], 1.0, (1, 1, 0.3))),
        value=tissue.mucosa,
        edge=edge,
    )  # fmt: skip
    slab.paint(image, *both(lambda k: Chain([(k * 9.5, f + 22, low + 3), (k * 10, f + 50, low + 3)], 0.7, (1, 1, 0.4))),
               value=0.5 * (tissue.spongy + tissue.mucosa), edge=edge)  # fmt: skip
    septum = [(0, f + 6, low + 8), (bow, f + 26, low + 10), (0, f + 52, low + 10)]
    slab.paint(image, Chain(septum, 1.3, (1, 1, 0.06)), value=tissue.mucosa, edge=edge)
    bony = [(0.6 * bow, f + 22, low + 10), (0.6 * bow, f + 34, low + 10), (0, f + 52, low + 10)]
    slab.paint(image, Chain(bony, 0.6, (1, 1, 0.045)), value=0.5 * (tissue.compact + tissue.mucosa), edge=edge)


def _antrum(head: Head, k: float) -> tuple[Ellipsoid, Ellipsoid]:
    """One maxillary sinus: wide above, narrow below, deeper than high."""
    s, d, f = head.shape, head.shape.detail, head.front
    m, high = s.maxillary_sinus, s.maxillary_sinus * d.antrum_height
    ex, _, oz = head.eye
    floor = oz - s.orbit_height - 3.5
    y = f + 36 - 0.5 * s.maxilla_forward
    return (
        Ellipsoid((k * (ex * 0.88), y, floor - 10.5 * m), (14.0 * m, 17 * m * d.antrum_depth, 10.5 * m)),
        Ellipsoid((k * (ex * 0.80), y - 2, floor - 19 * high), (10 * m, 13 * m, 11 * high)),
    )


def _lay_sinuses(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    for side, share in ((1.0, head.sinusitis[0]), (-1.0, head.sinusitis[1])):
        _lay_antrum(slab, head, image, edge, tissue, side, share)
    f, h, d = head.front, head.shape.sphenoid_sinus, head.shape.detail
    split = 0.25 * d.frontal_septum
    slab.paint(
        image,
        *both(lambda k: Ellipsoid((k * 7.6 + split, f + 62, 5), (6.6 * h - k * 0.4 * split, 9.5 * h, 8.5 * h))),
        value=tissue.air,
        edge=edge,
    )
    cells = frontal_cells(head)
    if cells:
        hollow = slab.full(1e3)
        slab.unite(hollow, *cells, blend=4.0)
        lay(image, hollow, tissue.air, edge)


def _lay_antrum(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues, side: float, share: float) -> None:
    parts = _antrum(head, side)
    box = Chain([parts[0].centre, parts[1].centre], [24.0, 20.0])
    window = slab.window(box, 4.0)
    if window is None:
        return
    p = slab.points.at(window)
    hollow = join(parts[0].distance(p), parts[1].distance(p), 6.0)
    wall = hollow - np.float32(1.2)
    lay(image[window], wall, 0.6 * tissue.compact + 0.4 * tissue.mucosa, edge)
    lay(image[window], hollow, tissue.air, edge)
    if share > 0.0:
        low, high = box.box()
        down = np.asarray(head.down, float)
        reach = sorted((float(low @ down), float(high @ down)))
        # Thickened lining all round, and a level that lies flat whichever way the head was held.
        level = reach[1] - share * (reach[1] - reach[0])
        along = p.x * np.float32(down[0]) + p.y * np.float32(down[1]) + p.z * np.float32(down[2])
        lay(image[window], np.maximum(hollow, -(hollow + np.float32(0.8 + 3.0 * share))), tissue.mucosa, edge)
        lay(image[window], np.maximum(hollow, np.float32(level) - along), tissue.pus, edge)


def frontal_cells(head: Head) -> list[Shape]:
    """The lobes of the frontal sinuses: as personal as a finger print."""
    s, f, d = head.shape, head.front, head.shape.detail
    fs = s.frontal_sinus
    if fs <= 0.1:
        return []
    cells: list[Shape] = []
    for side in (1.0, -1.0):
        size = fs * (1.0 + side * 0.05 * s.frontal_sinus_skew)
        count = max(1, min(3, round(d.frontal_lobes + 0.6 * side * np.sin(s.phases[0]))))
        for n in range(count):
            lift = 1.0 + 0.45 * float(np.sin(s.phases[1 + (n + (side > 0)) % 4] + n))
            x = side * (6.5 + 9.0 * n * min(size, 1.1)) + 0.5 * d.frontal_septum * (n == 0)
            high = max(3.0, 8.5 * size * lift * (1.0 - 0.22 * n))
            at = (x, f + 6.8 + 0.018 * x * x, s.brow_height + 0.55 * high)
            cells.append(Ellipsoid(at, (5.4 * min(size, 1.15), 3.0, high)))
    return cells


def _lay_ethmoid(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """A honeycomb between the orbits."""
    f, oz, size, phases = head.front, head.orbit_z, head.shape.detail.ethmoid, head.shape.phases
    for n, block in enumerate(mirrored(Ellipsoid((8.2, f + 34, oz + 1), (6.4 * size, 21, 11.5 * size)))):
        window = slab.window(block, 4.0)
        if window is None:
            continue
        p = slab.points.at(window)
        wave = np.sin(p.y * np.float32(np.pi / 8.2) + np.float32(phases[5 + n]))
        wave *= np.sin(p.z * np.float32(np.pi / 9.5) + np.float32(phases[6 + n]) + p.y * np.float32(0.06))
        walls = np.float32(0.9) - np.float32(4.5) * np.abs(wave)
        d = block.distance(p)
        lay(image[window], d, 0.5 * (tissue.spongy + tissue.mucosa), edge)
        lay(image[window], np.maximum(d + np.float32(0.8), walls), tissue.air, edge)


def lay_mastoid_cells(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    b, d = head.half_breadth, head.shape.detail
    air = 1.0 * d.mastoid_air
    for shape in both(lambda k: Ellipsoid((k * (b - 17), 16, -11), (7.5 * d.mastoid_size, 9.5 * d.mastoid_size, 15))):
        window = slab.window(shape, 6.0)
        if window is None:
            continue
        p = slab.points.at(window)
        cells = np.sin(p.x * np.float32(1.1)) * np.sin(p.y * np.float32(1.0)) * np.sin(p.z * np.float32(1.05))
        hollow = np.maximum(shape.distance(p), np.float32(2.2 - 1.0 * air) - np.float32(6.0) * np.abs(cells))
        lay(image[window], hollow, 0.75 * tissue.air + 0.25 * tissue.mucosa, edge)
