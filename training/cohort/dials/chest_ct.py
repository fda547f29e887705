"""The dials of a chest CT."""

from __future__ import annotations

from dataclasses import dataclass

from training.cohort.draw import Draw

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class ChestCtDials:
    """How much chest CTs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations.

    What is named a habit is mostly the machine's own.
    """

    tilt_sd: float = 2.8  # degrees, each of pitch, roll and yaw
    shift_sd: float = 13.0  # mm off the centre of the field of view, each of x and y
    breath: tuple[float, float] = (0.45, 1.0)  # 1 is full inspiration
    weight_sd: float = 2.5  # mm of fat
    arms_down: float = 0.12  # share with the arms beside the trunk
    matrix: tuple[int, ...] = (160, 176, 192)  # a habit
    field_of_view: tuple[float, float] = (320.0, 430.0)  # mm; partly a habit
    spacing: tuple[float, float] = (2.6, 3.6)  # mm between slices and their thickness; a habit
    above: tuple[float, float] = (-4.0, 26.0)  # mm that the scan reaches above the lungs
    below: tuple[float, float] = (0.0, 60.0)  # mm that it reaches below the angles of the pleura
    noise: tuple[float, float] = (7.0, 26.0)  # HU; a habit
    sharp: float = 0.35  # share with a sharp kernel; a habit
    contrast: Shares = (("none", 0.5), ("arterial", 0.25), ("venous", 0.25))  # share of each phase
    streaks: float = 0.8  # share in which metal casts streaks
    missing: float = 0.02  # share with one to three slices missing
    couch: float = 0.9  # share with the couch in view
    leads: float = 0.15  # share with ECG leads on the skin
    line: float = 0.1  # share with a central venous line
    gas: tuple[float, float] = (0.1, 1.3)  # size of the gas in the stomach


# Families that the default dials never use.
UNSEEN = ChestCtDials(
    tilt_sd=6.0,
    shift_sd=24.0,
    arms_down=0.6,
    matrix=(144, 152),
    spacing=(4.2, 5.0),
    noise=(30.0, 45.0),
    sharp=1.0,
    contrast=(("delayed", 1.0),),
    leads=0.7,
)
# Matrices as a scanner gives them.
CLINICAL = ChestCtDials(matrix=(512,), spacing=(1.0, 1.5))


@dataclass(frozen=True, slots=True)
class ChestCtVisit:
    """One chest CT: angles in degrees, lengths in millimetres, noise in HU.

    ``missing`` are the places of missing slices, as shares of the scan's length.
    """

    tilt: tuple[float, float, float]
    shift: tuple[float, float, float]
    breath: float
    weight: float
    arms_down: bool
    matrix: int
    field_of_view: float
    spacing: float
    above: float
    below: float
    noise: float
    sharp: bool
    contrast: str
    streaks: bool
    missing: tuple[float, ...]
    couch: bool
    leads: bool
    line: bool
    gas: float
    feet_first_order: bool


def draw_chest_ct(draw: Draw, d: ChestCtDials, weight: float) -> ChestCtVisit:
    """``weight`` is the day's, in standard deviations."""
    phases, shares = zip(*d.contrast, strict=True)
    low, high = d.field_of_view
    gaps = draw.rng.uniform(0.1, 0.9, int(draw.rng.integers(1, 4))) if draw.chance(d.missing) else ()
    return ChestCtVisit(
        tilt=(draw.normal(d.tilt_sd), draw.normal(d.tilt_sd * 0.7), draw.normal(d.tilt_sd)),
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd), draw.uniform((-900, 900))),
        breath=draw.uniform(d.breath),
        weight=weight * d.weight_sd,
        arms_down=draw.chance(d.arms_down),
        matrix=int(draw.habit_choose(d.matrix)),
        field_of_view=round(0.4 * draw.habit((low, high)) + 0.6 * draw.uniform((low, high)), 1),
        spacing=round(draw.habit(d.spacing), 2),
        above=draw.uniform(d.above),
        below=draw.uniform(d.below),
        noise=draw.habit(d.noise),
        sharp=draw.habit_chance(d.sharp),
        contrast=draw.choose(phases, shares),
        streaks=draw.chance(d.streaks),
        missing=tuple(float(v) for v in gaps),
        couch=draw.chance(d.couch),
        leads=draw.chance(d.leads),
        line=draw.chance(d.line),
        gas=draw.uniform(d.gas),
        feet_first_order=draw.habit_chance(0.5),
    )
