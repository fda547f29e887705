"""The dials of a head CT."""

from __future__ import annotations

from dataclasses import dataclass

from training.cohort.draw import Draw
from training.cohort.illness import Illness


@dataclass(frozen=True, slots=True)
class HeadCtDials:
    """How much head CTs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    tilt_sd: float = 4.5  # degrees, each of pitch, roll and yaw; clipped at 11
    shift_sd: float = 9.0  # mm off the centre of the field of view, each of x and y; clipped at 20
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 2.4  # degrees of opening (half normal)
    smile_sd: float = 2.0  # mm that the corners of the mouth are drawn up (or down)
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
class HeadCtVisit:
    """One head CT: angles in degrees, lengths in millimetres, noise in HU.

    ``missing_below`` is where the scan begins above (or, if negative, below) the chin; ``feet_first_order`` numbers the
    instances from the feet; ``swelling`` is under the left and the right cheek.
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


def draw_head_ct(draw: Draw, d: HeadCtDials, weight: float, ill: Illness) -> HeadCtVisit:
    """``weight`` is the day's, in standard deviations."""
    swelling = ill["swelling"]
    swollen = 3.0 + 5.0 * swelling.severity if swelling else 0.0
    return HeadCtVisit(
        tilt=(draw.normal(d.tilt_sd), draw.normal(d.tilt_sd * 0.7), draw.normal(d.tilt_sd)),
        shift=(draw.normal(d.shift_sd, 2.2), draw.normal(d.shift_sd, 2.2), draw.uniform((-400, 400))),
        weight=weight * d.weight_sd,
        jaw=abs(draw.normal(d.jaw_sd)),
        smile=draw.normal(d.smile_sd),
        swelling=(swollen, 0.0) if swelling.side == "L" else (0.0, swollen),
        matrix=draw.habit_choose(d.matrix),
        field_of_view=round(draw.habit(d.field_of_view), 1),
        spacing=round(draw.habit(d.spacing), 2),
        noise=draw.habit(d.noise),
        sharp=draw.habit_chance(d.sharp),
        tube=draw.chance(d.tube),
        streaks=draw.chance(d.streaks),
        missing_below=draw.uniform((15, 45)) if draw.chance(d.short) else draw.uniform((-14, -4)),
        head_rest=draw.chance(d.head_rest),
        feet_first_order=draw.habit_chance(0.5),
    )
