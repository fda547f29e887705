"""Implicit surfaces and sampling: distances have the right sign and scale, windows never miss a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.cohort.implicit import Chain, Ellipsoid, Points, Shape, inside, join, rotation
from training.cohort.sampling import Grid, Slab, mirrored

COORDINATE = st.floats(-40, 40)
RADIUS = st.floats(2, 25)
ANGLE = st.floats(-180, 180)


def points(*rows: tuple[float, float, float]) -> Points:
    return Points(*np.array(rows, np.float32).T)


def grid(tilt: tuple[float, float, float] = (0, 0, 0), size: int = 30) -> Grid:
    corner = -0.5 * size * 4.0
    return Grid(
        (size, size, size), (4.0, 4.0, 4.0), (corner, corner, corner), rotation(*tilt), np.array([3.0, -2.0, 5.0])
    )


def test_distances_of_simple_bodies() -> None:
    p = points((0, 0, 0), (10, 0, 0), (13, 0, 0), (0, 0, -17))
    assert np.allclose(Ellipsoid((0, 0, 0), (10, 10, 10)).distance(p), [-10, 0, 3, 7], atol=1e-4)
    rod = Chain([(0, 0, 0), (0, 0, 20)], 5.0)
    assert np.allclose(rod.distance(p), [-5, 5, 8, 12], atol=1e-4)
    wide = Chain([(0, 0, 0), (0, 0, 20)], 5.0, (0.5, 1, 1))
    assert wide.distance(points((9.9, 0, 10)))[0] < 0 < wide.distance(points((10.1, 0, 10)))[0]


def test_a_smooth_union_is_the_union_away_from_the_seam() -> None:
    a, b = np.array([-5, 3, 20, 1], np.float32), np.array([30, 3, 8, 1.5], np.float32)
    joined = join(a, b, 4.0)
    assert np.allclose(joined[[0, 2]], [-5, 8])
    assert joined[1] == pytest.approx(2.0)
    assert np.all(joined <= np.minimum(a, b))


@given(st.tuples(COORDINATE, COORDINATE, COORDINATE), st.tuples(RADIUS, RADIUS, RADIUS), st.tuples(ANGLE, ANGLE, ANGLE))
@settings(max_examples=40, deadline=None)
def test_painting_in_a_window_paints_all_there_is(
    centre: tuple[float, float, float], radii: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    slab = Slab(grid((8, -6, 11)), slice(0, 30), ())
    shapes: list[Shape] = [
        Ellipsoid(centre, radii, turn),
        Chain([centre, (0, 0, 0)], [radii[0], radii[1]], (1, 0.5, 1)),
    ]
    for shape in shapes:
        image = slab.full(0.0)
        slab.paint(image, shape, value=1.0, edge=2.0)
        assert np.allclose(image, inside(shape.distance(slab.points), 2.0), atol=1e-5)


def test_slabs_together_are_the_whole() -> None:
    shape = Ellipsoid((5, 6, -7), (30, 20, 25))
    whole = Slab(grid(), slice(0, 30), ()).full(0.0)
    Slab(grid(), slice(0, 30), ()).paint(whole, shape, value=7.0, edge=3.0)
    parts = []
    for part, slab in grid().slabs(7):
        image = slab.full(0.0)
        slab.paint(image, shape, value=7.0, edge=3.0)
        assert len(image) == part.stop - part.start
        parts.append(image)
    assert np.array_equal(np.concatenate(parts), whole)


@given(st.tuples(ANGLE, ANGLE, ANGLE))
@settings(max_examples=30, deadline=None)
def test_rotations_are_rotations(angles: tuple[float, float, float]) -> None:
    turn = rotation(*angles)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_the_other_side_is_a_mirror_image() -> None:
    ear = Ellipsoid((40, 5, 2), (4, 15, 30), (-14, 8, -25))
    left, right = mirrored(ear)
    p = points((41, 9, 12), (38, 2, -8), (52, 20, 3))
    assert np.allclose(left.distance(p), right.distance(p.mirrored()), atol=1e-3)
