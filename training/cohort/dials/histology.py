"""The dials of histology tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.cohort.draw import Draw


@dataclass(frozen=True, slots=True)
class HistologyDials:
    """How much tiles of one person's tissue differ; the place of the tile is always another.

    The last group is off by default: families of nuisance that training never sees.
    """

    matrix: tuple[int, ...] = (288, 320)  # pixels, square
    resolution: tuple[float, float] = (0.9, 1.1)  # micrometres to the pixel, at 320 pixels
    haematoxylin: tuple[float, float] = (0.7, 1.35)  # strength of the stain
    eosin: tuple[float, float] = (0.65, 1.35)
    hue_sd: float = 0.05  # how the laboratory's stains lean, relative
    light: tuple[float, float] = (0.9, 1.05)
    defocus: tuple[float, float] = (0.4, 1.1)  # pixels
    noise: tuple[float, float] = (0.003, 0.012)
    fold: float = 0.0  # share with a fold in the section
    pen: float = 0.0  # share with a pen mark on the glass


UNSEEN = replace(HistologyDials(), fold=0.4, pen=0.3, haematoxylin=(0.45, 1.7), eosin=(0.4, 1.7), hue_sd=0.12)
CLINICAL = replace(HistologyDials(), matrix=(1024,))


@dataclass(frozen=True, slots=True)
class HistologyVisit:
    """One tile: stains relative to the usual ones, ``hue`` relative for haematoxylin and eosin."""

    matrix: int
    resolution: float
    haematoxylin: float
    eosin: float
    hue: tuple[float, float]
    light: float
    defocus: float
    noise: float
    fold: bool
    pen: bool


def draw_histology(draw: Draw, d: HistologyDials) -> HistologyVisit:
    """One tile of the visit."""
    return HistologyVisit(
        matrix=draw.habit_choose(d.matrix),
        resolution=draw.habit(d.resolution),
        haematoxylin=draw.habit(d.haematoxylin),
        eosin=draw.habit(d.eosin),
        hue=(draw.normal(d.hue_sd), draw.normal(d.hue_sd)),
        light=draw.habit(d.light),
        defocus=draw.uniform(d.defocus),
        noise=draw.habit(d.noise),
        fold=draw.chance(d.fold),
        pen=draw.chance(d.pen),
    )
