"""The dials of skin photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.draw import Draw


@dataclass(frozen=True, slots=True)
class SkinDials:
    """How much photographs of one patch of skin differ. Ranges are uniform (low, high); ``_sd`` standard deviations.

    The last group is off by default: families of nuisance that training never sees.
    """

    matrix: tuple[int, ...] = (288, 320)  # pixels, square
    width: tuple[float, float] = (14.0, 18.0)  # mm across the picture
    roll: tuple[float, float] = (-180.0, 180.0)  # degrees that the camera is turned
    shift_sd: float = 1.2  # mm off the middle
    exposure: tuple[float, float] = (0.75, 1.25)
    gradient: tuple[float, float] = (0.0, 0.4)  # change of light across the picture
    red: tuple[float, float] = (0.92, 1.08)  # colour balance of the camera
    blue: tuple[float, float] = (0.85, 1.15)
    gamma: tuple[float, float] = (0.85, 1.2)
    defocus: tuple[float, float] = (0.4, 1.1)  # pixels
    noise: tuple[float, float] = (0.004, 0.014)
    dermoscope: float = 0.5  # share of cameras with a round black edge
    ruler: float = 0.2  # share with a millimetre scale
    hairs: tuple[float, float] = (0.0, 14.0)
    bubbles: float = 0.15  # share with air in the immersion fluid
    ink: float = 0.0  # share with a surgeon's mark
    glare: float = 0.0  # share with light mirrored by the skin


UNSEEN = replace(SkinDials(), ink=0.35, glare=0.5, defocus=(0.4, 2.2), exposure=(0.5, 1.5))
CLINICAL = replace(SkinDials(), matrix=(1024,))


@dataclass(frozen=True, slots=True)
class SkinVisit:
    """One photograph: angles in degrees, lengths in millimetres unless the dial says pixels."""

    matrix: int
    width: float
    roll: float
    shift: tuple[float, float]
    exposure: float
    gradient: float
    gains: tuple[float, float, float]
    gamma: float
    defocus: float
    noise: float
    dermoscope: bool
    ruler: bool
    hairs: int
    bubbles: bool
    ink: bool
    glare: bool


def draw_skin(draw: Draw, d: SkinDials) -> SkinVisit:
    """One photograph of the visit."""
    return SkinVisit(
        matrix=draw.habit_choose(d.matrix),
        width=draw.habit(d.width),
        roll=draw.uniform(d.roll),
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd)),
        exposure=draw.uniform(d.exposure),
        gradient=draw.uniform(d.gradient),
        gains=(draw.habit(d.red), 1.0, draw.habit(d.blue)),
        gamma=draw.habit(d.gamma),
        defocus=draw.uniform(d.defocus),
        noise=draw.habit(d.noise),
        dermoscope=draw.habit_chance(d.dermoscope),
        ruler=draw.habit_chance(d.ruler),
        hairs=round(draw.uniform(d.hairs)),
        bubbles=draw.chance(d.bubbles),
        ink=draw.chance(d.ink),
        glare=draw.chance(d.glare),
    )
