"""The dials of a chest radiograph."""

from __future__ import annotations

from dataclasses import dataclass

from training.cohort.draw import Draw
from training.cohort.illness import Illness


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
    gas: tuple[float, float] = (0.0, 1.3)  # size of the gas in the stomach


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


def draw_chest_film(draw: Draw, d: ChestFilmDials, weight: float, ill: Illness) -> ChestFilmVisit:
    """``weight`` is the day's, in standard deviations."""
    views, shares = zip(*d.view, strict=True)
    view = draw.choose(views, shares)
    supine = view == "AP"
    low, high = d.breath
    effusion = ill["effusion"]
    fluid = 15.0 + 40.0 * effusion.severity if effusion else 0.0
    return ChestFilmVisit(
        view=view,
        turn=(draw.normal(d.pitch_sd) + (5.0 if supine else 0.0), draw.normal(d.roll_sd), draw.normal(d.yaw_sd)),
        shift=(draw.normal(d.shift_sd), draw.normal(d.shift_sd)),
        breath=draw.uniform((low, low + (high - low) * (0.7 if supine else 1.0))),
        distance=draw.habit(d.distance) * (0.68 if supine else 1.0),
        edges=(
            draw.normal(d.collimation_sd),
            draw.normal(d.collimation_sd),
            draw.normal(d.collimation_sd),
            draw.normal(d.collimation_sd),
        ),
        matrix=int(draw.habit((d.matrix[0] // 32, d.matrix[1] // 32 + 0.999))) * 32,
        weight=weight * d.weight_sd,
        scatter=draw.habit(d.scatter),
        noise=draw.habit(d.noise),
        gamma=draw.habit(d.gamma),
        detail=draw.habit(d.detail),
        window=(draw.uniform((0.002, 0.03)), draw.uniform((0.97, 0.998))),
        monochrome1=draw.habit_chance(d.monochrome1),
        marker=draw.habit_chance(d.marker),
        tube=draw.chance(d.tube),
        effusion=fluid if effusion.side == "L" else -fluid,
        opacity=ill["consolidation"].severity,
        gas=draw.uniform(d.gas),
    )
