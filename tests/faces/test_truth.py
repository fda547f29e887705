"""The truth of phantoms lies where their volumes show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from inference.imaging.pose import angle_between
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.dials.head_mr import HeadMrDials
from training.cohort.head.landmarks import distance_to_skin, unbent
from training.cohort.head_ct import head_ct
from training.cohort.head_mr import head_mr
from training.cohort.person import person
from training.cohort.sampling import bend
from training.cohort.visit import Dials, visit
from training.faces.truth import FaceTruth, Kind, face_truth

SMALL = Dials(
    head_ct=HeadCtDials(matrix=(96,), spacing=(2.5, 2.8), noise=(2.0, 2.0), brow=0.0, short=0.0, gap=0.0),
    head_mr=HeadMrDials(spacing=(2.4, 2.6), noise=(0.01, 0.01), bias=(0.0, 0.0), ghost=0.0, wrap=0.0),
)


def values_at(
    volume: NDArray[np.generic], affine: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    index = np.linalg.inv(affine) @ np.vstack([points.T, np.ones(len(points))])
    return np.asarray(map_coordinates(volume.astype(float), index[:3], order=1))


def scanned(kind: Kind, number: int, **changes: object) -> tuple[NDArray[np.generic], NDArray[np.float64], FaceTruth]:
    who = person(7790, number)
    when = visit(who, 0, SMALL)
    if kind == "head-ct":
        when = replace(when, head_ct=replace(when.head_ct, **changes))  # type: ignore[arg-type]
        return *head_ct(who, when), face_truth(who, when, kind)
    return *head_mr(who, when), face_truth(who, when, kind)


@pytest.mark.parametrize("changes", [{}, {"gantry": 14.0}, {"prone": True, "tilt": (11.0, -6.0, 9.0)}])
def test_landmarks_of_a_ct_are_in_eyes_and_on_skin(changes: dict[str, object]) -> None:
    volume, affine, truth = scanned("head-ct", 1, **changes)
    forward = truth.axes[2]
    assert values_at(volume, affine, truth.points[:2]) == pytest.approx([10, 10], abs=25)
    # Six millimetres in front of nose and mouth there is air, six behind there is none.
    assert (values_at(volume, affine, truth.points[2:] + 6.0 * forward) < -900).all()
    assert (values_at(volume, affine, truth.points[2:3] - 6.0 * forward) > -150).all()


def test_landmarks_of_an_mr_are_in_dark_eyes_and_on_skin() -> None:
    volume, affine, truth = scanned("head-mr", 2)
    forward = truth.axes[2]
    skin = values_at(volume, affine, truth.points[2:] - 4.0 * forward).mean()
    assert (values_at(volume, affine, truth.points[:2]) < 0.4 * skin).all()
    assert (values_at(volume, affine, truth.points[2:] + 6.0 * forward) < 0.2 * skin).all()


def test_the_two_scans_of_a_day_show_one_face_in_two_places() -> None:
    """In the head's own frame eyes are the same; lips and fat are each scan's own."""
    *_, by_ct = scanned("head-ct", 3)
    *_, by_mr = scanned("head-mr", 3)
    own = [(one.points - one.centre) @ one.axes.T for one in (by_ct, by_mr)]
    np.testing.assert_allclose(own[0][:2], own[1][:2], atol=0.01)
    assert np.abs(own[0] - own[1]).max() < 15.0
    assert angle_between(by_ct.axes, by_mr.axes) > 0.5


def test_left_is_left_and_the_nose_is_foremost() -> None:
    *_, truth = scanned("head-ct", 4)
    right, up, forward = ((truth.points - truth.centre) @ truth.axes.T).T
    assert right[0] > 20 > -20 > right[1]
    assert right[3] > 12 > -12 > right[4]
    assert forward.argmax() == 2
    assert up[:2].min() > up[2] > up[3:].max()


def test_the_bend_is_undone_and_the_tip_is_on_the_skin() -> None:
    *_, truth = scanned("head-ct", 5)
    points = np.random.default_rng(1).uniform(-90, 90, (50, 3))
    back = unbent(points, truth.head.shape.warp)
    moved = bend([back[:, n].astype(np.float32) for n in range(3)], truth.head.shape.warp)
    np.testing.assert_allclose(np.stack([moved.x, moved.y, moved.z], axis=1), points, atol=1e-3)
    own = (truth.points[2:] - truth.shift) @ truth.turn
    assert np.abs(distance_to_skin(truth.head, own)).max() < 1.0
