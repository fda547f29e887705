"""The dials of a T1-weighted MR of the head."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.dials.head_ct import swollen
from training.cohort.draw import Draw
from training.cohort.illness import Illness


@dataclass(frozen=True, slots=True)
class HeadMrDials:
    """How much head MRs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    tilt_sd: float = 5.5  # degrees, each of pitch, roll and yaw; clipped at 2.5 standard deviations
    shift_sd: float = 8.0  # mm off the isocentre
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 1.8  # degrees of opening (half normal)
    smile_sd: float = 1.5  # mm that the corners of the mouth are drawn up (or down)
    swelling: tuple[float, float] = (3.0, 8.0)  # mm under a swollen cheek, from mild to severe
    axial: float = 0.3  # share of visits acquired in axial slices; the others are sagittal
    spacing: tuple[float, float] = (1.4, 1.65)  # mm, cubic voxels
    margin: tuple[float, float] = (8.0, 24.0)  # mm of air before, beside and above the head
    below_chin: tuple[float, float] = (-2.0, 28.0)  # mm of neck
    noise: tuple[float, float] = (0.012, 0.04)  # of the signal of fat
    contrast: tuple[float, float] = (0.85, 1.25)  # exponent: how far white matter stands off from grey
    bias: tuple[float, float] = (0.08, 0.30)  # how uneven the coil is: standard deviation of log signal
    gain: tuple[float, float] = (350.0, 1800.0)  # stored value of fat
    matrix: int = 192  # voxels of an edge at most
    blur: tuple[float, float] = (0.9, 1.5)  # voxels over which tissues pass into each other
    ghost: float = 0.15  # share of visits with ghosts of movement
    wrap: float = 0.12  # share of visits in which the back of the head wraps round to the front
    suppressed: float = 0.0  # share of visits with fat suppression


# Never seen in training: suppressed fat, strong coils, coarse and moving.
UNSEEN = HeadMrDials(
    tilt_sd=8.0,
    jaw_sd=4.0,
    smile_sd=4.0,
    weight_sd=2.6,
    spacing=(1.6, 2.0),
    noise=(0.04, 0.08),
    contrast=(0.6, 1.6),
    bias=(0.3, 0.5),
    ghost=0.6,
    wrap=0.4,
    suppressed=0.5,
)
CLINICAL = replace(HeadMrDials(), spacing=(0.9, 1.0), matrix=320)


@dataclass(frozen=True, slots=True)
class HeadMrVisit:
    """One head MR: angles in degrees, lengths in millimetres; ``noise`` is of the signal of fat.

    ``swelling`` is under the left and the right cheek; ``ghost`` the strength of the ghosts; ``wrap`` millimetres.
    """

    tilt: tuple[float, float, float]
    shift: tuple[float, float, float]
    weight: float
    jaw: float
    smile: float
    swelling: tuple[float, float]
    axial: bool
    spacing: float
    margin: float
    below_chin: float
    noise: float
    contrast: float
    bias: float
    gain: float
    blur: float
    matrix: int
    ghost: float
    wrap: float
    suppressed: bool
    field: float


def draw_head_mr(draw: Draw, d: HeadMrDials, weight: float, ill: Illness) -> HeadMrVisit:
    """``weight`` is the day's, in standard deviations."""
    return HeadMrVisit(
        tilt=(draw.normal(d.tilt_sd), draw.normal(d.tilt_sd * 0.7), draw.normal(d.tilt_sd)),
        shift=(draw.normal(d.shift_sd, 2.0), draw.normal(d.shift_sd, 2.0), draw.normal(d.shift_sd, 2.0)),
        weight=weight * d.weight_sd,
        jaw=abs(draw.normal(d.jaw_sd)),
        smile=draw.normal(d.smile_sd),
        swelling=swollen(ill["swelling"], d.swelling),
        axial=draw.habit_chance(d.axial),
        spacing=round(draw.habit(d.spacing), 2),
        margin=draw.habit(d.margin),
        below_chin=draw.uniform(d.below_chin),
        noise=draw.habit(d.noise),
        contrast=draw.habit(d.contrast),
        bias=draw.habit(d.bias),
        gain=draw.habit(d.gain),
        blur=draw.habit(d.blur),
        matrix=d.matrix,
        ghost=draw.uniform((0.03, 0.10)) if draw.chance(d.ghost) else 0.0,
        wrap=draw.uniform((6.0, 22.0)) if draw.chance(d.wrap) else 0.0,
        suppressed=draw.habit_chance(d.suppressed),
        field=draw.habit_choose((1.5, 3.0)),
    )
