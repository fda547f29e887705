"""The bones of the chest as splats: ribs, spine, clavicles, scapulae, humeri, sternum."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats, gather, rod
from training.cohort.thorax.cage import Chest
from training.cohort.thorax.shape import RIBS

# Above water, per millimetre.
_COMPACT, _SPONGY = 0.030, 0.010
_UP = np.array([0.0, 0.0, 1.0])
_BACK = np.array([0.0, 1.0, 0.0])


def skeleton(chest: Chest) -> Splats:
    """All bones, hollow where bones are hollow."""
    return gather([*ribs(chest), *spine(chest), *shoulders(chest), *sternum(chest)])


def _tube(path: Matrix, across: Matrix, radii: tuple[float, float] | Matrix, cortex: float = 1.0) -> list[Splats]:
    solid = rod(path, across, radii, _COMPACT * cortex)
    return [solid, solid.scaled(0.76, -0.62)]


def ribs(chest: Chest) -> list[Splats]:
    parts: list[Splats] = []
    for number in range(1, RIBS + 1):
        for side in (1, -1):
            path, outward = rib_path(chest, number, side)
            own = chest.shape.ribs[number - 1][4 * (side < 0) + 3] if chest.shape.ribs else 0.0
            scale = 0.82 if number in (1, 11, 12) else 1.0
            high = 0.5 * scale * max(6.0, chest.shape.rib_height + 0.4 * own)
            thick = 0.5 * scale * chest.shape.rib_thickness
            taper = np.ones((len(path), 1)) * np.array([[high, thick]])
            taper[:6] *= 0.8
            across = np.cross(outward, np.gradient(path, axis=0))
            parts += _tube(path, across, taper, chest.shape.rib_cortex)
    return parts


def rib_path(chest: Chest, number: int, side: int) -> tuple[Matrix, Matrix]:
    """The middle of rib ``number`` from the spine to its cartilage, (n, 3), and the outward normal along it."""
    s = chest.shape
    rise, slope, length, _ = s.ribs[number - 1][4 * (side < 0) : 4 * (side < 0) + 4] if s.ribs else (0.0, 0.0, 0.0, 0.0)
    start = chest.vertebra_z(number) + 4.0 + rise
    end = {1: 2.45, 2: 2.5, 8: 2.2, 9: 2.08, 10: 1.92, 11: 1.45, 12: 0.95}.get(number, 2.42) + length / 90.0
    droop = s.rib_droop * (0.72 + 0.15 * min(number, 9)) * (0.90 + 0.14 * (1.0 - chest.breath)) * (1.0 + 0.8 * slope)
    along = np.linspace(0.0, 1.0, 72)
    angle = 0.30 + (end - 0.30) * along
    # Down gently behind, steeply in front.
    fall = droop * ((1 - s.rib_slope) * along**1.6 + s.rib_slope * along) * (end / 2.42) ** 1.2
    z = start - fall
    a, b, cy = chest.half_width(z), chest.half_depth(z), chest.centre_y(z)
    cx = chest.spine_x(z) * (1.0 - 0.6 * along)
    x, y = cx + side * a * np.sin(angle), cy + b * np.cos(angle)
    outward = np.stack([side * np.sin(angle) / a, np.cos(angle) / b, np.zeros_like(z)], axis=1)
    neck_x = float(chest.spine_x(start)) + side * 17.0
    neck = np.array(
        [[neck_x, float(chest.spine_y(start)) + 9.0, start + 2.0], [0.5 * (neck_x + x[0]), y[0] - 3.0, start + 1.5]]
    )
    path = np.concatenate([neck, np.stack([x, y, z], axis=1)])
    return path, np.concatenate([np.repeat(outward[:1], 2, axis=0), outward])


def spine(chest: Chest) -> list[Splats]:
    parts: list[Splats] = []
    s = chest.shape
    for number in range(-3, 16):
        z = chest.vertebra_z(number)
        y, x = float(chest.spine_y(np.clip(z, -220, 220))), float(chest.spine_x(z))
        size = 0.72 if number < 1 else 0.86 + 0.022 * number
        half, wide, deep = (
            0.5 * (chest.pitch - s.disc_height) * (0.72 if number < 1 else 1.0),
            0.5 * s.vertebra_width * size,
            13.0 * size,
        )
        zs = np.array([[x, y, z - half], [x, y, z + half]])
        body = rod(zs, np.array([1.0, 0, 0]), (wide, deep), _SPONGY * 1.25, 1.0)
        flat = Splats(
            body.centres,
            body.axes,
            np.column_stack([np.full(len(body.centres), 1.4), body.radii[:, 1:]]),
            body.weights * (body.radii[:, 0] / 1.4),
        )
        parts.append(flat)
        parts += [_ball((x, y, level), (wide * 1.03, deep, 1.0), _COMPACT * 0.55) for level in (z - half, z + half)]
        for side in (1, -1):
            pedicle = (x + side * wide * 0.66, y + 16 * size, z + 0.3 * half)
            parts += [
                _ball(pedicle, (3.6 * size, 7, 5.8 * size), _COMPACT * 0.9),
                _ball(pedicle, (2.2 * size, 7, 4.2 * size), -_COMPACT * 0.6),
            ]
            if number >= 1:
                wing = np.array(
                    [
                        [x + side * wide * 0.7, y + 18, z + 2],
                        [x + side * (wide + 15 * (1.1 - 0.04 * number)), y + 27, z + 6],
                    ]
                )
                parts += _tube(wing, _UP, (4.6, 3.6), 0.7)
        process = np.array([[x, y + 26, z + 1], [x, y + 40, z - (14 if number > 1 else 4)]])
        parts += _tube(process, _UP, (4.5, 2.4), 0.9)
    return parts


def _ball(centre: tuple[float, float, float], radii: tuple[float, float, float], density: float) -> Splats:
    return Splats(np.array([centre]), np.eye(3)[None], np.array([radii]), np.array([density]))


def shoulders(chest: Chest) -> list[Splats]:
    parts: list[Splats] = []
    for side in (1, -1):
        parts += _clavicle(chest, side)
        parts += _scapula(chest, side)
        parts += _humerus(chest, side)
    return parts


def _socket(chest: Chest, side: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Middle of the shoulder joint."""
    s = chest.shape
    out = s.clavicle_length + 8.0
    rise = 0.5 * s.clavicle_rise + (0.0 if chest.arms_down else 4.0)
    return np.array([side * out, -4.0, s.clavicle_height - 26.0 + rise])


def _clavicle(chest: Chest, side: int) -> list[Splats]:
    s = chest.shape
    u = np.linspace(0.0, 1.0, 40)
    x = side * (17.0 + s.clavicle_length * u * 0.97)
    z = s.clavicle_height + s.clavicle_rise * u + 5.0 * np.sin(2 * np.pi * u) - 3.0 * u * u
    y = chest.front_y(s.clavicle_height - 20) + 8.0 - s.clavicle_bow * np.sin(2 * np.pi * u * 0.9) + 62.0 * u
    radius = s.clavicle_radius * (0.86 + 0.55 * (u - 0.5) ** 2 * 4 * 0.6)
    widths = np.stack([radius * (1.0 - 0.15 * u), radius * (1.0 + 0.5 * u)], axis=1)
    return _tube(np.stack([x, y, z], axis=1), _UP, widths, 1.15)


def _scapula(chest: Chest, side: int) -> list[Splats]:
    s = chest.shape
    socket = _socket(chest, side)
    inner = side * (s.scapula_apart + (0.0 if chest.arms_down else 12.0))
    top = np.array([inner, 46.0, socket[2] + 26.0])
    low = np.array([inner + side * 16.0, 54.0, socket[2] + 26.0 - s.scapula_height])
    glenoid = socket + np.array([-side * 16.0, 8.0, -2.0])
    u = np.linspace(0, 1, 24)[:, None]

    def edge(a: Matrix, b: Matrix, bow: float) -> Matrix:
        path: Matrix = a + (b - a) * u + np.array([side * bow, 0.0, 0.0]) * np.sin(np.pi * u)
        return path

    parts = _tube(edge(glenoid, low, -7.0), _BACK, (4.4, 3.2), 1.0)
    parts += _tube(edge(top, low, -5.0), _BACK, (2.2, 1.6), 0.9)
    parts += _tube(edge(top, glenoid + np.array([-side * 10, 0, 16.0]), 0.0), _BACK, (2.2, 1.8), 0.9)
    acromion = socket + np.array([side * 12.0, 10.0, 30.0])
    ridge = top + (low - top) * 0.24
    parts += _tube(edge(ridge, acromion, 0.0), _BACK, (7.0, 2.6), 0.7)
    parts += _tube(
        edge(glenoid + np.array([0, 0, 14.0]), glenoid + np.array([side * 2, -26.0, 22.0]), 0.0), _UP, (5.0, 4.0), 0.8
    )
    parts += [_ball(tuple(glenoid), (5, 12, 17), _COMPACT * 0.5)]
    # The thin plate: rods side by side from the medial border to the lateral one.
    for share in np.linspace(0.06, 0.94, 22):
        a, b = top + (low - top) * share, glenoid + (low - glenoid) * share
        parts.append(rod(np.stack([a, b]), _UP, (s.scapula_height / 40.0, 1.4), _COMPACT * 1.0, 3.0))
    return parts


def _humerus(chest: Chest, side: int) -> list[Splats]:
    socket, r = _socket(chest, side), chest.shape.humerus_radius
    head = socket + np.array([side * 12.0, -4.0, -2.0])
    away = 12.0 if chest.arms_down else 46.0
    elbow = head + np.array([side * away, 14.0, -290.0])
    parts = [
        _ball(tuple(head), (r, r, r), _SPONGY * 1.3),
        _ball(tuple(head), (r - 1.6, r - 1.6, r - 1.6), -_SPONGY * 0.5),
    ]
    neck = head + (elbow - head) * np.array([[0.04], [0.14], [0.3], [1.0]]) + np.array([side * 5.0, 0, 0])
    widths = np.array([[r * 0.9, r * 0.9], [r * 0.62, r * 0.62], [r * 0.5, r * 0.5], [r * 0.48, r * 0.48]])
    shaft = rod(neck, _BACK, widths, _COMPACT * 0.9)
    return [*parts, shaft, shaft.scaled(0.66, -0.72)]


def sternum(chest: Chest) -> list[Splats]:
    s = chest.shape
    top, low = s.clavicle_height - 8.0, s.clavicle_height - 0.62 * s.cage_height
    zs = np.linspace(top, low, 20)
    path = np.stack([np.zeros(20), [chest.front_y(z) + 6.0 for z in zs], zs], axis=1)
    wide = np.interp(np.linspace(0, 1, 20), [0, 0.15, 0.3, 0.9, 1.0], [26, 22, 14, 18, 8])
    return [rod(path, np.array([1.0, 0, 0]), np.stack([wide, np.full(20, 5.0)], axis=1), _SPONGY)]
