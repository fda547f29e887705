"""What a person's two eyes measure at the fundus: related, and never mirrored copies of each other.

Lengths are millimetres on the retina, angles degrees. Each eye has a frame of its own: origin at the centre of the
fovea, x towards the nose, y up. Means and spreads are of the order of published fundus biometry (disc about
1.8 mm high and 4.8 mm from the fovea, which lies some 6 degrees below it; arteriole-to-venule ratio about 0.7).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from training.cohort.chance import Norm, norm_of

SIDES = ("R", "L")


def _norm(mean: float, sd: float, low: float, high: float, alike: float, size: float = 0.0, age: float = 0.0) -> Any:
    """``alike`` is the correlation between the two eyes of a person."""
    return field(metadata={"norm": Norm(mean, mean, sd, low, high, size, age), "alike": alike})


@dataclass(frozen=True, slots=True)
class EyeShape:
    """Measures of one fundus, each drawn by the :class:`Norm` in its metadata; seeds for what has no name.

    ``side`` is ``R`` or ``L``. ``seed`` decides how the vessels branch, ``ground`` the texture beneath them.
    """

    side: str
    seed: int
    ground: int
    # Optic disc.
    disc_height: float = _norm(1.84, 0.17, 1.35, 2.5, 0.85, size=0.03)
    disc_ovality: float = _norm(0.91, 0.05, 0.72, 1.06, 0.6)  # width over height
    disc_tilt: float = _norm(0.0, 10.0, -32, 32, 0.4)  # of the long axis from the vertical
    disc_unevenness: float = _norm(0.018, 0.008, 0.0, 0.05, 0.3)  # of the margin, relative
    disc_pallor: float = _norm(0.5, 0.16, 0.05, 1.0, 0.85, age=0.03)
    cup_ratio: float = _norm(0.40, 0.13, 0.08, 0.82, 0.85, age=0.012)  # vertical, of the disc
    cup_ovality: float = _norm(1.02, 0.07, 0.8, 1.25, 0.6)  # against the disc's own
    cup_shift: float = _norm(-0.05, 0.05, -0.2, 0.1, 0.5)  # towards the nose, of the disc's width
    cup_sharpness: float = _norm(0.5, 0.2, 0.05, 1.0, 0.8)
    trunk_shift: float = _norm(0.10, 0.06, -0.06, 0.28, 0.5)  # where the vessels leave, of the disc's width
    atrophy: float = _norm(0.12, 0.14, 0.0, 0.75, 0.75, age=0.035)  # width of the crescent, mm
    atrophy_angle: float = _norm(180.0, 24.0, 110, 250, 0.3)  # of its middle; 180 is temporal
    rim_pigment: float = _norm(0.12, 0.16, 0.0, 0.8, 0.6)  # dark crescent at the disc's margin
    # Where the fovea lies, and what it looks like.
    fovea_distance: float = _norm(4.78, 0.26, 4.0, 5.7, 0.9, size=0.05)
    fovea_drop: float = _norm(6.2, 2.8, -2.0, 14.0, 0.5)
    macula_darkness: float = _norm(0.5, 0.13, 0.12, 0.95, 0.9)
    macula_size: float = _norm(1.0, 0.12, 0.7, 1.4, 0.8)
    fovea_reflex: float = _norm(0.50, 0.22, 0.0, 1.0, 0.85, age=-0.16)
    # Vessels.
    arcade_superior: float = _norm(4.1, 0.42, 2.9, 5.4, 0.65)  # height of the arcade above the fovea
    arcade_inferior: float = _norm(4.2, 0.42, 2.9, 5.5, 0.65)
    arcade_reach: float = _norm(5.2, 0.6, 3.6, 7.0, 0.5)  # how far temporal of the fovea the arcades close
    artery_calibre: float = _norm(0.112, 0.010, 0.085, 0.145, 0.88, age=-0.0015)  # a main branch, at the disc
    artery_vein_ratio: float = _norm(0.71, 0.05, 0.55, 0.88, 0.85, age=-0.006)
    artery_tortuosity: float = _norm(1.0, 0.32, 0.25, 2.4, 0.85)
    vein_tortuosity: float = _norm(1.0, 0.30, 0.25, 2.4, 0.8)
    artery_reflex: float = _norm(0.5, 0.15, 0.1, 1.0, 0.9, age=0.03)
    branch_density: float = _norm(1.0, 0.09, 0.75, 1.25, 0.85, age=-0.015)
    branch_straightness: float = _norm(0.5, 0.15, 0.1, 0.95, 0.7)
    junction_exponent: float = _norm(2.55, 0.14, 2.2, 3.0, 0.8)  # Murray's law says 3
    # The ground.
    pigment: float = _norm(0.5, 0.20, 0.02, 1.0, 0.97)
    redness: float = _norm(0.0, 1.0, -2.2, 2.2, 0.9)
    choroid: float = _norm(0.34, 0.20, 0.0, 1.0, 0.9, age=0.055)  # how far its vessels show
    choroid_scale: float = _norm(1.0, 0.14, 0.7, 1.4, 0.8)
    nerve_sheen: float = _norm(0.5, 0.18, 0.0, 1.0, 0.9, age=-0.13)
    lens_yellow: float = _norm(0.28, 0.10, 0.0, 1.0, 0.9, age=0.07)

    @property
    def disc(self) -> tuple[float, float]:
        """Centre of the disc in the eye's frame, millimetres: nasal of the fovea and above it."""
        angle = np.radians(self.fovea_drop)
        return float(self.fovea_distance * np.cos(angle)), float(self.fovea_distance * np.sin(angle))


@dataclass(frozen=True, slots=True)
class EyesShape:
    """The two eyes of a person."""

    right: EyeShape
    left: EyeShape

    def of(self, side: str) -> EyeShape:
        """The eye of this side, ``R`` or ``L``."""
        return {"R": self.right, "L": self.left}[side]


def draw_eyes(rng: np.random.Generator, sex: str, years: float, size: float) -> EyesShape:
    """Two eyes for a person of this sex (``M`` or ``F``), age in years and overall size (standard normal).

    Each measure is spread over persons as its norm says, and correlates between the two eyes as it says. Seeds are
    drawn for each eye: calibre, tortuosity and arcades are a family likeness, the branching is each eye's own.
    """
    values: dict[str, dict[str, Any]] = {side: {"side": side} for side in SIDES}
    for item in fields(EyeShape):
        norm = norm_of(item)
        if norm is None:
            continue
        mean = (norm.male if sex == "M" else norm.female) + norm.size * size + norm.age * (years - 45.0) / 10.0
        alike = float(item.metadata["alike"])
        common = rng.standard_normal()
        for side in SIDES:
            z = np.sqrt(alike) * common + np.sqrt(1.0 - alike) * rng.standard_normal()
            values[side][item.name] = float(np.clip(mean + norm.sd * z, norm.low, norm.high))
    for side in SIDES:
        values[side]["seed"], values[side]["ground"] = (int(v) for v in rng.integers(0, 2**62, 2))
    return EyesShape(EyeShape(**values["R"]), EyeShape(**values["L"]))
