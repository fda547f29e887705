"""The dials of a head CT."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.draw import Draw
from training.cohort.illness import Illness, State

RESTS = ("cup", "wedge", "pillow")


@dataclass(frozen=True, slots=True)
class HeadCtDials:
    """How much head CTs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    tilt_sd: float = 4.5  # degrees, each of pitch, roll and yaw; clipped at 11
    shift_sd: float = 9.0  # mm off the centre of the field of view, each of x and y; clipped at 20
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 2.4  # degrees of opening (half normal)
    smile_sd: float = 2.0  # mm that the corners of the mouth are drawn up (or down)
    swelling: tuple[float, float] = (3.0, 8.0)  # mm under a swollen cheek, from mild to severe
    matrix: tuple[int, ...] = (160, 176, 192)
    field_of_view: tuple[float, float] = (232.0, 270.0)  # mm
    spacing: tuple[float, float] = (1.9, 2.5)  # mm between slices
    thickness: tuple[float, float] = (1.0, 1.3)  # of a slice, in spacings
    noise: tuple[float, float] = (3.0, 11.0)  # HU
    sharp: float = 0.35  # share of visits with a sharp kernel
    iterative: float = 0.0  # share with a reconstruction that smooths noise into blotches
    tube: float = 0.12  # share of visits with a tube in the throat
    streaks: float = 0.7  # share of visits in which fillings cast streaks
    short: float = 0.10  # share of visits whose scan ends above the chin
    brow: float = 0.02  # share that ends at the brow: a brain scan without a face
    head_rest: float = 0.9  # share of visits in which the head rest is in view
    strap: float = 0.10  # share with a band across the forehead
    gap: float = 0.01  # share that lacks a slice or three
    gantry: float = 0.01  # share taken with a tilted gantry
    feet_first: float = 0.0  # share that lay the other way round in the scanner
    prone: float = 0.0  # share that lay face down
    bandage: float = 0.0  # share with a head bandage
    arch_bar: float = 0.0  # share with orthodontic wires
    plate: float = 0.0  # share with a bone flap held by plates


# Never seen in training: other positions, bandages, wires, plates, heavy swelling, another family of kernels.
UNSEEN = HeadCtDials(
    tilt_sd=7.0,
    weight_sd=2.6,
    jaw_sd=5.0,
    smile_sd=3.5,
    swelling=(6.0, 13.0),
    thickness=(1.2, 1.8),
    noise=(12.0, 28.0),
    iterative=0.6,
    tube=0.3,
    streaks=1.0,
    strap=0.3,
    feet_first=0.3,
    prone=0.25,
    bandage=0.3,
    arch_bar=0.3,
    plate=0.3,
)
CLINICAL = replace(HeadCtDials(), matrix=(512,), field_of_view=(220.0, 250.0), spacing=(0.8, 1.25))


@dataclass(frozen=True, slots=True)
class HeadCtVisit:
    """One head CT: angles in degrees, lengths in millimetres, noise in HU.

    ``missing_below`` is where the scan begins above (or, if negative, below) the chin; ``feet_first_order`` numbers the
    instances from the feet; ``swelling`` is under the left and the right cheek; ``dropped`` are slices that got lost,
    as shares of the scan's height; ``gantry`` is its tilt.
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
    thickness: float
    noise: float
    sharp: bool
    iterative: bool
    tube: bool
    streaks: bool
    missing_below: float
    rest: str
    strap: bool
    feet_first_order: bool
    dropped: tuple[float, ...]
    gantry: float
    feet_first: bool
    prone: bool
    bandage: bool
    arch_bar: bool
    plate: bool


def draw_head_ct(draw: Draw, d: HeadCtDials, weight: float, ill: Illness) -> HeadCtVisit:
    """``weight`` is the day's, in standard deviations."""
    rest = draw.habit_choose(RESTS)
    return HeadCtVisit(
        tilt=(draw.normal(d.tilt_sd), draw.normal(d.tilt_sd * 0.7), draw.normal(d.tilt_sd)),
        shift=(draw.normal(d.shift_sd, 2.2), draw.normal(d.shift_sd, 2.2), draw.uniform((-400, 400))),
        weight=weight * d.weight_sd,
        jaw=abs(draw.normal(d.jaw_sd)),
        smile=draw.normal(d.smile_sd),
        swelling=swollen(ill["swelling"], d.swelling),
        matrix=draw.habit_choose(d.matrix),
        field_of_view=round(draw.habit(d.field_of_view), 1),
        spacing=round(draw.habit(d.spacing), 2),
        thickness=draw.habit(d.thickness),
        noise=draw.habit(d.noise),
        sharp=draw.habit_chance(d.sharp),
        iterative=draw.habit_chance(d.iterative),
        tube=draw.chance(d.tube),
        streaks=draw.chance(d.streaks),
        missing_below=_start(draw, d),
        rest=rest if draw.chance(d.head_rest) else "none",
        strap=draw.chance(d.strap),
        feet_first_order=draw.habit_chance(0.5),
        dropped=tuple(draw.uniform((0.1, 0.9)) for _ in range(draw.choose((1, 2, 3)))) if draw.chance(d.gap) else (),
        gantry=draw.uniform((8.0, 18.0)) if draw.chance(d.gantry) else 0.0,
        feet_first=draw.chance(d.feet_first),
        prone=draw.chance(d.prone),
        bandage=draw.chance(d.bandage),
        arch_bar=draw.chance(d.arch_bar),
        plate=draw.chance(d.plate),
    )


def swollen(state: State, between: tuple[float, float]) -> tuple[float, float]:
    """Millimetres under the left and the right cheek."""
    size = between[0] + (between[1] - between[0]) * state.severity if state else 0.0
    return (size, 0.0) if state.side == "L" else (0.0, size)


def _start(draw: Draw, d: HeadCtDials) -> float:
    """Millimetres above the chin at which the scan begins."""
    if draw.chance(d.brow):
        return draw.uniform((96.0, 112.0))
    return draw.uniform((15.0, 45.0)) if draw.chance(d.short) else draw.uniform((-14.0, -4.0))
