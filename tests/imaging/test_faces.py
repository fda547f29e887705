"""Faces from volumes: found however the head lies or is stored, refused by name where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from config.errors import ImagingError
from inference.imaging.depth import DepthMap, Face, canonical_pose, face_depth, find_face, frontal_pose
from inference.imaging.grid import Grid, View
from inference.imaging.pose import angle_between
from inference.imaging.raycast import cast
from inference.types import LoadedSeries
from tests.imaging.heads import LOW, SPACING, head, solid, stored_differently

ANTERIOR_VIEW = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@cache
def upright() -> tuple[LoadedSeries, Face, DepthMap]:
    volume = head()
    face = find_face(volume)
    return volume, face, face_depth(face, size=128, renderer="cpu")


def likeness(first: DepthMap, second: DepthMap) -> float:
    both = first.mask & second.mask
    assert both.sum() > 0.9 * (first.mask | second.mask).sum()
    return float(np.corrcoef(first.depth[both], second.depth[both])[0, 1])


def refused(volume: LoadedSeries) -> str:
    with pytest.raises(ImagingError) as caught:
        find_face(volume)
    return caught.value.reason


def test_the_tip_of_the_nose_is_where_it_was_put() -> None:
    _, face, depth_map = upright()
    np.testing.assert_allclose(face.pose.tip, [0.0, -108.0, -12.0], atol=5.0)
    assert angle_between(face.pose.axes, ANTERIOR_VIEW) < 5.0
    assert depth_map.depth[64, 64] == pytest.approx(0.0, abs=4.0)
    assert depth_map.mask[64, 64]
    assert not depth_map.mask[:, 0].any()


def test_nose_is_nearest_and_sockets_are_deep() -> None:
    _, _, depth_map = upright()
    points = depth_map.points()
    assert points.shape == (int(depth_map.mask.sum()), 3)
    nose = points[np.hypot(points[:, 0], points[:, 1]) < 8.0]
    eyes = points[np.hypot(np.abs(points[:, 0]) - 32.0, points[:, 1] - 32.0) < 5.0]
    assert nose[:, 2].mean() - eyes[:, 2].mean() > 25.0


@pytest.mark.parametrize(
    ("order", "flips"),
    list(zip(permutations(range(3)), list(product([False, True], repeat=3))[2:], strict=True)),
)
def test_how_the_voxels_are_stored_changes_nothing(order: tuple[int, int, int], flips: tuple[bool, ...]) -> None:
    volume, _, expected = upright()
    found = face_depth(stored_differently(volume, order, flips), size=128, renderer="cpu")
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.depth, expected.depth, atol=0.01)


@pytest.mark.parametrize("angles", [(10, 0, 0), (-10, 0, 0), (0, 10, 0), (6, -5, -10)])
def test_maps_of_a_tilted_head_match(angles: tuple[float, float, float]) -> None:
    """Pitch, roll and yaw of up to ten degrees; seen from the front they do not match."""
    _, face, expected = upright()
    turned = find_face(head(Rotation.from_euler("xyz", angles, degrees=True).as_matrix()))
    assert likeness(face_depth(turned, size=128, renderer="cpu"), expected) > 0.985
    assert angle_between(turned.pose.axes, face.pose.axes) > 4.0


def test_another_head_is_another_map() -> None:
    _, _, expected = upright()
    other = face_depth(head(width=60.0), size=128, renderer="cpu")
    both = other.mask & expected.mask
    assert np.abs(other.depth - expected.depth)[both].max() > 5.0


def test_the_canonical_pose_is_that_of_the_face() -> None:
    volume, face, _ = upright()
    pose = canonical_pose(volume)
    np.testing.assert_array_equal(pose.axes, face.pose.axes)
    assert angle_between(pose.turned(pitch=12.0).axes, pose.axes) == pytest.approx(12.0)
    np.testing.assert_allclose(frontal_pose(face).axes, ANTERIOR_VIEW)


def test_table_head_rest_and_tube_are_no_face() -> None:
    volume, _, expected = upright()
    pixels = volume.pixels.copy()
    pixels[:, 98:, :] = 200.0  # a table behind the head, touching it
    pixels[16:58, 3:12, 45:47] = 300.0  # a tube before the mouth
    found = face_depth(replace(volume, pixels=pixels), size=128, renderer="cpu")
    assert likeness(found, expected) > 0.98


def test_a_wide_table_does_not_make_a_head_a_trunk() -> None:
    volume, _, expected = upright()
    assert volume.affine is not None
    pixels = np.pad(volume.pixels, ((0, 0), (0, 0), (80, 80)), constant_values=-1000.0)
    pixels[:, 96:, :] = 200.0
    affine = volume.affine.copy()
    affine[0, 3] -= 80 * SPACING
    found = face_depth(replace(volume, pixels=pixels, affine=affine), size=128, renderer="cpu")
    assert likeness(found, expected) > 0.98


def test_a_volume_of_air_has_no_surface() -> None:
    volume, _, _ = upright()
    assert refused(replace(volume, pixels=np.full_like(volume.pixels, -1000.0))) == "NO_SURFACE"


def test_a_field_of_view_of_fifty_metres_is_not_searched() -> None:
    volume, _, _ = upright()
    assert volume.affine is not None
    scale = np.diag([200.0, 200.0, 200.0, 1.0])
    assert refused(replace(volume, affine=scale @ volume.affine)) == "NO_FACE"


def test_a_head_cut_at_the_brow_is_named() -> None:
    assert refused(head(low=np.array([LOW[0], LOW[1], 48.0]))) == "FACE_CUT_AT_BROW"


def test_a_neck_has_no_face() -> None:
    assert refused(head(high_z=-92.0)) == "NO_FACE"


@pytest.mark.parametrize("low_z", [-22.0, -14.0])
def test_a_face_cut_below_the_nose_is_named(low_z: float) -> None:
    assert refused(head(low=np.array([LOW[0], LOW[1], low_z]))) == "FACE_CUT"


def test_a_face_cut_above_the_nose_is_named() -> None:
    assert refused(head(high_z=24.0)) == "FACE_CUT"


def test_a_nose_outside_the_field_of_view_is_named() -> None:
    volume, _, _ = upright()
    assert volume.affine is not None
    affine = volume.affine.copy()
    affine[1, 3] += 16 * SPACING
    assert refused(replace(volume, pixels=volume.pixels[:, 16:], affine=affine)) == "FACE_CUT"


def test_stored_values_are_no_hounsfield_units() -> None:
    volume, _, _ = upright()
    assert refused(replace(volume, pixels=volume.pixels + 1024.0)) == "NOT_HOUNSFIELD"


def test_a_film_has_no_geometry() -> None:
    volume, _, _ = upright()
    assert refused(replace(volume, kind="radiograph", affine=None)) == "NO_GEOMETRY"


def ball() -> Grid:
    axis = np.arange(-40.0, 41.0)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return Grid((30.0 - radius).astype(np.float32), np.full(3, -40.0), 1.0)


def test_the_ray_caster_meets_a_ball_where_it_is() -> None:
    view = View(np.zeros(3), ANTERIOR_VIEW, 101, 70.0, -60.0, 60.0)
    depth, mask = cast(ball(), 0.0, view)
    offsets = ((np.arange(101) + 0.5) / 101 - 0.5) * 70.0
    distance = np.hypot(*np.meshgrid(offsets, offsets))
    expected = -np.sqrt(np.maximum(30.0**2 - distance**2, 0.0))
    inner = distance < 28.0
    assert mask[inner].all()
    assert not mask[distance > 30.5].any()
    assert np.abs(depth - expected)[inner].max() < 0.1


@pytest.mark.egl
@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (0, 0, 25), (-15, 10, -20)])
def test_both_renderers_see_the_same(angles: tuple[float, float, float]) -> None:
    _, face, _ = upright()
    pose = face.pose.turned(*angles)
    by_vtk, by_cpu = (face_depth(face, pose, renderer=renderer) for renderer in ("vtk", "cpu"))
    assert (by_vtk.renderer, by_cpu.renderer) == ("vtk", "cpu")
    both = by_vtk.mask & by_cpu.mask
    assert both.sum() / (by_vtk.mask | by_cpu.mask).sum() > 0.98
    assert float(np.median(np.abs(by_vtk.depth - by_cpu.depth)[both])) < 0.5 * face.grid.spacing


@pytest.mark.egl
def test_auto_takes_vtk_where_it_works() -> None:
    _, face, _ = upright()
    assert face_depth(face, size=32).renderer == "vtk"


def test_without_egl_the_cpu_renders_and_says_once_what_to_install() -> None:
    """No vendor library is found: VTK cannot start, and a process that tried would crash."""
    code = (
        "from tests.imaging.heads import head; from inference.imaging.depth import face_depth, find_face; "
        "face = find_face(head()); "
        "print([face_depth(face, size=16).renderer for _ in range(2)])"
    )
    environment = {**os.environ, "__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent", "DISPLAY": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['cpu', 'cpu']" in done.stdout
    assert (done.stdout + done.stderr).count("libegl1 libegl-mesa0 libgl1-mesa-dri") == 1


def test_the_solid_is_a_head() -> None:
    """The helper: inside in the skull, outside before the nose and in the sockets."""
    points = np.array([[0.0, 0.0, 40.0], [0.0, -115.0, -12.0], [32.0, -84.0, 20.0]])
    assert (solid(points) > 0).tolist() == [True, False, False]
