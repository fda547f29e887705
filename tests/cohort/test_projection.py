"""Projection: line integrals by splats are the integrals of what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from training.cohort.implicit import rotation
from training.cohort.projection import Beam, Splats, project, rod


def beam(distance: float = 1e7, turn: tuple[float, float, float] = (0, 0, 0)) -> Beam:
    """A detector at y = -100, far from its source unless said otherwise: 1 mm pixels, the origin in the middle."""
    return Beam(distance - 100.0, -100.0, 1.0, -100.0, 100.0, (200, 200), rotation(*turn), np.zeros(3))


def test_a_ball_has_the_chords_of_a_ball() -> None:
    image = np.zeros((200, 200), np.float32)
    project(image, beam(), Splats(np.zeros((1, 3)), np.eye(3)[None], np.full((1, 3), 30.0), np.array([0.02])))
    assert image[100, 100] == pytest.approx(0.02 * 60, rel=0.01)
    assert image[100, 124] == pytest.approx(0.02 * 36, rel=0.03)
    assert image.sum() == pytest.approx(0.02 * 4 / 3 * np.pi * 30**3, rel=0.01)
    assert image[100, 135] == 0.0


@pytest.mark.parametrize("turn", [(0, 0, 0), (30, 0, 0), (0, 40, 0), (10, 20, 65)])
def test_mass_is_kept_however_an_ellipsoid_lies(turn: tuple[float, float, float]) -> None:
    image = np.zeros((200, 200), np.float32)
    project(
        image,
        beam(turn=turn),
        Splats(np.zeros((1, 3)), np.eye(3)[None], np.array([[9.0, 25.0, 15.0]]), np.array([0.02])),
    )
    assert image.sum() == pytest.approx(0.02 * 4 / 3 * np.pi * 9 * 25 * 15, rel=0.01)


def test_a_nearer_source_magnifies() -> None:
    wide = beam(distance=400.0)
    rows, columns, magnification = wide.place(np.array([[20.0, 100.0, 10.0], [20.0, -100.0, 10.0]]))
    assert magnification == pytest.approx([2.0, 1.0])
    assert columns == pytest.approx([140.0, 120.0])
    assert rows == pytest.approx([80.0, 90.0])


def test_a_rod_weighs_what_its_profile_weighs() -> None:
    """Across a row of overlapping ellipsoids the density is sqrt(1 - q^2) of the nominal one."""
    image = np.zeros((200, 200), np.float32)
    path = np.array([[-60.0, 0, 0], [60.0, 0, 0]])
    project(image, beam(), rod(path, np.array([0.0, 0, 1.0]), (8.0, 5.0), 0.03))
    per_length = 0.03 * 8 * 5 * (2 * np.pi / 3)
    assert image[:, 80:120].sum() == pytest.approx(40 * per_length, rel=0.02)


def test_what_lies_outside_the_film_is_left_out() -> None:
    image = np.zeros((200, 200), np.float32)
    far = Splats(
        np.array([[500.0, 0, 0], [98.0, 0, 0]]), np.stack([np.eye(3)] * 2), np.full((2, 3), 10.0), np.full(2, 0.1)
    )
    project(image, beam(), far)
    assert 0 < image.sum() < 0.1 * 4 / 3 * np.pi * 1000
    assert image[:, :180].sum() == 0.0
