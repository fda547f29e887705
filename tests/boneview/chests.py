"""Chests of phantoms as loaded series, with the truth about where their vertebrae are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from inference.types import LoadedSeries
from training.cohort.chest_ct import chest_ct
from training.cohort.dials.chest_ct import ChestCtDials
from training.cohort.illness import no_illness
from training.cohort.implicit import rotation
from training.cohort.person import person
from training.cohort.thorax.patient import chest_of
from training.cohort.visit import Dials, visit

# No other run of the project draws persons from this seed.
SEED = 9300
SMALL = ChestCtDials(
    matrix=(104,), spacing=(4.0, 4.0), missing=0.0, contrast=(("none", 1.0),), arms_down=0.0, above=(18.0, 18.0),
    below=(30.0, 30.0), sharp=0.0, leads=0.0, line=0.0, tilt_sd=0.0, field_of_view=(400.0, 400.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chest:
    """A chest CT, and the LPS positions (12, 3) of the middles of its thoracic vertebrae."""

    volume: LoadedSeries
    vertebrae: NDArray[np.float64]


@cache
def chest(number: int = 1, dials: ChestCtDials = SMALL) -> Chest:
    who = person(SEED, number)
    when = visit(who, 0, Dials(chest_ct=dials, illness=no_illness()))
    scan = when.chest_ct
    pixels, affine = chest_ct(who, when)
    body = chest_of(
        who, when, breath=scan.breath, weight=scan.weight, arms="down" if scan.arms_down else "up", supine=True
    )
    turn = rotation(*scan.tilt)
    middle = turn @ np.array([0.0, float(body.centre_y(-40.0)) + 4.0, 0.0])
    shift = np.array([scan.shift[0], scan.shift[1] - middle[1], scan.shift[2]])
    heights = [body.vertebra_z(n) for n in range(1, 13)]
    points = np.array([turn @ np.array([float(body.spine_x(z)), float(body.spine_y(z)), z]) + shift for z in heights])
    return Chest(loaded(pixels.astype(np.float32), affine), points)


def loaded(pixels: NDArray[np.float32], affine: NDArray[np.float64]) -> LoadedSeries:
    spacing = tuple(float(np.linalg.norm(affine[:3, axis])) for axis in range(3))
    return LoadedSeries("2.25.1", "2.25.2", ("2.25.3",), "CT", "volume", pixels, spacing, affine)


def cut(volume: LoadedSeries, first: int, last: int) -> LoadedSeries:
    """Some slices of it, counted from the feet."""
    assert volume.affine is not None
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * first
    return replace(volume, pixels=volume.pixels[first:last], affine=affine)
