"""Small phantoms: films with the truth about their bone, and head CTs as they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from inference.types import FloatArray, LoadedSeries
from tests.cohort.conftest import STILL
from training.cohort import skull_film
from training.cohort.dials.face_photo import FacePhotoDials
from training.cohort.dials.skull_film import SkullFilmDials
from training.cohort.head_ct import head_ct
from training.cohort.person import person
from training.cohort.visit import Dials, Visit, visit

# Persons of tests alone.
SEED = 7759
SMALL = Dials(
    skull_film=SkullFilmDials(matrix=(224, 256), voxel=2.2),
    face_photo=FacePhotoDials(matrix=(96, 96)),
)


@dataclass(frozen=True, slots=True)
class Film:
    """A film in [0, 1], and the line integrals of its bone alone."""

    view: str
    pixels: FloatArray
    bone: FloatArray


def films(number: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Film]:
    """Both films of a phantom; what is seen of bone comes from the very same room and pose."""
    who = person(SEED, number)
    when = visit(who, 0, SMALL)
    plain: dict[str, Any] = {"table": "straight", "gamma": 1.0, "shutter": "", "mirrored": "", "text": False}
    when = replace(when, skull_film=replace(when.skull_film, **(plain | changes)))
    truth: list[FloatArray] = []
    with _bone_beside(when, truth, monkeypatch):
        found = skull_film.skull_films(who, when)
    return [Film(one.view, one.image.astype(np.float32) / 4095, bone) for one, bone in zip(found, truth, strict=True)]


@contextmanager
def _bone_beside(when: Visit, truth: list[FloatArray], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    project = skull_film.line_integrals
    least = skull_film.attenuation(np.full((1, 1), 250.0, np.float32), when.skull_film.kilovolts)[0, 0]

    def both(volume: FloatArray, affine: Any, detector: Any) -> FloatArray:
        truth.append(project(np.where(volume > least, volume, np.float32(0)), affine, detector))
        return project(volume, affine, detector)

    with monkeypatch.context() as patch:
        patch.setattr(skull_film, "line_integrals", both)
        yield


def still_ct(number: int, **changes: Any) -> LoadedSeries:
    """A head CT of someone who keeps still."""
    who = person(SEED, number)
    when = visit(who, 0, STILL)
    volume, affine = head_ct(who, replace(when, head_ct=replace(when.head_ct, **changes)))
    return as_series(volume.astype(np.float32), affine)


def as_series(volume: FloatArray, affine: Any) -> LoadedSeries:
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return LoadedSeries("1.2", "1.2.3", ("1.2.3.4",), "CT", "volume", volume, spacing, affine)
