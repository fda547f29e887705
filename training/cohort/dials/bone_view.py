"""The dials of a volume-rendered view of the bones of a chest CT."""

from __future__ import annotations

from dataclasses import dataclass

from training.cohort.draw import Draw

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class BoneViewDials:
    """How much bone views of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations.

    The view is made from a CT of its own: the patient lies on his back, the arms up, in another breath.
    """

    tilt_sd: float = 3.0  # degrees, each of pitch, roll and yaw, of the patient on the couch
    camera_yaw_sd: float = 8.0  # degrees about the body's axis, from straight in front
    camera_pitch_sd: float = 5.0  # degrees from above or below
    shift_sd: float = 12.0  # mm off the middle of the picture, each way
    extent: tuple[float, float] = (330.0, 460.0)  # mm across the picture
    breath: tuple[float, float] = (0.4, 1.0)  # 1 is full inspiration
    arms_down: float = 0.12  # share with the arms beside the trunk
    voxel: tuple[float, float] = (1.9, 2.3)  # mm between slices, rows and columns of the CT; a habit
    noise: tuple[float, float] = (8.0, 30.0)  # HU; a habit
    above: tuple[float, float] = (-6.0, 30.0)  # mm that the scan reaches above the lungs
    below: tuple[float, float] = (0.0, 70.0)  # mm that it reaches below the angles of the pleura
    size: tuple[int, ...] = (384, 448, 512)  # pixels of an edge of the picture; a habit
    threshold: tuple[float, float] = (130.0, 210.0)  # HU at which bone becomes visible; a habit
    softness: tuple[float, float] = (80.0, 260.0)  # HU over which it becomes opaque; a habit
    light_sd: float = 16.0  # degrees of the lamp off the camera, each way; a habit
    shine: tuple[float, float] = (0.0, 0.45)  # strength of the highlights; a habit
    tint: Shares = (("ivory", 0.6), ("white", 0.25), ("amber", 0.15))  # a habit
    depth_cue: tuple[float, float] = (0.0, 0.55)  # how much darker the far side is; a habit
    behind: float = 0.0  # share seen from behind


# Families that the default dials never use.
UNSEEN = BoneViewDials(
    camera_yaw_sd=18.0,
    arms_down=0.7,
    voxel=(2.7, 3.2),
    noise=(38.0, 55.0),
    threshold=(240.0, 320.0),
    tint=(("blue", 0.5), ("red", 0.5)),
    light_sd=45.0,
    shine=(0.6, 0.9),
)
# Matrices as a workstation gives them.
CLINICAL = BoneViewDials(voxel=(0.9, 1.1), size=(1024,))


@dataclass(frozen=True, slots=True)
class BoneViewVisit:
    """One bone view: angles in degrees, lengths in millimetres, noise in HU. ``lamp`` is right and up of the camera."""

    tilt: tuple[float, float, float]
    camera: tuple[float, float]
    shift: tuple[float, float]
    extent: float
    breath: float
    arms_down: bool
    voxel: float
    noise: float
    above: float
    below: float
    size: int
    threshold: float
    softness: float
    lamp: tuple[float, float]
    shine: float
    tint: str
    depth_cue: float
    behind: bool


def draw_bone_view(draw: Draw, d: BoneViewDials) -> BoneViewVisit:
    tints, shares = zip(*d.tint, strict=True)
    lamp = (-2.0 * d.light_sd, 2.0 * d.light_sd)
    return BoneViewVisit(
        tilt=(draw.normal(d.tilt_sd), draw.normal(d.tilt_sd * 0.7), draw.normal(d.tilt_sd)),
        camera=(draw.normal(d.camera_yaw_sd), draw.normal(d.camera_pitch_sd)),
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd)),
        extent=draw.uniform(d.extent),
        breath=draw.uniform(d.breath),
        arms_down=draw.chance(d.arms_down),
        voxel=draw.habit(d.voxel),
        noise=draw.habit(d.noise),
        above=draw.uniform(d.above),
        below=draw.uniform(d.below),
        size=int(draw.habit_choose(d.size)),
        threshold=draw.habit(d.threshold),
        softness=draw.habit(d.softness),
        lamp=(draw.habit(lamp), draw.habit(lamp)),
        shine=draw.habit(d.shine),
        tint=str(draw.habit_choose(tints, shares)),
        depth_cue=draw.habit(d.depth_cue),
        behind=draw.chance(d.behind),
    )
