"""Twelve pairs of ribs with their cartilages, and the sternum they meet."""

from __future__ import annotations

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats
from training.cohort.thorax.bone import ACROSS, Bone, Tissue, tube
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.shape import RIBS

# How far a rib falls from the spine to its front end, mm at the usual droop; where round the cage the bone ends.
_FALL = np.array([40.0, 58, 73, 85, 94, 100, 103, 101, 96, 88, 62, 36])
_END = np.array([2.52, 2.62, 2.64, 2.6, 2.53, 2.46, 2.37, 2.26, 2.15, 2.02, 1.45, 0.98])
_USUAL_DROOP = 47.0


def ribs(chest: Chest) -> list[Bone]:
    tissue = Tissue("rib", 1.0 * chest.shape.rib_cortex, 900.0 * chest.shape.rib_cortex**0.5, 190.0)
    return [Bone(tissue, _rib(chest, number, side)) for number in range(1, RIBS + 1) for side in (1, -1)]


def rib_measures(chest: Chest, number: int, side: int) -> tuple[float, float]:
    """Half the height and half the thickness of a rib."""
    s = chest.shape
    own = s.ribs[number - 1][4 * (side < 0) + 3] if s.ribs else 0.0
    scale = {1: 1.1, 11: 0.82, 12: 0.72}.get(number, 1.0)
    return 0.5 * scale * max(6.5, s.rib_height + 0.4 * own), 0.5 * s.rib_thickness * min(1.0, scale)


def _rib(chest: Chest, number: int, side: int) -> Splats:
    path, outward = rib_path(chest, number, side)
    high, thick = rib_measures(chest, number, side)
    along = np.linspace(0, 1, len(path))
    # Slender at the neck, thickest at the angle, broad in front.
    profile_high = np.interp(along, [0, 0.06, 0.14, 0.3, 0.8, 1], [0.72, 0.7, 0.85, 1.0, 1.0, 1.12])
    profile_thick = np.interp(along, [0, 0.06, 0.14, 0.3, 0.8, 1], [1.0, 0.85, 1.15, 1.0, 0.92, 0.98])
    tangent = np.gradient(path, axis=0)
    across = outward if number == 1 else np.cross(outward, tangent)
    return tube(path, across, np.stack([high * profile_high, thick * profile_thick], axis=1))


def rib_path(chest: Chest, number: int, side: int) -> tuple[Matrix, Matrix]:
    """The middle of rib ``number`` from the spine to its cartilage, (n, 3), and the outward normal along it."""
    s = chest.shape
    own = s.ribs[number - 1][4 * (side < 0) : 4 * (side < 0) + 4] if s.ribs else (0.0, 0.0, 0.0, 0.0)
    rise, slope, length, _ = own
    start = chest.vertebra_z(number) + (0.32 if number > 1 else 0.15) * chest.pitch + 0.6 * rise
    end = _END[number - 1] + length / 110.0
    fall = _FALL[number - 1] * (s.rib_droop / _USUAL_DROOP) ** 0.75 * chest.scale
    # Breathing in lifts the front ends.
    fall *= (0.94 + 0.20 * (1.0 - chest.breath)) * (1.0 + 0.9 * slope) + (-0.03 if chest.arms == "up" else 0.0)
    shoulder = np.arcsin(min(0.85, 31.0 / float(chest.half_width(start))))
    t = np.linspace(0.0, 1.0, 84)
    angle = shoulder + (end - shoulder) * t
    z = start - 3.0 - fall * ((1.0 - s.rib_slope) * t**1.75 + s.rib_slope * t)
    x, y = chest.wall(angle, z)
    x = side * x + chest.spine_x(z) * (1.0 - 0.6 * t)
    outward = np.stack([side * np.sin(angle) / chest.half_width(z), np.cos(angle) / chest.half_depth(z), 0 * z], 1)
    spine_x, spine_y = float(chest.spine_x(start)), float(chest.spine_y(start))
    head = [spine_x + side * 15.0, spine_y + 8.0, start]
    neck = [spine_x + 0.5 * (side * 15.0 + x[0] - spine_x), 0.5 * (spine_y + 8.0 + y[0]), start - 1.0]
    path = np.concatenate([np.array([head, neck]), np.stack([x, y, z], axis=1)])
    return path, np.concatenate([np.repeat(outward[:1], 2, axis=0), outward])


def sternum_points(chest: Chest) -> tuple[Matrix, Matrix]:
    """(n, 3) middle of manubrium, body and xiphoid from the top, and their half widths (n,)."""
    s = chest.shape
    top = s.clavicle_height + 7.0
    z = top - chest.scale * np.array([0.0, 8, 24, 40, 50, 56, 80, 110, 140, 150, 158, 182])
    wide = chest.scale * np.array([18.0, 28, 25, 18, 15, 14, 15, 18, 19, 14, 7, 4])
    y = np.array([chest.front_y(v) for v in z]) + np.array([3.0, 2, 1, -0.5, -1.5, -1.5, 0, 1, 1, 2, 4, 7])
    return np.stack([0 * z, y, z], axis=1), wide


def sternum(chest: Chest) -> list[Bone]:
    path, wide = sternum_points(chest)
    tissue = Tissue("sternum", 0.9, 620.0, 130.0)
    upper, lower = slice(0, 5), slice(5, 12)
    deep = np.full(len(wide), 5.6)
    deep[-2:] = 3.4
    return [
        Bone(tissue, tube(path[part], ACROSS, np.stack([wide[part], deep[part]], axis=1))) for part in (upper, lower)
    ]


def cartilages(chest: Chest) -> list[Bone]:
    """From the end of each bony rib to the sternum, the eighth to tenth to the one above."""
    tissue = Tissue("cartilage", 0.8, 95.0 + 320.0 * chest.shape.cartilage_chalk, 95.0)
    middle, wide = sternum_points(chest)
    heights = middle[0, 2] - chest.scale * np.array([17.0, 53, 76, 98, 118, 134, 147])
    bones = []
    for side in (1, -1):
        above: Matrix = np.zeros((0, 3))
        for number in range(1, 11):
            path, _ = rib_path(chest, number, side)
            start, lead = path[-1], path[-1] - path[-7]
            if number <= 7:
                z = heights[number - 1]
                x = side * float(np.interp(-z, -middle[:, 2], wide))
                stop = np.array([x, float(np.interp(-z, -middle[:, 2], middle[:, 1])), z])
            else:
                stop = above[int(len(above) * 0.45)]
            reach = float(np.linalg.norm(stop - start))
            knee = start + lead / np.linalg.norm(lead) * 0.42 * reach
            u = np.linspace(0, 1, 24)[:, None]
            curve: Matrix = (1 - u) ** 2 * start + 2 * u * (1 - u) * knee + u * u * stop
            high, thick = rib_measures(chest, number, side)
            size = (0.98 * high, 1.05 * thick) if number <= 7 else (0.75 * high, 0.95 * thick)
            bones.append(Bone(tissue, tube(curve, np.array([0.0, 0.0, 1.0]), size)))
            above = curve
    return bones
