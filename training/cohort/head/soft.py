"""From the surface inwards: skin, fat, muscles with fat between them, glands, the tongue, the cord in its canal."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Head
from training.cohort.head.tissue import Tissues
from training.cohort.implicit import Chain, Ellipsoid, Field, Shape, lay, step
from training.cohort.sampling import Slab, both, mirrored

_SKIN = 1.8  # mm
_BETWEEN = 1.3  # mm of fat around each muscle


def lay_soft_tissue(slab: Slab, head: Head, image: Field, skin: Field, edge: float, tissue: Tissues) -> None:
    """Fills everything inside the skin; bone, brain and air are laid over it later."""
    s, p = head.shape, slab.points
    lay(image, skin, tissue.skin, edge)
    low = np.float32(1.0) - step(p.z, 6.0, 50.0)
    fat = np.float32(2.2) + np.float32(max(0.5, 3.5 + s.face_fat + 1.2 * head.weight)) * low
    layer = skin + np.float32(_SKIN)
    lay(image, layer, tissue.fat, edge)
    planes = np.sin(p.x * np.float32(0.19)) * np.sin(p.y * np.float32(0.23) + p.x * np.float32(0.05)) * np.float32(5.0)
    planes += np.float32(3.0) * np.sin(p.z * np.float32(0.21) + p.y * np.float32(0.1))
    lay(image, layer + fat + np.maximum(planes, 0) * low, tissue.muscle, edge)
    depth = layer + np.float32(0.55) * fat
    for shapes, value in (
        (_buccal_fat(head), tissue.fat),
        (_muscles(head), tissue.muscle),
        (_glands(head), tissue.gland),
    ):
        for shape in shapes:
            _lay_within(slab, image, shape, depth, value, edge, tissue)
    _lay_tongue(slab, head, image, edge, tissue)


def _lay_within(
    slab: Slab, image: Field, shape: Shape, depth: Field, value: float, edge: float, tissue: Tissues
) -> None:
    window = slab.window(shape, 8.0)
    if window is None:
        return
    body = np.maximum(shape.distance(slab.points.at(window)), depth[window])
    lay(image[window], body - np.float32(_BETWEEN), tissue.fat, edge)
    lay(image[window], body, value, edge)


def _muscles(head: Head) -> list[Shape]:
    s, f, zb, b = head.shape, head.front, head.zygion, head.half_breadth
    half, gz, gb, nw = s.jaw_width / 2 - 4, s.gonion_height, s.gonion_back, s.neck_width
    return [
        *both(lambda k: Ellipsoid((k * (b + 1), f + 62, 22), (9, 34, 36), (0, 0, k * 12))),
        *both(lambda k: Chain([(k * (zb - 13), f + 52, 2), (k * (half - 3), gb - 22, -12)], [10, 8], (1.4, 1, 1))),
        *both(lambda k: Chain([(k * (zb - 7), f + 50, -6), (k * (half + 4), gb - 4, gz + 16)], [12, 11], (1.7, 1, 1))),
        *both(lambda k: Chain([(k * 20, f + 62, -6), (k * (half - 8), gb - 6, gz + 14)], [8, 9], (1.4, 1, 1))),
        *both(lambda k: Chain([(k * 26, f + 58, -2), (k * (b - 26), -14, -6)], [7, 5])),
        *both(
            lambda k: Chain(
                [(k * (b - 12), 20, -24), (k * nw * 0.80, 2, -90), (k * 26, -20, -170)], [8.5, 10, 9], (1.3, 1, 1)
            )
        ),
        *both(lambda k: Chain([(k * 13, 50, -26), (k * 15, 56, -80), (k * 18, 58, -190)], [11, 13, 14])),
        *both(lambda k: Chain([(k * 30, 48, -22), (k * 36, 46, -80), (k * 46, 48, -190)], [11, 13, 15], (0.9, 1.1, 1))),
        *both(lambda k: Chain([(k * 22, 78, -12), (k * 26, 74, -60), (k * 50, 72, -190)], [4, 7, 10], (0.6, 1.3, 1))),
        *both(lambda k: Chain([(k * 9, 2, -32), (k * 10, -1 - 0.6 * s.neck_forward, -150)], [5.5, 6.5], (0.9, 1.3, 1))),
        *both(lambda k: Chain([(k * (half * 0.62), gb - 40, gz - 4), (k * 6, head.chin_y + 12, s.chin_z + 8)], 4.2)),
        *both(lambda k: Chain([(k * 26, f + 16, -26), (k * 22, head.incisor + 2, head.bite + 4)], 3.2)),
        Chain(head.lips(), 3.4, (1, 1, 0.55)),
    ]


def _buccal_fat(head: Head) -> list[Shape]:
    f = head.front
    return [*both(lambda k: Ellipsoid((k * 44, f + 38, -30), (9, 20, 18)))]


def _glands(head: Head) -> list[Shape]:
    s = head.shape
    half, gz = s.jaw_width / 2 - 4, s.gonion_height
    return [
        *both(lambda k: Ellipsoid((k * (half + 7), 2, -32), (10, 13, 21))),
        *both(lambda k: Ellipsoid((k * 31, -28, gz - 1), (8, 14, 10))),
        *both(lambda k: Ellipsoid((k * (head.eye[0] + 13), head.eye[1] - 4, head.eye[2] + 9), (4, 6, 3.5))),
    ]


def _lay_tongue(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """Muscle streaked with fat, a septum in its middle."""
    s, size = head.shape, head.shape.detail.tongue
    shape = Ellipsoid((0, head.incisor + 42, head.bite - 8), (20 * size, 29 * size, 21))
    floor = both(lambda k: Chain([(k * 7, head.chin_y + 12, s.chin_z + 12), (k * 8, -34, s.chin_z + 6)], 5.5))
    slab.paint(image, *floor, value=tissue.muscle, edge=edge)
    window = slab.window(shape, 4.0)
    if window is None:
        return
    p, part = slab.points.at(window), image[window]
    body = shape.distance(p)
    lay(part, body - np.float32(1.0), tissue.fat, edge)
    fan = np.arctan2(p.z - np.float32(s.chin_z + 8.0), p.y - np.float32(head.chin_y + 8.0))
    streak = np.square(np.sin(fan * np.float32(16.0) + np.sin(p.x * np.float32(0.5))))
    value = np.float32(tissue.muscle) + np.float32(0.30 * (tissue.fat - tissue.muscle)) * streak
    lay(part, body, value.astype(np.float32), edge)
    lay(part, np.maximum(body + np.float32(3.0), np.abs(p.x) - np.float32(0.6)), tissue.fat, edge)


def lay_canal(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """Discs between the vertebrae; the cord in its fluid, from the great hole downwards."""
    lean = head.shape.neck_forward * 0.15
    for n in range(1, 6):
        z, y = -37.0 - 17.0 * n - 8.5, 13.0 + 0.7 * n - lean * n
        slab.paint(image, Ellipsoid((0, y, z), (11.5, 8.0, 2.4)), value=tissue.disc, edge=edge)
    path = [(0, 24, -28), (0, 31, -50), (0, 31.5 - 2.5 * lean, -90), (0, 35 - 7 * lean, -170)]
    slab.paint(image, Chain(path, [10.5, 8.5, 8.0, 8.0], (0.82, 1, 1)), value=tissue.fluid, edge=edge)
    slab.paint(image, Chain(path, [5.6, 5.0, 4.6, 4.6], (0.78, 1, 1)),
               value=0.75 * tissue.white + 0.25 * tissue.grey, edge=edge)  # fmt: skip


def lay_vessels(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """Carotid arteries and jugular veins of the neck."""
    gz = head.shape.gonion_height
    arteries = mirrored(Chain([(24, -8, -24), (25, -10, gz), (27, -14, -170)], [2.8, 3.2, 3.8]))
    veins = mirrored(Chain([(29, 2, -22), (33, -4, gz), (36, -10, -170)], [3.6, 4.4, 5.6]))
    slab.paint(image, *arteries, *veins, value=tissue.sinus, edge=edge)
