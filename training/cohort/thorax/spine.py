"""Vertebrae from the neck to the loin: bodies, pedicles, transverse and spinous processes, and the discs between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.cohort.projection import Splats, gather
from training.cohort.thorax.bone import ACROSS, UP, Bone, Tissue, ball, tube
from training.cohort.thorax.frame import Chest

FIRST, LAST = -4, 15


def spine(chest: Chest) -> list[Bone]:
    body = Tissue("vertebra", 0.9, 520.0, chest.shape.vertebra_density)
    arch = Tissue("arch", 1.2, 640.0, 230.0)
    plates = Tissue("end plate", 2.0, 420.0, 420.0)
    bones = []
    for number in range(FIRST, LAST + 1):
        bones += [
            Bone(body, _body(chest, number)),
            Bone(plates, _plates(chest, number)),
            Bone(arch, _arch(chest, number)),
        ]
    return bones


def body_size(chest: Chest, number: int) -> tuple[float, float, float]:
    """Half the width, depth and height of a vertebral body."""
    s = chest.shape
    step = chest.pitch * (1.0 + 0.022 * (number - 6.0))
    disc = s.disc_height * (0.7 + 0.045 * number)
    if number < 1:
        return 0.36 * s.vertebra_width, 8.5, 0.5 * (0.72 * chest.pitch - 4.0)
    wide = 0.5 * s.vertebra_width * (0.84 + 0.024 * number + (0.09 if number == 1 else 0.0))
    return wide, (8.6 + 0.62 * number) * s.vertebra_width / 31.0, 0.5 * (step - disc)


def place(chest: Chest, number: int) -> tuple[float, float, float]:
    z = chest.vertebra_z(number)
    return float(chest.spine_x(z)), float(chest.spine_y(z)), z


def lean(chest: Chest, z: float) -> tuple[float, float]:
    """How far x and y of the spine change per millimetre upwards."""
    return (
        float(chest.spine_x(z + 1.0) - chest.spine_x(z - 1.0)) / 2.0,
        float(chest.spine_y(z + 1.0) - chest.spine_y(z - 1.0)) / 2.0,
    )


def _body(chest: Chest, number: int) -> Splats:
    """Discs stacked into a waisted drum whose end plates are square to the spine."""
    x, y, z = place(chest, number)
    wide, deep, half = body_size(chest, number)
    dx, dy = lean(chest, z)
    axis = np.array([dx, dy, 1.0])
    axis /= np.linalg.norm(axis)
    first = ACROSS - axis * axis[0]
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    count = max(6, int(2 * half / 2.6))
    t = np.linspace(-1.0, 1.0, count)
    thick = 1.25 * 2 * half / (count - 1)
    waist = 0.90 + 0.10 * t * t
    radii = np.stack([np.full(count, thick), wide * waist, deep * waist], axis=1)
    centres = np.array([x, y, z]) + axis * (t * (half - 0.6 * thick))[:, None]
    spacing = 2 * (half - 0.6 * thick) / (count - 1)
    frame = np.broadcast_to(np.stack([axis, first, second]), (count, 3, 3))
    return Splats(centres, frame, radii, np.full(count, spacing / (1.57 * thick)))


def _plates(chest: Chest, number: int) -> Splats:
    """The dense plates above and below the body."""
    body = _body(chest, number)
    ends = [0, len(body.weights) - 1]
    radii = body.radii[ends] * np.array([[0.0, 1.0, 1.0]]) + np.array([[1.3, 0.0, 0.0]])
    return Splats(body.centres[ends], body.axes[ends], radii, np.ones(2))


def _arch(chest: Chest, number: int) -> Splats:
    x, y, z = place(chest, number)
    wide, deep, half = body_size(chest, number)
    _, dy = lean(chest, z)
    size = wide / 15.5

    def at(dx: float, back: float, up: float) -> list[float]:
        # What lies behind the body leans with it.
        return [x + dx, y + back + dy * up, z + up - dy * back]

    parts = []
    neck = number < 1
    reach = 1.45 * wide + 13.0 * (1.0 - 0.055 * number) if number < 13 else 1.85 * wide
    wing_back = deep + (14.0 if number < 13 else 10.0)
    for side in (1, -1):
        parts.append(
            tube(
                np.array(
                    [at(side * 0.72 * wide, deep - 2, 0.28 * half), at(side * 0.70 * wide, deep + 10, 0.25 * half)]
                ),
                UP,
                (0.52 * half, 2.9 * size),
            )
        )
        parts.append(
            tube(
                np.array([at(side * 0.72 * wide, deep + 9, 0.1 * half), at(side * 3.0, deep + 19, -0.35 * half)]),
                UP,
                (0.72 * half, 2.3),
            )
        )
        facets = np.array(
            [at(side * 0.85 * wide, deep + 10, 0.9 * half), at(side * 0.82 * wide, deep + 11, -1.15 * half)]
        )
        parts.append(tube(facets, UP, (3.6 * size, 3.4 * size)))
        if not neck:
            wing = [at(side * 0.8 * wide, deep + 8, 0.2 * half), at(side * reach, deep + wing_back - 3, 0.5 * half)]
            parts.append(tube(np.array(wing), UP, np.array([[4.4 * size, 3.2], [4.0 * size, 4.4]])))
    parts.append(_spinous(number, at, half, deep))
    parts.append(ball((x, y + deep + 19.0, z - 0.3 * half - dy * 24), (3.4, 3.0, 0.7 * half)))
    return gather(parts)


def _spinous(number: int, at: Callable[[float, float, float], list[float]], half: float, deep: float) -> Splats:
    """Level at the ends of the thoracic spine, steep and overlapping in its middle."""
    steep = float(np.interp(number, [-4, 1, 4, 7, 10, 12, 15], [2, 8, 20, 25, 14, 6, 4]))
    long = float(np.interp(number, [-4, -1, 0, 2, 8, 12, 15], [20, 24, 34, 38, 34, 36, 40]))
    tip = at(0.0, deep + 12.0 + 0.62 * long, -0.3 * half - steep)
    high = float(np.interp(number, [0, 8, 12, 15], [3.4, 4.2, 7.0, 9.0]))
    path = np.array([at(0.0, deep + 18.0, -0.3 * half), tip])
    return tube(path, UP, np.array([[high * 1.1, 2.4], [high, 2.9]]))


def discs(chest: Chest) -> list[Bone]:
    """What fills the gaps between the bodies: seen only where no bone is."""
    tissue = Tissue("disc", 0.5, 85.0, 85.0)
    parts = []
    for number in range(FIRST, LAST):
        x, y, z = place(chest, number)
        below = place(chest, number + 1)
        wide, deep, _ = body_size(chest, number)
        path = np.array([[x, y, z], list(below)])
        parts.append(tube(path, ACROSS, (0.95 * wide, 0.95 * deep), 3.0))
    return [Bone(tissue, gather(parts))]
