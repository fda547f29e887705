"""The dials of photographs of the face."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.draw import Draw
from training.cohort.illness import Illness

VIEWS = ("FRONTAL", "FRONTAL", "RIGHT")


@dataclass(frozen=True, slots=True)
class FacePhotoDials:
    """How much photographs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations."""

    views: tuple[str, ...] = VIEWS  # FRONTAL, RIGHT (the right cheek) or LEFT; each with a light of its own
    tilt_sd: float = 4.0  # degrees, each of pitch, roll and yaw, each picture for itself
    shift_sd: float = 14.0  # mm off the middle of the picture
    weight_sd: float = 1.9  # mm of fat under the skin of the lower face
    jaw_sd: float = 1.5  # degrees of opening (half normal)
    smile_sd: float = 2.5  # mm that the corners of the mouth are drawn up (or down)
    distance: tuple[float, float] = (900.0, 2200.0)  # mm from the camera to the face
    frame: tuple[float, float] = (285.0, 400.0)  # mm of the scene from top to bottom
    matrix: int = 400  # rows; columns are four fifths
    side: float = 65.0  # degrees that the main light may come from aside, either way
    height: tuple[float, float] = (5.0, 50.0)  # degrees that it stands above the face
    ambient: tuple[float, float] = (0.15, 0.55)  # share of the light that comes from everywhere
    warmth: tuple[float, float] = (-0.22, 0.22)  # of the white balance: log ratio of red to blue
    exposure_sd: float = 0.25  # stops of two
    contrast: tuple[float, float] = (0.85, 1.25)  # of the camera's curve
    noise: tuple[float, float] = (0.004, 0.018)  # of full scale
    blur: tuple[float, float] = (0.4, 1.0)  # pixels
    shaven: float = 0.6  # share of visits at which a man is shaven
    haircut: tuple[float, float] = (0.5, 1.25)  # length of the hair, of the person's usual
    loose: float = 0.6  # share of visits at which long hair is worn open
    hatless: float = 1.0  # share of visits without a surgical cap
    mask: float = 0.0  # share of visits with a surgical mask
    bandage: float = 0.0  # share of visits with a head bandage


# Never seen in training: masks, caps, bandages, hard coloured light, grimaces.
UNSEEN = replace(
    FacePhotoDials(),
    tilt_sd=8.0,
    jaw_sd=6.0,
    smile_sd=5.0,
    weight_sd=2.6,
    side=85.0,
    ambient=(0.05, 0.2),
    warmth=(-0.45, 0.45),
    exposure_sd=0.5,
    contrast=(0.6, 1.7),
    hatless=0.6,
    mask=0.3,
    bandage=0.3,
)
CLINICAL = replace(FacePhotoDials(), matrix=1600)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: ``tilt`` in degrees; ``shift`` mm right and up; ``light`` degrees aside of the camera and above it.

    ``exposure`` and ``gaze`` (degrees aside and up) are drawn for each.
    """

    view: str
    tilt: tuple[float, float, float]
    shift: tuple[float, float]
    light: tuple[float, float]
    ambient: float
    exposure: float
    gaze: tuple[float, float]
    lids: float


@dataclass(frozen=True, slots=True)
class FacePhotoVisit:
    """The photographs of one visit; lengths in millimetres, angles in degrees, colours linear RGB."""

    shots: tuple[Shot, ...]
    weight: float
    jaw: float
    smile: float
    swelling: tuple[float, float]
    distance: float
    frame: float
    matrix: int
    warmth: float
    contrast: float
    noise: float
    blur: float
    beard: float
    haircut: float
    loose: bool
    cap: bool
    mask: bool
    bandage: bool
    background: tuple[float, float, float]
    clothes: tuple[float, float, float]


def draw_face_photo(draw: Draw, d: FacePhotoDials, weight: float, ill: Illness) -> FacePhotoVisit:
    """``weight`` is the day's, in standard deviations."""
    swelling = ill["swelling"]
    swollen = 3.0 + 5.0 * swelling.severity if swelling else 0.0
    ambient = draw.habit(d.ambient)
    wall = draw.habit((0.03, 0.75))
    return FacePhotoVisit(
        shots=tuple(_shot(draw, d, view, ambient) for view in d.views),
        weight=weight * d.weight_sd,
        jaw=abs(draw.normal(d.jaw_sd)),
        smile=draw.normal(d.smile_sd),
        swelling=(swollen, 0.0) if swelling.side == "L" else (0.0, swollen),
        distance=draw.habit(d.distance),
        frame=draw.habit(d.frame),
        matrix=d.matrix,
        warmth=draw.habit(d.warmth),
        contrast=draw.habit(d.contrast),
        noise=draw.habit(d.noise),
        blur=draw.habit(d.blur),
        beard=0.0 if draw.chance(d.shaven) else draw.uniform((0.2, 1.0)),
        haircut=draw.uniform(d.haircut),
        loose=draw.chance(d.loose),
        cap=not draw.chance(d.hatless),
        mask=draw.chance(d.mask),
        bandage=draw.chance(d.bandage),
        background=(
            wall * draw.habit((0.75, 1.2)),
            wall * draw.habit((0.85, 1.15)),
            wall * draw.habit((0.75, 1.3)),
        ),
        clothes=(draw.uniform((0.02, 0.7)), draw.uniform((0.02, 0.7)), draw.uniform((0.02, 0.7))),
    )


def _shot(draw: Draw, d: FacePhotoDials, view: str, ambient: float) -> Shot:
    return Shot(
        view=view,
        tilt=(draw.normal(d.tilt_sd), draw.normal(0.7 * d.tilt_sd), draw.normal(d.tilt_sd)),
        shift=(draw.normal(d.shift_sd, 2.0), draw.normal(d.shift_sd, 2.0)),
        light=(draw.uniform((-d.side, d.side)), draw.uniform(d.height)),
        ambient=ambient,
        exposure=draw.normal(d.exposure_sd),
        gaze=(draw.normal(4.0), draw.normal(3.0)),
        lids=draw.uniform((0.75, 1.15)),
    )
