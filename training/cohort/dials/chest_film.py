"""The dials of a chest radiograph."""

from __future__ import annotations

from dataclasses import dataclass

from training.cohort.draw import Draw
from training.cohort.illness import Illness

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class ChestFilmDials:
    """How much chest radiographs of one person differ. Ranges are uniform (low, high); ``_sd`` are standard deviations.

    What is named a habit is mostly the machine's own.
    """

    yaw_sd: float = 2.6  # degrees of rotation
    pitch_sd: float = 4.0  # degrees of leaning back or forward
    roll_sd: float = 1.8  # degrees of leaning to a side
    shift_sd: float = 9.0  # mm off the middle of the detector
    breath: tuple[float, float] = (0.4, 1.0)  # 1 is full inspiration
    distance: tuple[float, float] = (1500.0, 1900.0)  # mm from source to detector; a habit
    view: Shares = (("PA", 0.7), ("AP", 0.3))  # share of each
    lateral: float = 0.3  # share of upright studies that also hold a left lateral film
    margin: tuple[float, float] = (-2.0, 32.0)  # mm in view beyond the lungs on every side
    collimation_sd: float = 11.0  # mm, each edge
    matrix: tuple[int, int] = (576, 768)  # pixels of the longer edge; a habit
    weight_sd: float = 2.5  # mm of fat
    scatter: tuple[float, float] = (0.12, 0.5)  # of the primary signal; a habit
    heel: float = 0.12  # greatest fall of the beam's strength from edge to edge, as a share
    noise: tuple[float, float] = (0.004, 0.016)  # relative, at mean exposure; a habit
    grain: Shares = (("fine", 0.6), ("coarse", 0.4))  # texture of the detector's noise; a habit
    grid_lines: float = 0.08  # share with the lines of the scatter grid in view
    sharpen: tuple[float, float] = (0.3, 1.8)  # enhancement of fine detail; a habit
    detail: tuple[float, float] = (0.1, 0.9)  # enhancement of middling detail; a habit
    equalise: tuple[float, float] = (0.3, 0.65)  # how far slow changes of density are evened out; a habit
    table: Shares = (("sigmoid", 0.5), ("film", 0.25), ("straight", 0.25))  # the vendor's look-up table; a habit
    gamma: tuple[float, float] = (0.75, 1.35)  # of that table
    monochrome1: float = 0.2  # share stored with MONOCHROME1; a habit
    mirrored: float = 0.015  # share stored as a mirror image under a header that does not say so
    faces_left: float = 0.5  # share of machines that show lateral films facing left
    marker: float = 0.85  # share with a side marker; a habit
    marker_style: Shares = (("letter", 0.5), ("boxed", 0.25), ("initials", 0.25))  # a habit
    text: float = 0.05  # share with the patient's ID and the date burned in; a habit
    shutter: float = 0.25  # share with the edges of the collimator in view
    shutter_shape: Shares = (("rectangle", 1.0),)
    tube: float = 0.15  # share of AP films with a tracheal tube
    line: float = 0.2  # share of AP films with a central venous line
    leads: float = 0.45  # share of AP films with ECG leads
    necklace: float = 0.04  # share of upright films
    buttons: float = 0.05  # share of upright films
    fold: float = 0.06  # share of AP films with a fold of skin
    brace: float = 0.0  # share with the bars of a spinal brace
    gas: tuple[float, float] = (0.0, 1.3)  # size of the gas in the stomach


# Families that the default dials never use.
UNSEEN = ChestFilmDials(
    yaw_sd=6.0,
    roll_sd=4.5,
    matrix=(512, 640),
    scatter=(0.55, 0.8),
    grain=(("lines", 1.0),),
    table=(("inverse", 0.6), ("steps", 0.4)),
    gamma=(1.4, 1.9),
    marker_style=(("ring", 1.0),),
    shutter=0.6,
    shutter_shape=(("circle", 0.6), ("octagon", 0.4)),
    brace=0.5,
)
# Matrices as a detector gives them.
CLINICAL = ChestFilmDials(matrix=(2048, 2560))


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient stood or lay for one exposure.

    ``turn`` is pitch, roll and yaw in degrees; ``edges`` are what collimation shows beyond the lungs: left, right, top,
    bottom (mm).
    """

    turn: tuple[float, float, float]
    shift: tuple[float, float]
    breath: float
    edges: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ChestFilmVisit:
    """One study of chest radiographs: a frontal film in ``view`` and, if ``lateral``, a left lateral one."""

    view: str
    lateral: bool
    frontal_pose: Pose
    lateral_pose: Pose
    distance: float
    matrix: int
    weight: float
    scatter: float
    heel: tuple[float, float]
    noise: float
    grain: str
    grid_lines: bool
    sharpen: float
    detail: float
    equalise: float
    table: str
    gamma: float
    window: tuple[float, float]
    monochrome1: bool
    mirrored: bool
    faces_left: bool
    marker: str
    text: bool
    shutter: str
    tube: bool
    line: bool
    leads: bool
    necklace: bool
    buttons: bool
    fold: bool
    brace: bool
    gas: float

    def pose(self, view: str) -> Pose:
        return self.lateral_pose if view == "LL" else self.frontal_pose


def draw_chest_film(draw: Draw, d: ChestFilmDials, weight: float, ill: Illness) -> ChestFilmVisit:
    """``weight`` is the day's, in standard deviations. The very sick are filmed in bed more often."""
    shares = dict(d.view)
    if ill["effusion"].severity > 0.5 or ill["pneumothorax"]:
        shares = {view: share * (3.0 if view == "AP" else 1.0) for view, share in shares.items()}
    view = draw.choose(tuple(shares), tuple(shares.values()))
    supine = view == "AP"
    marked, style = draw.habit_chance(d.marker), _habit(draw, d.marker_style)
    shutter, shape = draw.chance(d.shutter), _habit(draw, d.shutter_shape)
    return ChestFilmVisit(
        view=view,
        lateral=draw.chance(d.lateral) and not supine,
        frontal_pose=_pose(draw, d, supine=supine),
        lateral_pose=_pose(draw, d, supine=False),
        distance=draw.habit(d.distance) * (0.68 if supine else 1.0),
        matrix=int(draw.habit((d.matrix[0] // 32, d.matrix[1] // 32 + 0.999))) * 32,
        weight=weight * d.weight_sd,
        scatter=draw.habit(d.scatter),
        heel=(draw.uniform((-d.heel, d.heel)), draw.uniform((-d.heel, d.heel))),
        noise=draw.habit(d.noise),
        grain=_habit(draw, d.grain),
        grid_lines=draw.chance(d.grid_lines),
        sharpen=draw.habit(d.sharpen),
        detail=draw.habit(d.detail),
        equalise=draw.habit(d.equalise),
        table=_habit(draw, d.table),
        gamma=draw.habit(d.gamma),
        window=(draw.uniform((0.02, 0.09)), draw.uniform((0.80, 0.93))),
        monochrome1=draw.habit_chance(d.monochrome1),
        mirrored=draw.chance(d.mirrored),
        faces_left=draw.habit_chance(d.faces_left),
        marker=style if marked else "",
        text=draw.habit_chance(d.text),
        shutter=shape if shutter else "",
        tube=draw.chance(d.tube) and supine,
        line=draw.chance(d.line) and supine,
        leads=draw.chance(d.leads) and supine,
        necklace=draw.chance(d.necklace) and not supine,
        buttons=draw.chance(d.buttons) and not supine,
        fold=draw.chance(d.fold) and supine,
        brace=draw.chance(d.brace),
        gas=draw.uniform(d.gas),
    )


def _habit(draw: Draw, shares: Shares) -> str:
    options, weights = zip(*shares, strict=True)
    return str(draw.habit_choose(options, weights))


def _pose(draw: Draw, d: ChestFilmDials, *, supine: bool) -> Pose:
    low, high = d.breath
    margin = draw.uniform(d.margin)
    return Pose(
        turn=(draw.normal(d.pitch_sd) + (5.0 if supine else 0.0), draw.normal(d.roll_sd), draw.normal(d.yaw_sd)),
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd)),
        breath=draw.uniform((low, low + (high - low) * (0.7 if supine else 1.0))),
        edges=(
            margin + draw.normal(d.collimation_sd),
            margin + draw.normal(d.collimation_sd),
            margin + draw.normal(d.collimation_sd),
            margin + draw.normal(d.collimation_sd),
        ),
    )
