"""What a person's chest measures: the identity that a chest radiograph shows.

Millimetres in the thorax's own frame: origin at the middle of the eighth thoracic vertebra, x to the left, y backwards,
z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.cohort.chance import Norm, draw_measures

RIBS = 12


def _norm(female: float, male: float, sd: float, low: float, high: float, size: float = 0.0, age: float = 0.0) -> Any:
    return field(metadata={"norm": Norm(female, male, sd, low, high, size, age)})


@dataclass(frozen=True, slots=True)
class ThoraxShape:
    """Measures of one chest, each drawn by the :class:`Norm` in its metadata, and what single bones and vessels add."""

    # Cage.
    cage_width: float = _norm(252, 284, 11, 205, 335, size=7)
    cage_depth: float = _norm(165, 190, 10, 125, 245, size=5, age=3)
    cage_height: float = _norm(262, 292, 12, 220, 345, size=9)
    cage_taper: float = _norm(0.56, 0.57, 0.04, 0.42, 0.7)
    rib_slope: float = _norm(0.34, 0.31, 0.06, 0.14, 0.52)
    rib_droop: float = _norm(46, 48, 7, 26, 72)
    rib_height: float = _norm(11.0, 12.8, 1.1, 8, 17)
    rib_thickness: float = _norm(6.2, 7.0, 0.6, 4.5, 9.5)
    rib_cortex: float = _norm(0.9, 1.0, 0.12, 0.5, 1.4, age=-0.05)
    scoliosis: float = _norm(0, 0, 4.5, -16, 16)
    scoliosis_height: float = _norm(0, 0, 35, -90, 90)
    kyphosis: float = _norm(22, 20, 7, 4, 55, age=2.5)
    vertebra_width: float = _norm(29, 33, 1.7, 23, 41, size=1)
    disc_height: float = _norm(4.6, 5.0, 0.6, 2.5, 7, age=-0.2)
    vertebra_density: float = _norm(190, 195, 30, 70, 330, age=-20)
    cartilage_chalk: float = _norm(0.2, 0.25, 0.15, 0, 1, age=0.09)
    # Shoulder girdle.
    clavicle_length: float = _norm(136, 152, 6, 112, 180, size=4)
    clavicle_rise: float = _norm(17, 17, 9, -10, 44)
    clavicle_bow: float = _norm(13, 15, 4, 2, 28)
    clavicle_radius: float = _norm(5.0, 6.0, 0.5, 3.6, 8.2)
    clavicle_height: float = _norm(103, 112, 6, 86, 134, size=3)
    scapula_width: float = _norm(93, 104, 5, 78, 124, size=2.5)
    scapula_height: float = _norm(138, 158, 7, 112, 186, size=4)
    scapula_apart: float = _norm(74, 82, 7, 55, 108, size=2)
    humerus_radius: float = _norm(21.5, 24.5, 1.2, 18, 30, size=0.8)
    # Heart, great vessels, airways.
    heart_width: float = _norm(118, 128, 9, 92, 180, size=3, age=2)
    heart_height: float = _norm(112, 120, 8, 88, 150, size=3)
    heart_tilt: float = _norm(38, 36, 7, 14, 60)
    heart_left: float = _norm(21, 22, 5, 5, 40)
    right_atrium: float = _norm(33, 36, 4, 22, 54, size=1)
    aortic_knob: float = _norm(13.5, 15.5, 2.0, 8, 26, age=1.0)
    aorta_unfolding: float = _norm(10, 12, 4, 0, 34, age=2.0)
    mediastinum_width: float = _norm(26, 29, 3.5, 17, 44, size=1)
    trachea_shift: float = _norm(-1, -1, 2.5, -10, 8)
    trachea_width: float = _norm(8.0, 9.4, 0.8, 5.5, 12.5)
    carina: float = _norm(62, 62, 7, 42, 82)
    hilum_height: float = _norm(38, 38, 6, 20, 58)
    hilum_size: float = _norm(1.0, 1.08, 0.14, 0.6, 1.6)
    vessel_prominence: float = _norm(1.0, 1.05, 0.16, 0.5, 1.6)
    # Diaphragm and lungs.
    dome_right: float = _norm(-74, -83, 7, -112, -52, size=-3)
    dome_difference: float = _norm(13, 14, 7, -12, 38)
    dome_curve_right: float = _norm(46, 48, 9, 20, 75)
    dome_curve_left: float = _norm(44, 46, 9, 20, 75)
    apex_height: float = _norm(139, 153, 5, 118, 175, size=4)
    fissure: float = _norm(0, 0, 8, -20, 20)
    apex_width: float = _norm(0.50, 0.50, 0.05, 0.34, 0.66)
    stomach_bubble: float = _norm(20, 22, 7, 0, 45)
    # Soft parts.
    fat: float = _norm(15, 11, 6, 3, 42)
    muscle: float = _norm(13, 20, 3.5, 6, 34)
    breast: float = _norm(52, 0, 15, 0, 95)
    gland: float = _norm(0.5, 0.3, 0.2, 0.05, 1.0, age=-0.09)
    breast_height: float = _norm(-50, -40, 13, -95, -5, age=-4)
    breast_apart: float = _norm(78, 72, 7, 55, 105, size=2)
    shoulder_width: float = _norm(186, 212, 9, 155, 250, size=6)
    neck_width: float = _norm(50, 60, 4, 38, 80, size=2)
    # Each rib pair: (rise at the spine, slope, length, radius) by which it differs from its neighbours, left and right.
    ribs: tuple[tuple[float, ...], ...] = ()
    # Seeds a vessel tree that is this person's own.
    vessels: int = 0


def draw_thorax(rng: np.random.Generator, sex: str, years: float, size: float) -> ThoraxShape:
    """A chest for a person of this sex (``M`` or ``F``), age in years and overall size (standard normal)."""
    measures = draw_measures(ThoraxShape, rng, sex, years, size)
    spread = np.array([1.5, 0.035, 5.0, 1.6])
    own = rng.standard_normal((RIBS, 4)) * spread
    sides = rng.standard_normal((RIBS, 2, 4)) * spread * 0.45
    ribs = tuple(tuple(float(v) for side in (0, 1) for v in own[n] + sides[n, side]) for n in range(RIBS))
    return ThoraxShape(**measures, ribs=ribs, vessels=int(rng.integers(2**31)))
