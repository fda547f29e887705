"""The cone beam: integrals through sampled volumes are those of what was sampled."""

from __future__ import annotations

import numpy as np
import pytest

from training.cohort.cone import Detector, line_integrals
from training.cohort.implicit import rotation


def ball(radius: float, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A ball of attenuation 0.02 about the origin, and its affine."""
    axis = np.arange(-40.0, 40.5, size)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = 0.02 * np.clip((radius - np.sqrt(x**2 + y**2 + z**2)) / size + 0.5, 0, 1)
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = size
    affine[:3, 3], affine[3, 3] = axis[0], 1.0
    return volume.astype(np.float32), affine


def detector(source: float, lateral: bool = False) -> Detector:
    """81 x 81 pixels of 1 mm, 50 mm behind the origin, the source ``source`` mm before it."""
    down = np.array([0.0, 0.0, -1.0])
    if lateral:
        return Detector(
            np.array([-source, 0, 0]), np.array([50.0, -40, 40]), np.array([0.0, 1, 0]), down, 1.0, (81, 81)
        )
    return Detector(np.array([0, source, 0]), np.array([-40.0, -50, 40]), np.array([1.0, 0, 0]), down, 1.0, (81, 81))


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("angles", [(0, 0, 0), (15, -10, 20), (0, 0, 40)])
def test_a_ball_has_the_chords_of_a_ball_however_its_voxels_lie(angles: tuple[float, ...], lateral: bool) -> None:
    volume, affine = ball(20.0)
    pose = np.eye(4)
    pose[:3, :3] = rotation(*angles)
    image = line_integrals(volume, pose @ affine, detector(1e6, lateral))
    assert image[40, 40] == pytest.approx(0.02 * 40, rel=0.01)
    assert image[40, 52] == pytest.approx(0.02 * 32, rel=0.02)
    assert image[28, 40] == pytest.approx(0.02 * 32, rel=0.02)
    assert image.sum() == pytest.approx(0.02 * 4 / 3 * np.pi * 20**3, rel=0.01)
    assert image[40, 65] == 0.0


def test_a_near_source_magnifies_as_rays_do() -> None:
    volume, affine = ball(15.0)
    camera = detector(100.0)
    image = line_integrals(volume, affine, camera)
    rows, columns = np.nonzero(image > 0.1)
    # The edge of a ball of radius r at distance d is seen at r / sqrt(d^2 - r^2).
    assert (columns.max() - columns.min()) / 2 == pytest.approx(150 * 15 / np.sqrt(100**2 - 15**2), abs=1.0)
    assert (rows.max() + rows.min()) / 2 == pytest.approx(40, abs=0.6)
    assert image.max() == pytest.approx(0.02 * 30, rel=0.01)


def test_points_fall_where_their_shadow_does() -> None:
    volume, affine = ball(3.0)
    affine = affine.copy()
    affine[:3, 3] += [12.0, -8.0, 9.0]
    camera = detector(250.0)
    image = line_integrals(volume, affine, camera)
    rows, columns = camera.place(np.array([[12.0, -8.0, 9.0]]))
    at = np.array([np.average(index, weights=image) for index in np.indices(image.shape)])
    assert at == pytest.approx([rows[0], columns[0]], abs=0.1)


def test_rays_have_length_one() -> None:
    assert np.sum(np.square(detector(250.0).rays()), axis=0) == pytest.approx(1.0, abs=1e-5)
