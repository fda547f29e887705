"""What a person's head measures: the identity that bone and skin share.

Lengths in millimetres, in the head's own frame: origin midway between the ear canals, x to the left, y backwards, z up
(the Frankfurt plane is z = 0). Means and spreads are of the order of published adult anthropometry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.cohort.chance import Norm, draw_measures

WARPS = 6
FOLDS = 7
_TEETH = 16


def _norm(female: float, male: float, sd: float, low: float, high: float, size: float = 0.0, age: float = 0.0) -> Any:
    return field(metadata={"norm": Norm(female, male, sd, low, high, size, age)})


@dataclass(frozen=True, slots=True)
class SkullDetail:
    """Measures of what only an image of the inside shows."""

    sella_length: float = _norm(10.5, 10.8, 1.3, 7, 15)
    sella_depth: float = _norm(8.2, 8.2, 1.1, 5, 12)
    sella_height: float = _norm(20.5, 21.0, 1.8, 15, 26)
    dorsum_height: float = _norm(8.0, 8.0, 1.4, 4, 12)
    petrous_height: float = _norm(0.0, 0.0, 1.5, -4, 4)
    petrous_size: float = _norm(1.0, 1.05, 0.08, 0.75, 1.3)
    mastoid_size: float = _norm(0.95, 1.08, 0.09, 0.7, 1.35)
    mastoid_air: float = _norm(1.0, 1.0, 0.18, 0.4, 1.4)
    coronal_suture: float = _norm(-24, -25, 5.0, -40, -10)
    lambda_height: float = _norm(66, 68, 6.0, 48, 88)
    ethmoid: float = _norm(1.0, 1.0, 0.09, 0.75, 1.25)
    antrum_depth: float = _norm(1.0, 1.0, 0.10, 0.7, 1.3)
    antrum_height: float = _norm(1.0, 1.0, 0.12, 0.7, 1.35)
    frontal_septum: float = _norm(0.0, 0.0, 3.5, -9, 9)
    frontal_lobes: float = _norm(2.4, 2.6, 0.8, 1, 5)
    diploe: float = _norm(0.45, 0.45, 0.08, 0.2, 0.7)
    nasal_turbinate: float = _norm(1.0, 1.0, 0.14, 0.6, 1.4)
    tongue: float = _norm(1.0, 1.06, 0.06, 0.8, 1.25)


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Measures of one head, each drawn by the :class:`Norm` in its metadata, and small deviations of no name."""

    detail: SkullDetail
    # Braincase, bone.
    vault_length: float = _norm(174, 183, 5.0, 150, 205, size=4.0)
    vault_breadth: float = _norm(137, 143, 4.5, 118, 165, size=3.0)
    vault_height: float = _norm(111, 117, 3.5, 95, 135, size=2.5)
    vault_centre_y: float = _norm(-1, -1, 2.0, -8, 6)
    forehead_bulge: float = _norm(2.5, 0.5, 2.0, -6, 9)
    forehead_height: float = _norm(52, 52, 4.0, 38, 66)
    occiput_bulge: float = _norm(0.5, 1.5, 3.0, -8, 12)
    occiput_height: float = _norm(28, 28, 5.0, 12, 46)
    parietal_bulge: float = _norm(0.0, 0.0, 1.8, -5, 5)
    wall_thickness: float = _norm(6.8, 6.5, 0.8, 4.0, 10.0)
    temporal_thinning: float = _norm(0.42, 0.40, 0.07, 0.2, 0.6)
    # Upper face.
    brow_ridge: float = _norm(0.5, 2.6, 1.0, -1.5, 6.5)
    brow_height: float = _norm(31, 30, 1.6, 25, 37)
    orbit_distance: float = _norm(60.5, 63, 2.4, 52, 73, size=1.4)
    orbit_width: float = _norm(19.0, 19.6, 0.9, 16, 23, size=0.3)
    orbit_height: float = _norm(16.8, 16.8, 0.9, 13.5, 20, size=0.2)
    orbit_slant: float = _norm(2.0, 1.0, 2.5, -7, 10)
    eye_depth: float = _norm(0.0, -0.5, 1.4, -5, 4)
    nasion_depth: float = _norm(-1.0, 0.0, 1.8, -6.5, 6)
    cheekbone_width: float = _norm(121, 130, 3.8, 105, 148, size=3.0)
    cheekbone_forward: float = _norm(1.0, 0.0, 2.2, -7, 8)
    cheekbone_height: float = _norm(-7, -8, 2.2, -16, 1)
    # Nose.
    nose_length: float = _norm(46, 50, 3.0, 36, 62, size=1.0, age=0.3)
    nose_protrusion: float = _norm(17, 19, 2.3, 10, 28, age=0.2)
    nose_width: float = _norm(32, 36, 2.6, 24, 47, size=0.5, age=0.3)
    nose_bridge_width: float = _norm(5.2, 5.8, 0.8, 3.2, 8.6)
    nose_hump: float = _norm(0.0, 0.8, 1.3, -3.5, 5)
    nose_tip_radius: float = _norm(7.6, 8.4, 0.8, 5.2, 11.5)
    nose_tip_lift: float = _norm(1.5, -0.5, 2.2, -7.5, 8, age=-0.4)
    nose_deviation: float = _norm(0.0, 0.0, 1.1, -4.5, 4.5)
    # Lower face.
    face_height: float = _norm(109, 118, 4.5, 92, 140, size=3.5)
    maxilla_forward: float = _norm(0.0, 0.0, 2.4, -8, 8)
    palate_width: float = _norm(25.0, 26.5, 1.5, 20, 32, size=0.6)
    jaw_width: float = _norm(92, 101, 4.5, 76, 122, size=2.5)
    gonion_height: float = _norm(-52, -57, 3.5, -70, -40, size=-1.5)
    gonion_back: float = _norm(-15, -13, 3.0, -25, -3)
    chin_forward: float = _norm(-0.5, 1.0, 3.0, -11, 11)
    chin_width: float = _norm(11.0, 14.5, 2.2, 5, 23)
    mandible_depth: float = _norm(0.0, 1.2, 1.1, -3.5, 5)
    # Soft parts.
    scalp_thickness: float = _norm(5.2, 5.6, 0.7, 3.2, 8.5)
    face_fat: float = _norm(3.8, 2.4, 1.8, -2, 11)
    cheek_fullness: float = _norm(1.2, 0.4, 1.9, -5, 7, age=-0.5)
    mouth_width: float = _norm(45, 49, 2.8, 36, 60, size=0.7)
    upper_lip: float = _norm(5.0, 4.8, 0.8, 2.4, 8, age=-0.2)
    lower_lip: float = _norm(6.2, 6.0, 0.8, 3.4, 9.2, age=-0.2)
    lip_forward: float = _norm(0.0, 0.0, 1.5, -5, 5)
    ear_length: float = _norm(57, 62, 3.0, 46, 80, size=0.8, age=1.0)
    ear_breadth: float = _norm(30, 33, 1.9, 24, 42, age=0.3)
    ear_angle: float = _norm(24, 26, 6.0, 8, 48)
    ear_height: float = _norm(1, 0, 2.6, -9, 10)
    lid_fullness: float = _norm(0.0, -0.2, 0.8, -2.5, 2.5)
    neck_width: float = _norm(50, 60, 3.5, 40, 78, size=2.0)
    neck_forward: float = _norm(0.0, 0.0, 3.0, -10, 10)
    # Inside.
    ventricles: float = _norm(1.0, 1.03, 0.16, 0.6, 2.4, age=0.09)
    atrophy: float = _norm(2.0, 2.1, 0.5, 0.8, 6.0, age=0.35)
    frontal_sinus: float = _norm(0.85, 1.05, 0.28, 0.0, 2.0)
    frontal_sinus_skew: float = _norm(0.0, 0.0, 3.0, -10, 10)
    maxillary_sinus: float = _norm(1.0, 1.04, 0.11, 0.6, 1.4)
    sphenoid_sinus: float = _norm(1.0, 1.05, 0.16, 0.4, 1.5)
    septum_bow: float = _norm(0.0, 0.0, 1.6, -5, 5)
    # Deviations of no name: a smooth bend of space, and where single teeth stand, are missing or filled.
    warp: tuple[tuple[float, ...], ...] = ()
    teeth: tuple[float, ...] = ()
    fillings: tuple[int, ...] = ()
    folds: tuple[tuple[float, ...], ...] = ()
    phases: tuple[float, ...] = (0.0,) * 8
    lines: int = 0  # seed of sutures and of the grooves that vessels leave

    @property
    def chin_z(self) -> float:
        """Height of the lowest point of the bony chin."""
        return self.nasion_z - self.face_height + 4.0

    @property
    def nasion_z(self) -> float:
        return self.brow_height - 4.0


def draw_head(rng: np.random.Generator, sex: str, years: float, size: float) -> HeadShape:
    """A head for a person of this sex (``M`` or ``F``), age in years and overall size (standard normal)."""
    measures = draw_measures(HeadShape, rng, sex, years, size)
    missing = min(0.6, max(0.01, (years - 30.0) / 90.0))
    teeth = tuple(
        0.0 if rng.random() < missing * (0.4 if 3 < n % _TEETH < 12 else 1.0) else float(rng.uniform(0.85, 1.12))
        for n in range(2 * _TEETH)
    )
    filled = tuple(n for n, tooth in enumerate(teeth) if tooth > 0 and n % _TEETH in (1, 2, 13, 14))
    fillings = tuple(n for n in filled if rng.random() < 0.12)
    return HeadShape(
        **measures,
        warp=_draw_warp(rng),
        teeth=teeth,
        fillings=fillings,
        folds=_draw_folds(rng),
        phases=tuple(map(float, rng.uniform(0, 2 * np.pi, 8))),
        detail=SkullDetail(**draw_measures(SkullDetail, rng, sex, years, size)),
        lines=int(rng.integers(2**31)),
    )


def _draw_folds(rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """Waves whose zeros are the sulci: rows of (wave vector in radians per mm, phase, weight)."""
    rows = []
    for _ in range(FOLDS):
        direction = rng.standard_normal(3)
        direction *= 2 * np.pi / rng.uniform(22, 37) / np.linalg.norm(direction)
        rows.append((*map(float, direction), float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.6, 1.0))))
    return tuple(rows)


def _draw_warp(rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """Rows of (axis moved, direction x, y, z in radians per mm, phase, amplitude in mm)."""
    rows = []
    for number in range(WARPS):
        direction = rng.standard_normal(3)
        direction *= 2 * np.pi / rng.uniform(90, 180) / np.linalg.norm(direction)
        phase, amplitude = rng.uniform(0, 2 * np.pi), rng.normal(0, 1.1)
        rows.append((float(number % 3), *map(float, direction), float(phase), float(np.clip(amplitude, -2.5, 2.5))))
    return tuple(rows)
