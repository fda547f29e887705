"""The dials of skull radiographs: a frontal and a lateral film of one day."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.draw import Draw
from training.cohort.illness import Illness

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SkullFilmDials:
    """How much skull films of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    tilt_sd: float = 4.0  # degrees, each of pitch, roll and yaw, each film for itself
    caudal: tuple[float, float] = (2.0, 18.0)  # degrees that the frontal beam points down: the department's habit
    shift_sd: float = 9.0  # mm off the middle of the detector
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 2.4  # degrees of opening (half normal)
    distance: tuple[float, float] = (1000.0, 1500.0)  # mm from source to detector
    gap: tuple[float, float] = (20.0, 60.0)  # mm between head and detector
    collimation: tuple[float, float] = (4.0, 30.0)  # mm around the head
    collimation_sd: float = 9.0  # mm, each edge
    shutter: float = 0.3  # share of visits with the edges of the collimator in view
    shutter_shape: Shares = (("rectangle", 1.0),)
    matrix: tuple[int, int] = (448, 576)  # pixels of the longer edge
    voxel: float = 1.25  # mm: the anatomy's sampling
    kilovolts: tuple[float, float] = (66.0, 82.0)
    scatter: tuple[float, float] = (0.10, 0.45)  # of the primary signal
    noise: tuple[float, float] = (0.006, 0.02)  # relative, at mean exposure
    gamma: tuple[float, float] = (0.7, 1.4)  # of the vendor's look-up table
    detail: tuple[float, float] = (0.5, 1.6)  # of the vendor's local contrast enhancement
    monochrome1: float = 0.2  # share stored with MONOCHROME1
    mirrored: float = 0.015  # share with one film stored as a mirror image under a header that does not say so
    table: Shares = (("sigmoid", 0.5), ("film", 0.25), ("straight", 0.25))  # the vendor's look-up table; a habit
    marker: float = 0.85  # share with a side marker
    marker_style: Shares = (("letter", 0.5), ("boxed", 0.25), ("initials", 0.25))  # a habit
    text: float = 0.05  # share with the patient's ID and the date burned in
    arch_bar: float = 0.0  # share with orthodontic wires
    collar: float = 0.0  # share with a cervical collar
    plate: float = 0.0  # share with plates and screws of an operation


# Never seen in training: wires, collars, plates, other projections, hard exposure.
UNSEEN = SkullFilmDials(
    tilt_sd=7.0,
    caudal=(-8.0, 25.0),
    jaw_sd=6.0,
    weight_sd=2.6,
    scatter=(0.4, 0.8),
    noise=(0.015, 0.032),
    gamma=(0.5, 2.0),
    detail=(1.6, 2.6),
    shutter_shape=(("circle", 0.6), ("octagon", 0.4)),
    table=(("inverse", 0.6), ("steps", 0.4)),
    marker_style=(("ring", 1.0),),
    arch_bar=0.4,
    collar=0.4,
    plate=0.4,
)
CLINICAL = replace(SkullFilmDials(), matrix=(1600, 2048), voxel=0.7)


@dataclass(frozen=True, slots=True)
class SkullFilmVisit:
    """Two films: ``frontal`` and ``lateral`` are angles (degrees) and shifts (mm) of each; lengths in millimetres.

    ``edges`` are what collimation leaves around the head: left, right, top, bottom of both films. ``shutter``,
    ``marker`` and ``mirrored`` (the view that is) are empty where there is none.
    """

    frontal: tuple[float, float, float, float, float]
    lateral: tuple[float, float, float, float, float]
    weight: float
    jaw: float
    smile: float
    swelling: tuple[float, float]
    distance: float
    gap: float
    edges: tuple[float, float, float, float]
    shutter: str
    matrix: int
    voxel: float
    kilovolts: float
    scatter: float
    noise: float
    gamma: float
    detail: float
    window: tuple[float, float]
    monochrome1: bool
    mirrored: str
    table: str
    marker: str
    text: bool
    arch_bar: bool
    collar: bool
    plate: bool


def draw_skull_film(draw: Draw, d: SkullFilmDials, weight: float, ill: Illness) -> SkullFilmVisit:
    """``weight`` is the day's, in standard deviations."""
    swelling = ill["swelling"]
    swollen = 3.0 + 5.0 * swelling.severity if swelling else 0.0
    around = draw.habit(d.collimation)
    caudal = draw.habit(d.caudal)
    low, high = d.matrix
    return SkullFilmVisit(
        frontal=_pose(draw, d, -caudal),
        lateral=_pose(draw, d, 0.0),
        weight=weight * d.weight_sd,
        jaw=abs(draw.normal(d.jaw_sd)),
        smile=0.0,
        swelling=(swollen, 0.0) if swelling.side == "L" else (0.0, swollen),
        distance=draw.habit(d.distance),
        gap=draw.habit(d.gap),
        edges=(
            around + draw.normal(d.collimation_sd),
            around + draw.normal(d.collimation_sd),
            around + draw.normal(d.collimation_sd),
            around + draw.normal(d.collimation_sd),
        ),
        shutter=draw.choose(*_split(d.shutter_shape)) if draw.habit_chance(d.shutter) else "",
        matrix=round(draw.habit((low, high)) / 32) * 32,
        voxel=d.voxel,
        kilovolts=draw.habit(d.kilovolts),
        scatter=draw.habit(d.scatter),
        noise=draw.habit(d.noise),
        gamma=draw.habit(d.gamma),
        detail=draw.habit(d.detail),
        window=(draw.habit((0.002, 0.06)), draw.habit((0.96, 0.998))),
        monochrome1=draw.habit_chance(d.monochrome1),
        mirrored=draw.choose(("PA", "LL")) if draw.chance(d.mirrored) else "",
        table=draw.habit_choose(*_split(d.table)),
        marker=draw.habit_choose(*_split(d.marker_style)) if draw.chance(d.marker) else "",
        text=draw.chance(d.text),
        arch_bar=draw.chance(d.arch_bar),
        collar=draw.chance(d.collar),
        plate=draw.chance(d.plate),
    )


def _split(shares: Shares) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(name for name, _ in shares), tuple(share for _, share in shares)


def _pose(draw: Draw, d: SkullFilmDials, pitch: float) -> tuple[float, float, float, float, float]:
    return (
        pitch + draw.normal(d.tilt_sd),
        draw.normal(0.7 * d.tilt_sd),
        draw.normal(d.tilt_sd),
        draw.normal(d.shift_sd, 2.0),
        draw.normal(d.shift_sd, 2.0),
    )
