"""The dials of fundus photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import cos, sin

from training.cohort.draw import Draw
from training.cohort.illness import Illness

EYES = ("R", "L")
VIEWS = ("MACULA", "DISC")
# What the aperture of a camera leaves of the round picture.
APERTURES = ("ROUND", "CUT", "WIDE", "NOTCH")


@dataclass(frozen=True, slots=True)
class FundusDials:
    """How much fundus photographs of one eye differ. Ranges are uniform (low, high); ``_sd`` are standard deviations.

    The last group is off by default: families of nuisance that training never sees.
    """

    matrix: tuple[int, ...] = (608, 640, 704)  # pixels of the longer edge
    field: tuple[float, float] = (35.0, 55.0)  # degrees across the picture
    disc_views: float = 0.5  # share of cameras that also take each eye centred on the disc
    shift_sd: float = 0.75  # mm on the retina off the intended centre, each of x and y
    torsion_sd: float = 5.0  # degrees that eye and head are rolled
    magnification_sd: float = 0.025  # relative, with the distance to the camera
    bend: tuple[float, float] = (-0.02, 0.07)  # radial distortion at the edge, relative
    aperture: tuple[tuple[str, float], ...] = (("ROUND", 0.35), ("CUT", 0.3), ("WIDE", 0.2), ("NOTCH", 0.15))
    red: tuple[float, float] = (0.88, 1.16)  # colour balance of the camera
    green: tuple[float, float] = (0.82, 1.12)
    blue: tuple[float, float] = (0.70, 1.60)
    gamma: tuple[float, float] = (0.78, 1.30)
    detail: tuple[float, float] = (0.0, 0.8)  # sharpening by the camera
    vignette: tuple[float, float] = (0.05, 0.50)  # loss of light at the edge
    noise: tuple[float, float] = (0.005, 0.018)  # relative, at mean exposure
    quality: tuple[float, float] = (62.0, 96.0)  # of the JPEG compression within the camera
    exposure: tuple[float, float] = (0.70, 1.35)  # relative
    gradient: tuple[float, float] = (0.0, 0.60)  # change of light across the picture
    patches: tuple[float, float] = (0.0, 0.30)  # uneven light without direction
    defocus: tuple[float, float] = (0.3, 1.5)  # pixels of blur, at 640 pixels
    haze: tuple[float, float] = (0.0, 0.16)  # stray light from the media, without cataract
    flare: float = 0.30  # share of photographs with a bright crescent from a small pupil
    lashes: float = 0.10  # share of photographs shaded by lashes or lid
    wrong_side: float = 0.01  # share of photographs labelled as the other eye
    red_free: float = 0.0  # share of photographs in green light
    wide: float = 0.0  # share of photographs by an ultra-wide camera
    dust: float = 0.0  # share of photographs through a scratched and dusty lens
    smear: float = 0.0  # share of photographs in which the eye moved
    murk: float = 0.0  # share of photographs through blood or a dense cataract


# What a default visit never shows: other light, another projection, defects of lens, movement, and dense media.
UNSEEN = FundusDials(
    red_free=0.25,
    wide=0.25,
    dust=0.35,
    smear=0.20,
    murk=0.30,
    torsion_sd=8.0,
    exposure=(0.5, 1.7),
    defocus=(0.3, 2.4),
)
CLINICAL = replace(FundusDials(), matrix=(1536, 1920, 2304))


@dataclass(frozen=True, slots=True)
class Shot:
    """One photograph: where it is centred (mm off its target), rolled and lit; each eye and view has its own.

    ``gradient`` is (x, y) of the change of light across the picture; angles are degrees.
    """

    shift: tuple[float, float]
    torsion: float
    magnification: float
    exposure: float
    gradient: tuple[float, float]
    patches: float
    defocus: float
    haze: float
    flare: bool
    flare_angle: float
    lashes: bool
    wrong_side: bool
    red_free: bool
    wide: bool
    dust: bool
    smear: float
    murk: float


@dataclass(frozen=True, slots=True)
class FundusVisit:
    """The camera of one visit, and its shots by (eye, view): ``("R", "MACULA")`` and so on."""

    views: tuple[str, ...]
    matrix: int
    field: float
    bend: float
    aperture: str
    gains: tuple[float, float, float]
    gamma: float
    detail: float
    vignette: float
    noise: float
    quality: int
    shots: Mapping[tuple[str, str], Shot]


def draw_fundus(draw: Draw, d: FundusDials, ill: Illness) -> FundusVisit:
    """The visit's camera, and a shot for every eye and view whether or not it is taken."""
    apertures, shares = zip(*d.aperture, strict=True)
    camera = FundusVisit(
        views=VIEWS if draw.habit_chance(d.disc_views) else VIEWS[:1],
        matrix=draw.habit_choose(d.matrix),
        field=round(draw.habit(d.field), 1),
        bend=draw.habit(d.bend),
        aperture=draw.habit_choose(apertures, shares),
        gains=(draw.habit(d.red), draw.habit(d.green), draw.habit(d.blue)),
        gamma=draw.habit(d.gamma),
        detail=draw.habit(d.detail),
        vignette=draw.habit(d.vignette),
        noise=draw.habit(d.noise),
        quality=round(draw.habit(d.quality)),
        shots={},
    )
    cataract = ill["cataract"]
    shots = {}
    for eye in EYES:
        # One eye's cataract runs ahead of the other's.
        opaque = cataract.severity * (1.0 if cataract.side == eye else 0.45)
        for view in VIEWS:
            shots[eye, view] = _draw_shot(draw, d, opaque)
    return replace(camera, shots=shots)


def _draw_shot(draw: Draw, d: FundusDials, opaque: float) -> Shot:
    steep, towards = draw.uniform(d.gradient), draw.uniform((0.0, 6.283))
    return Shot(
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd)),
        torsion=draw.normal(d.torsion_sd),
        magnification=1.0 + draw.normal(d.magnification_sd),
        exposure=draw.uniform(d.exposure),
        gradient=(steep * cos(towards), steep * sin(towards)),
        patches=draw.uniform(d.patches),
        defocus=draw.uniform(d.defocus) + 1.3 * opaque,
        haze=draw.uniform(d.haze) + 0.42 * opaque,
        flare=draw.chance(d.flare),
        flare_angle=draw.uniform((0.0, 360.0)),
        lashes=draw.chance(d.lashes),
        wrong_side=draw.chance(d.wrong_side),
        red_free=draw.chance(d.red_free),
        wide=draw.chance(d.wide),
        dust=draw.chance(d.dust),
        smear=draw.uniform((4.0, 11.0)) if draw.chance(d.smear) else 0.0,
        murk=draw.uniform((0.4, 1.0)) if draw.chance(d.murk) else 0.0,
    )
