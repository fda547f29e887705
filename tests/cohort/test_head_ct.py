"""Head CT: Hounsfield units, geometry, and an identity that stays with the bones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.cohort.head_ct import head_ct
from training.cohort.implicit import rotation
from training.cohort.person import Person, person
from training.cohort.visit import Dials, Visit, visit


def in_head_frame(who: Person, when: Visit, step: float = 4.0) -> NDArray[np.int16]:
    """HU on a grid that is fixed to the head, read from the scan by its true pose: simple, perfect alignment."""
    volume, affine = head_ct(who, when)
    axes = [np.arange(-80.0, 110.0, step), np.arange(-100.0, 90.0, step), np.arange(-76.0, 76.0, step)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()])
    placed = rotation(*when.head_ct.tilt) @ points + np.array(when.head_ct.shift)[:, None]
    index = np.rint(np.linalg.inv(affine) @ np.vstack([placed, np.ones(placed.shape[1])])).astype(int)[:3]
    inside = np.all((index >= 0) & (index < np.array(volume.shape)[:, None]), axis=0)
    values = np.full(z.size, -1024, np.int16)
    values[inside] = volume[tuple(index[:, inside])]
    return values


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.sum(a & b) / (a.sum() + b.sum()))


def test_the_same_person_and_visit_give_the_same_volume(small: Dials) -> None:
    who, when = person(1, 1), visit(person(1, 1), 0, small)
    first, affine = head_ct(who, when)
    second, again = head_ct(who, when)
    assert np.array_equal(first, second)
    assert np.array_equal(affine, again)


def test_tissues_have_their_hounsfield_units(still: Dials) -> None:
    values = in_head_frame(person(1, 2), visit(person(1, 2), 0, still))
    shape = len(np.arange(-80.0, 110.0, 4.0)), len(np.arange(-100.0, 90.0, 4.0)), len(np.arange(-76.0, 76.0, 4.0))
    grid = values.reshape(shape)
    brain = grid[34:40, 16:30, 8:16]
    assert 20 < np.median(brain) < 45
    assert np.sum(grid > 300) > 0.03 * grid.size
    assert np.quantile(grid, 0.999) > 1000
    assert np.median(grid[:, 0, 0]) < -980
    assert np.sum((grid > -130) & (grid < -60)) > 0.01 * grid.size


def test_a_volume_has_the_usual_size_and_range() -> None:
    volume, affine = head_ct(person(1, 3), visit(person(1, 3), 0))
    assert volume.dtype == np.int16
    assert 75 <= volume.shape[0] <= 135
    assert volume.shape[1] == volume.shape[2] in (160, 176, 192)
    assert volume.min() >= -1024
    assert volume.max() <= 3071
    assert 1.2 < affine[0, 2] == affine[1, 1] < 1.8
    assert 1.9 <= affine[2, 0] <= 2.5


def test_the_face_looks_forward_and_the_vertex_is_up(still: Dials) -> None:
    volume, _ = head_ct(person(1, 4), visit(person(1, 4), 0, still))
    tissue = volume > -300
    # The nose: the foremost tissue lies in the lower half and near the middle.
    front = np.argwhere(tissue)
    nose = front[np.argmin(front[:, 1])]
    assert 0.15 < nose[0] / volume.shape[0] < 0.6
    assert 0.4 < nose[2] / volume.shape[2] < 0.6
    assert tissue[-1].mean() < 0.02 < tissue[volume.shape[0] // 2].mean()


def test_bones_stay_with_the_person_and_differ_between_persons(small: Dials) -> None:
    whole = replace(small, head_ct=replace(small.head_ct, short=0.0, brow=0.0, gantry=0.0, strap=0.0, head_rest=0.0))
    people = [person(2, n) for n in range(1, 5)]
    scans = [[in_head_frame(who, visit(who, n, whole)) for n in (0, 1)] for who in people]
    for threshold, least in ((250, 0.75), (-300, 0.93)):
        shapes = [[scan > threshold for scan in pair] for pair in scans]
        same = [overlap(first, second) for first, second in shapes]
        others = [overlap(a[0], b[1]) for i, a in enumerate(shapes) for j, b in enumerate(shapes) if i != j]
        assert min(same) > least
        assert np.mean(same) > max(others)


def test_pose_and_place_differ_between_visits() -> None:
    poses = np.array([visit(person(5, n), 0).head_ct.tilt for n in range(200)])
    assert poses.std(axis=0).min() > 2.0
    assert np.abs(poses).max() < 12.0
