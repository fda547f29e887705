"""Chest radiographs: a film a reader would know, with the person in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.person import person
from training.cohort.visit import Dials, visit


def film(number: int, which: int, dials: Dials, size: int = 96) -> NDArray[np.float32]:
    who = person(2, number)
    image, _ = chest_radiograph(who, visit(who, which, dials))
    return np.asarray(cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA), np.float32)


def detail(image: NDArray[np.float32]) -> NDArray[np.float64]:
    fine = image - cv2.GaussianBlur(image, (0, 0), 6.0)
    return np.asarray((fine - fine.mean()) / fine.std(), dtype=np.float64).ravel()


def test_the_same_person_and_visit_give_the_same_film(small: Dials) -> None:
    assert np.array_equal(film(1, 0, small), film(1, 0, small))


def test_a_film_is_twelve_bit_and_of_usual_size() -> None:
    image, spacing = chest_radiograph(person(1, 1), visit(person(1, 1), 0))
    assert image.dtype == np.uint16
    assert image.max() <= 4095
    assert 350 <= min(image.shape) <= max(image.shape) <= 768
    assert 0.35 < spacing < 0.95


@pytest.mark.parametrize("number", [1, 2, 3])
def test_lungs_are_dark_spine_and_abdomen_bright_heart_on_the_left(number: int, still: Dials) -> None:
    image = film(number, 0, still)
    lungs = np.median(np.concatenate([image[30:50, 22:32].ravel(), image[30:50, 64:74].ravel()]))
    assert np.median(image[30:80, 45:51]) > lungs + 500
    assert np.median(image[86:94, 30:66]) > lungs + 800
    # The patient's left is on the right of the image.
    assert image[56:66, 54:66].mean() > image[56:66, 30:42].mean() + 100


def test_films_of_one_person_agree_when_nothing_moves(still: Dials) -> None:
    films = [[detail(film(number, which, still)) for which in (0, 1)] for number in range(1, 5)]
    same = [np.mean(a * b) for a, b in films]
    others = [np.mean(a[0] * b[1]) for i, a in enumerate(films) for j, b in enumerate(films) if i != j]
    assert min(same) > 0.9
    assert max(others) < min(same) - 0.1


def test_views_differ(still: Dials) -> None:
    who = person(2, 1)
    when = visit(who, 0, still)
    frontal, lateral = (chest_radiograph(who, when, view)[0] for view in ("PA", "LL"))
    assert lateral.shape[1] < frontal.shape[1]
