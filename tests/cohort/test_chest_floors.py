"""What pixels alone say of a person: with the default dials they must say little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from training.cohort.bone_view import bone_view
from training.cohort.chest_ct import chest_ct
from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.person import Person, person
from training.cohort.visit import Dials, Visit, visit

PERSONS = 12
# The default dials on fewer pixels than a 32 x 32 thumbnail can tell apart.
DIALS = Dials()
COARSE = replace(
    DIALS,
    chest_film=replace(DIALS.chest_film, matrix=(96, 96)),
    chest_ct=replace(DIALS.chest_ct, matrix=(48,), spacing=(8.0, 10.0)),
    bone_view=replace(DIALS.bone_view, voxel=(5.0, 6.0), size=(96,)),
)


def frontal(who: Person, when: Visit) -> NDArray[np.float32]:
    return chest_radiograph(who, when)[0].astype(np.float32)


def lateral(who: Person, when: Visit) -> NDArray[np.float32]:
    return chest_radiograph(who, when, "LL")[0].astype(np.float32)


def coronal(who: Person, when: Visit) -> NDArray[np.float32]:
    volume = np.clip(chest_ct(who, when)[0], -1000, 600).astype(np.float32)[::-1]
    return np.ascontiguousarray(volume.mean(axis=1))


def bones(who: Person, when: Visit) -> NDArray[np.float32]:
    return np.asarray(bone_view(who, when).mean(axis=2), np.float32)


def thumbnail(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(float).ravel()
    small -= small.mean()
    return np.asarray(small / np.linalg.norm(small))


@pytest.mark.slow
@pytest.mark.parametrize("take", [frontal, lateral, coronal, bones])
def test_a_thumbnail_does_not_find_the_person(take: Callable[[Person, Visit], NDArray[np.float32]]) -> None:
    persons = [person(41, n) for n in range(PERSONS)]
    first, second = (np.array([thumbnail(take(who, visit(who, n, COARSE))) for who in persons]) for n in (0, 1))
    scores = first @ second.T
    rank_one = np.mean(
        [np.argmax(scores, axis=1) == np.arange(PERSONS), np.argmax(scores, axis=0) == np.arange(PERSONS)]
    )
    # Measured at full size on 50 persons and more it is below 0.2; among 12 a guess is right more often.
    assert rank_one < 0.35
