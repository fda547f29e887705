"""How a bone is described once for film and CT: solid ellipsoids laid along its middle, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.cohort.implicit import Matrix
from training.cohort.projection import Splats, gather, rod

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
UP = np.array([0.0, 0.0, 1.0])
BACK = np.array([0.0, 1.0, 0.0])
ACROSS = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, slots=True)
class Tissue:
    """``cortex`` is the thickness of the compact layer in mm; ``compact`` and ``spongy`` are HU."""

    name: str
    cortex: float
    compact: float
    spongy: float


@dataclass(frozen=True, slots=True)
class Bone:
    """``splats`` weigh 1 where they fill space once."""

    tissue: Tissue
    splats: Splats


def tube(path: Matrix, across: Matrix, radii: Matrix | tuple[float, float], step: float = 2.1) -> Splats:
    """A rod along a polyline (n, 3); ``radii`` are along ``across`` and along what is square to it and to the path."""
    made = rod(np.asarray(path, float), np.asarray(across, float), radii, 1.0, step)
    # Ellipsoids in a row add up to pi/4 of a full rod on its axis.
    return made.scaled(1.0, 4.0 / np.pi)


def ball(centre: Matrix | tuple[float, float, float], radii: tuple[float, float, float]) -> Splats:
    return Splats(np.asarray(centre, float)[None], np.eye(3)[None], np.array([radii], float), np.ones(1))


def plate(first: Matrix, second: Matrix, thick: float, width: float = 3.2) -> Splats:
    """A thin sheet between two edges (n, 3) of as many points: rods from one to the other."""
    gap = float(np.max(np.linalg.norm(np.diff(0.5 * (first + second), axis=0), axis=1)))
    parts = []
    for a, b in zip(first, second, strict=True):
        if np.linalg.norm(b - a) < 2.0:
            continue  # where both edges meet there is no sheet between them
        along = np.gradient(0.5 * (first + second), axis=0).mean(axis=0)
        parts.append(rod(np.stack([a, b]), along, (max(width, 0.75 * gap), thick), 1.0, 2.5))
    return gather(parts)
