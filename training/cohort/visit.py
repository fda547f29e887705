"""A visit: a draw of everything that is not the person, from dials with documented defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from training.cohort.chance import stream
from training.cohort.person import Person, first_day

SITES = ("NORTH", "HARBOUR", "PARK")


@dataclass(frozen=True, slots=True)
class HeadCtDials:
    """How much head CTs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    tilt_sd: float = 4.5  # degrees, each of pitch, roll and yaw; clipped at 11
    shift_sd: float = 9.0  # mm off the centre of the field of view, each of x and y; clipped at 20
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 2.4  # degrees of opening (half normal)
    smile_sd: float = 2.0  # mm that the corners of the mouth are drawn up (or down)
    swelling: float = 0.10  # share of visits with a swollen cheek
    matrix: tuple[int, ...] = (160, 176, 192)
    field_of_view: tuple[float, float] = (232.0, 270.0)  # mm
    spacing: tuple[float, float] = (1.9, 2.5)  # mm between slices
    noise: tuple[float, float] = (4.0, 15.0)  # HU
    sharp: float = 0.35  # share of visits with a sharp kernel
    tube: float = 0.12  # share of visits with a tube in the throat
    streaks: float = 0.7  # share of visits in which fillings cast streaks
    short: float = 0.10  # share of visits whose scan ends above the chin
    head_rest: float = 0.9  # share of visits in which the head rest is in view


@dataclass(frozen=True, slots=True)
class ChestFilmDials:
    """How much chest radiographs of one person differ."""

    yaw_sd: float = 2.6  # degrees of rotation
    pitch_sd: float = 4.0  # degrees of leaning back or forward
    roll_sd: float = 1.6  # degrees of leaning to a side
    shift_sd: float = 9.0  # mm off the middle of the detector
    breath: tuple[float, float] = (0.45, 1.0)  # 1 is full inspiration
    distance: tuple[float, float] = (1500.0, 1900.0)  # mm from source to detector
    view: tuple[tuple[str, float], ...] = (("PA", 0.75), ("AP", 0.25))  # share of each
    collimation_sd: float = 12.0  # mm, each edge
    matrix: tuple[int, int] = (576, 768)  # pixels of the longer edge
    weight_sd: float = 2.5  # mm of fat
    scatter: tuple[float, float] = (0.10, 0.45)  # of the primary signal
    noise: tuple[float, float] = (0.004, 0.014)  # relative, at mean exposure
    gamma: tuple[float, float] = (0.75, 1.35)  # of the vendor's look-up table
    detail: tuple[float, float] = (0.0, 0.9)  # of the vendor's local contrast enhancement
    monochrome1: float = 0.2  # share stored with MONOCHROME1
    marker: float = 0.85  # share with a side marker
    tube: float = 0.12  # share with a tracheal tube or a line
    effusion: float = 0.08  # share with fluid in one costophrenic angle
    opacity: float = 0.15  # share with a patch of consolidation
    gas: tuple[float, float] = (0.0, 1.3)  # size of the gas in the stomach


@dataclass(frozen=True, slots=True)
class Dials:
    """Everything that may be turned. ``interval_days`` is the range between two visits."""

    interval_days: tuple[int, int] = (5, 700)
    head_ct: HeadCtDials = field(default_factory=HeadCtDials)
    chest_film: ChestFilmDials = field(default_factory=ChestFilmDials)


@dataclass(frozen=True, slots=True)
class HeadCtVisit:
    """One head CT: angles in degrees, lengths in millimetres, noise in HU.

    ``missing_below`` is where the scan begins above (or, if negative, below) the chin; ``feet_first_order`` numbers the
    instances from the feet.
    """

    tilt: tuple[float, float, float]
    shift: tuple[float, float, float]
    weight: float
    jaw: float
    smile: float
    swelling: tuple[float, float]
    matrix: int
    field_of_view: float
    spacing: float
    noise: float
    sharp: bool
    tube: bool
    streaks: bool
    missing_below: float
    head_rest: bool
    feet_first_order: bool


@dataclass(frozen=True, slots=True)
class ChestFilmVisit:
    """One chest radiograph. ``edges`` are what collimation adds beyond the lungs: left, right, top, bottom (mm)."""

    view: str
    turn: tuple[float, float, float]
    shift: tuple[float, float]
    breath: float
    distance: float
    edges: tuple[float, float, float, float]
    matrix: int
    weight: float
    scatter: float
    noise: float
    gamma: float
    detail: float
    window: tuple[float, float]
    monochrome1: bool
    marker: bool
    tube: bool
    effusion: float
    opacity: float
    gas: float


@dataclass(frozen=True, slots=True)
class Visit:
    """Visit ``number`` of a person (0 is the first): when, where, and how each picture was taken."""

    number: int
    moment: datetime
    days: int
    site: str
    head_ct: HeadCtVisit
    chest_film: ChestFilmVisit


def visit(who: Person, number: int, dials: Dials | None = None) -> Visit:
    """The ``number``-th visit of a person; visits are in order of time and do not depend on how many there are."""
    dials = dials or Dials()
    days = int(stream(who.seed, "visit", who.number, 0, "day").integers(0, 300))
    for n in range(1, number + 1):
        days += int(stream(who.seed, "visit", who.number, n, "day").integers(*dials.interval_days, endpoint=True))
    rng = stream(who.seed, "visit", who.number, number, "place")
    day: date = first_day(who.seed) + timedelta(days=days)
    clock = time(int(rng.integers(7, 20)), int(rng.integers(0, 60)), int(rng.integers(0, 60)))
    return Visit(
        number=number,
        moment=datetime.combine(day, clock),
        days=days,
        site=SITES[int(rng.integers(len(SITES)))],
        head_ct=_head_ct(stream(who.seed, "visit", who.number, number, "head ct"), dials.head_ct),
        chest_film=_chest_film(stream(who.seed, "visit", who.number, number, "chest film"), dials.chest_film),
    )


def with_view(one: Visit, view: str) -> Visit:
    """The same visit with the chest film taken in another view: ``PA``, ``AP`` or ``LL`` (left lateral)."""
    return replace(one, chest_film=replace(one.chest_film, view=view))


def _normal(rng: np.random.Generator, sd: float, bound: float = 2.5) -> float:
    return float(np.clip(rng.standard_normal(), -bound, bound) * sd)


def _head_ct(rng: np.random.Generator, d: HeadCtDials) -> HeadCtVisit:
    swollen = float(rng.uniform(3, 8)) if rng.random() < d.swelling else 0.0
    left = rng.random() < 0.5
    return HeadCtVisit(
        tilt=(_normal(rng, d.tilt_sd), _normal(rng, d.tilt_sd * 0.7), _normal(rng, d.tilt_sd)),
        shift=(_normal(rng, d.shift_sd, 2.2), _normal(rng, d.shift_sd, 2.2), float(rng.uniform(-400, 400))),
        weight=_normal(rng, d.weight_sd),
        jaw=abs(_normal(rng, d.jaw_sd)),
        smile=_normal(rng, d.smile_sd),
        swelling=(swollen if left else 0.0, 0.0 if left else swollen),
        matrix=int(rng.choice(d.matrix)),
        field_of_view=round(float(rng.uniform(*d.field_of_view)), 1),
        spacing=round(float(rng.uniform(*d.spacing)), 2),
        noise=float(rng.uniform(*d.noise)),
        sharp=bool(rng.random() < d.sharp),
        tube=bool(rng.random() < d.tube),
        streaks=bool(rng.random() < d.streaks),
        missing_below=float(rng.uniform(15, 45)) if rng.random() < d.short else float(rng.uniform(-14, -4)),
        head_rest=bool(rng.random() < d.head_rest),
        feet_first_order=bool(rng.random() < 0.5),
    )


def _chest_film(rng: np.random.Generator, d: ChestFilmDials) -> ChestFilmVisit:
    views, shares = zip(*d.view, strict=True)
    view = str(rng.choice(views, p=np.array(shares) / np.sum(shares)))
    supine = view == "AP"
    low, high = d.breath
    return ChestFilmVisit(
        view=view,
        turn=(_normal(rng, d.pitch_sd) + (5.0 if supine else 0.0), _normal(rng, d.roll_sd), _normal(rng, d.yaw_sd)),
        shift=(_normal(rng, d.shift_sd), _normal(rng, d.shift_sd)),
        breath=float(rng.uniform(low, low + (high - low) * (0.7 if supine else 1.0))),
        distance=float(rng.uniform(*d.distance)) * (0.68 if supine else 1.0),
        edges=(
            _normal(rng, d.collimation_sd),
            _normal(rng, d.collimation_sd),
            _normal(rng, d.collimation_sd),
            _normal(rng, d.collimation_sd),
        ),
        matrix=int(rng.integers(d.matrix[0] // 32, d.matrix[1] // 32, endpoint=True)) * 32,
        weight=_normal(rng, d.weight_sd),
        scatter=float(rng.uniform(*d.scatter)),
        noise=float(rng.uniform(*d.noise)),
        gamma=float(rng.uniform(*d.gamma)),
        detail=float(rng.uniform(*d.detail)),
        window=(float(rng.uniform(0.002, 0.03)), float(rng.uniform(0.97, 0.998))),
        monochrome1=bool(rng.random() < d.monochrome1),
        marker=bool(rng.random() < d.marker),
        tube=bool(rng.random() < d.tube),
        effusion=float(rng.uniform(15, 55)) * (1 if rng.random() < 0.5 else -1) if rng.random() < d.effusion else 0.0,
        opacity=float(rng.uniform(0.3, 1.0)) if rng.random() < d.opacity else 0.0,
        gas=float(rng.uniform(*d.gas)),
    )
