"""A head in any position: landmarks give the pose to start from, and what cannot be used is refused by name."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from config.errors import ImagingError
from inference.imaging.depth import Face, face_depth, find_face
from inference.imaging.grid import FieldOfView
from inference.imaging.head_frame import (
    CONFIDENT,
    FacialRegion,
    Landmarks,
    Window,
    form_of,
    head_frame,
    window_middles,
)
from inference.imaging.pose import FRONTAL_AXES, Pose, angle_between
from inference.imaging.skin import Skin, find_skin
from inference.types import LoadedSeries
from tests.imaging.heads import head, stored_differently
from tests.imaging.objects import CT, dataset, load, save, with_pixels
from tests.imaging.test_real_data import coarse_head, load_folder
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.head_ct import head_ct
from training.cohort.person import person
from training.cohort.visit import Dials, visit
from training.faces.truth import FaceTruth, face_truth

DIALS = Dials(
    head_ct=HeadCtDials(matrix=(112,), spacing=(2.2, 2.4), tilt_sd=2.0, brow=0.0, short=0.0, gap=0.0, gantry=0.0)
)
# As degrees about x, y and z of the patient. Those by its header are what a wrong Image Orientation (Patient) does.
TILTS = {"tilted by 30 degrees": (30.0, 0.0, 0.0), "leaning by 30 degrees": (0.0, 30.0, 0.0)}
LIES = {
    "backwards by its header": (0.0, 0.0, 180.0),
    "on its face by its header": (180.0, 0.0, 0.0),
    "along another axis by its header": (90.0, 0.0, 90.0),
}
# What the outline of a head alone cannot tell.
HARD = {"turned aside by 30 degrees": (0.0, 0.0, 30.0), "upside down by its header": (0.0, 180.0, 0.0)}
TURNS = TILTS | LIES | HARD


@cache
def scan(number: int = 1, **changes: object) -> tuple[LoadedSeries, FaceTruth]:
    who = person(7791, number)
    when = visit(who, 0, DIALS)
    when = replace(when, head_ct=replace(when.head_ct, **changes))  # type: ignore[arg-type]
    values, affine = head_ct(who, when)
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    image = LoadedSeries("1", "2", ("3",), "CT", "volume", values.astype(np.float32), spacing, affine)
    return image, face_truth(who, when, "head-ct")


def moved(volume: LoadedSeries, turn: NDArray[np.float64]) -> LoadedSeries:
    """The same voxels, said to lie elsewhere: what a wrong Image Orientation (Patient) does, or a turned patient."""
    assert volume.affine is not None
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return replace(volume, affine=matrix @ volume.affine)


class Told:
    """Finds landmarks where they were said to be, to some millimetres."""

    def __init__(self, points: NDArray[np.float64], error: float = 3.0, confidence: float = 0.9) -> None:
        noise = np.random.default_rng(3).normal(0.0, error / np.sqrt(3), points.shape)
        self._found = Landmarks(points + noise, np.full(len(points), confidence))

    def find(self, skin: Skin) -> Landmarks:
        return self._found


def reason(volume: LoadedSeries, finder: Told | None = None) -> str:
    with pytest.raises(ImagingError) as caught:
        find_face(volume, finder=finder)
    return caught.value.reason


@cache
def straight() -> Face:
    volume, truth = scan()
    return find_face(volume, finder=Told(truth.points))


def is_that_face(face: Face, truth: FaceTruth, turn: NDArray[np.float64]) -> None:
    """The tip that is found lies where the nose is some millimetres wide: behind its foremost point."""
    axes = truth.axes @ turn.T
    right, up, forward = axes @ (face.pose.tip - turn @ truth.points[2])
    assert abs(right) < 6.0
    assert abs(up) < 8.0
    assert -19.0 < forward < 3.0
    assert angle_between(face.pose.axes, axes) < 14.0


@pytest.mark.parametrize("name", TURNS)
def test_with_landmarks_a_head_lies_as_it_likes(name: str) -> None:
    volume, truth = scan()
    turn = Rotation.from_euler("xyz", TURNS[name], degrees=True).as_matrix()
    face = find_face(moved(volume, turn), finder=Told(truth.points @ turn.T))
    is_that_face(face, truth, turn)
    assert angle_between(face.pose.axes, straight().pose.axes @ turn.T) < 3.0
    shown, expected = (face_depth(one, size=32, renderer="cpu") for one in (face, straight()))
    both = shown.mask & expected.mask
    assert both.sum() > 0.85 * (shown.mask | expected.mask).sum()
    assert np.corrcoef(shown.depth[both], expected.depth[both])[0, 1] > 0.97


@pytest.mark.parametrize("name", TILTS)
def test_without_landmarks_a_tilted_head_is_found(name: str) -> None:
    volume, truth = scan()
    turn = Rotation.from_euler("xyz", TILTS[name], degrees=True).as_matrix()
    is_that_face(find_face(moved(volume, turn)), truth, turn)


@pytest.mark.parametrize("name", LIES)
def test_without_landmarks_a_head_whose_header_lies_is_refused(name: str) -> None:
    volume, _ = scan()
    turn = Rotation.from_euler("xyz", LIES[name], degrees=True).as_matrix()
    assert reason(moved(volume, turn)) == "NO_FACE"


def test_a_prone_patient_is_found_by_the_patients_own_axes() -> None:
    """Rows and columns run the other way, slices the other way too: feet first."""
    prone, truth = scan(prone=True, rest="none")
    is_that_face(find_face(prone), truth, np.eye(3))
    feet_first = stored_differently(prone, (0, 1, 2), (True, False, False))
    np.testing.assert_allclose(find_face(feet_first).pose.tip, find_face(prone).pose.tip, atol=0.5)


@pytest.mark.parametrize("rest", ["cup", "wedge", "pillow"])
def test_a_head_on_a_rest_is_found(rest: str) -> None:
    volume, truth = scan(2, rest=rest)
    is_that_face(find_face(volume), truth, np.eye(3))


def test_a_head_cut_at_the_chin_has_a_face_that_ends_there() -> None:
    volume, truth = scan(missing_below=25.0)
    whole, cut = straight(), find_face(volume)
    is_that_face(cut, truth, np.eye(3))
    shown = [face_depth(one, size=64, renderer="cpu").mask for one in (whole, cut)]
    assert shown[1][40:].sum() < shown[0][40:].sum()
    assert shown[1][:32].sum() > 0.95 * shown[0][:32].sum()


@pytest.mark.parametrize("number", [1, 3])
def test_a_head_cut_at_the_brow_is_named(number: int) -> None:
    volume, truth = scan(number, missing_below=108.0)
    assert reason(volume) == "FACE_CUT_AT_BROW"
    # Whoever tells of a face in it is told that its mouth is not to be seen.
    assert reason(volume, Told(truth.points)) == "FACE_CUT"


@pytest.mark.parametrize("rescale", [(1.0, 1024.0), (2.0, 1024.0), (0.02, 20.0), (0.5, -500.0), (-1.0, 0.0)])
def test_a_wrong_rescale_is_named(rescale: tuple[float, float]) -> None:
    volume, _ = scan()
    slope, intercept = rescale
    assert reason(replace(volume, pixels=np.maximum(volume.pixels * slope + intercept, -1024.0))) == "NOT_HOUNSFIELD"


def test_padding_does_not_hide_a_wrong_rescale() -> None:
    """Corners that were never scanned are filled with the value of air, whatever the rescale does to the rest."""
    volume, _ = scan()
    wrong = np.clip(volume.pixels + 1024.0, -1024.0, None)
    rows, columns = (np.linspace(-1, 1, size) for size in wrong.shape[1:])
    wrong[:, np.hypot(rows[:, None], columns[None, :]) > 1.0] = -1024.0
    assert reason(replace(volume, pixels=wrong)) == "NOT_HOUNSFIELD"


@pytest.mark.parametrize("floor", [-1024.0, -1000.0])
def test_air_that_is_clipped_is_air(floor: float) -> None:
    volume, truth = scan()
    clipped = np.where(volume.pixels < -850.0, np.float32(floor), volume.pixels)
    is_that_face(find_face(replace(volume, pixels=clipped)), truth, np.eye(3))


def test_landmarks_that_are_guesses_or_no_face_are_not_believed() -> None:
    _, truth = scan()
    assert head_frame(Landmarks(truth.points, np.ones(5))) is not None
    assert head_frame(Landmarks(truth.points, np.array([0.9, 0.9, 0.9, 0.9, CONFIDENT - 0.01]))) is None
    for points in (truth.points[[1, 0, 2, 3, 4]], truth.points * 2.0, truth.points[[0, 1, 2, 2, 2]]):
        assert head_frame(Landmarks(points, np.ones(5))) is None
    # A face that is not believed is sought by its outline.
    doubted = find_face(scan()[0], finder=Told(truth.points * 2.0))
    np.testing.assert_array_equal(doubted.pose.tip, find_face(scan()[0]).pose.tip)
    assert doubted.region is None


def test_the_frame_of_landmarks_is_nearly_that_of_the_head() -> None:
    for number in (1, 2, 3):
        _, truth = scan(number)
        frame = head_frame(Landmarks(truth.points, np.ones(5)))
        assert frame is not None
        assert angle_between(frame.pose.axes, truth.axes) < 12.0


def test_the_facial_region_keeps_the_chin_and_drops_the_neck() -> None:
    volume, truth = scan(missing_below=-60.0)
    face = find_face(volume, finder=Told(truth.points, error=0.0))
    assert face.region is not None
    kept = face_depth(face, size=64, renderer="cpu").mask
    whole = face_depth(replace(face, region=None), size=64, renderer="cpu").mask
    assert not (kept & ~whole).any()
    assert whole[-3:].sum() > kept[-3:].sum() == 0
    assert (kept == whole)[:48].all()


def test_a_region_contains_what_is_between_its_corners() -> None:
    region = FacialRegion(Pose(np.array([1.0, 2.0, 3.0]), FRONTAL_AXES), np.array([-5.0, -6.0, -7.0]), np.full(3, 4.0))
    assert region.contains(np.array([[1.0, 2.0, 3.0], [4.9, 2.0, 3.0], [5.1, 2.0, 3.0]])).tolist() == [
        True,
        True,
        False,
    ]
    # Forwards is against y, up is along z.
    assert region.contains(np.array([[1.0, 8.9, 3.0], [1.0, 9.1, 3.0], [1.0, 2.0, -2.9]])).tolist() == [
        True,
        False,
        True,
    ]


def test_a_window_shows_the_form_where_it_says() -> None:
    skin = find_skin(head())
    form = form_of(skin)
    turn = Rotation.from_euler("xyz", (20.0, -40.0, 70.0), degrees=True).as_matrix()
    window = Window(np.array([4.0, -20.0, 10.0]), 24, 8.0, turn)
    points = np.array([[0.0, -60.0, 10.0], [20.0, 30.0, 40.0]])
    np.testing.assert_allclose(window.points_of(window.voxels_of(points)), points, atol=1e-9)
    shown = window.of(form)
    voxels = np.argwhere(np.ones((24, 24, 24), bool))
    index = np.rint((window.points_of(voxels) - form.origin)[:, ::-1] / form.spacing).astype(int)
    inside = ((index >= 0) & (index < form.planes.shape[1:])).all(axis=1)
    expected = np.zeros(len(voxels))
    expected[inside] = form.planes[0][tuple(index[inside].T)] / 255.0
    assert np.abs(shown[0].ravel() - expected).mean() < 0.03
    assert np.corrcoef(shown[0].ravel(), expected)[0, 1] > 0.97


def test_a_long_body_is_looked_at_in_parts() -> None:
    volume = head()
    form = form_of(find_skin(volume))
    assert len(window_middles(form, 400.0)) == 1
    middles = np.array(window_middles(form, 120.0))
    assert len(middles) >= 4
    low, high = form.bounds
    assert np.ptp(middles, axis=0).max() == pytest.approx((high - low).max() - 120.0, abs=1.0)


def told_of_real_head(volume: LoadedSeries, turn: NDArray[np.float64]) -> Told:
    """Landmarks of a real head, by eye relative to the tip of the nose that the outline shows."""
    pose = find_face(volume).pose
    own = np.array(
        [[31.0, 36.0, -30.0], [-31.0, 36.0, -30.0], [0.0, 0.0, 0.0], [24.0, -32.0, -20.0], [-24.0, -32.0, -20.0]]
    )
    return Told((pose.tip + own @ pose.axes) @ turn.T)


@pytest.mark.data
@pytest.mark.parametrize("angles", [(0.0, 180.0, 0.0), (-90.0, 0.0, 0.0)])
def test_a_real_head_mr_is_found_in_any_position(data_folder: Path, angles: tuple[float, float, float]) -> None:
    (volume,) = load_folder(data_folder / "dicom" / "mr_head_with_face", "SLICE_INCREMENT_INCONSISTENT").images
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    straight = find_face(volume)
    face = find_face(moved(volume, turn), finder=told_of_real_head(volume, turn))
    assert np.linalg.norm(face.pose.tip - turn @ straight.pose.tip) < 5.0
    assert angle_between(face.pose.axes, straight.pose.axes @ turn.T) < 6.0


def coarse_ct(data_folder: Path, folder: Path, intercept: int = -1024) -> LoadedSeries:
    """The real head CT as DICOM, its slices from the top of the head downwards."""
    paths = []
    for number, pixels in enumerate(coarse_head(data_folder)):
        ds = dataset(
            CT, number + 1, Modality="CT", RescaleSlope=1, RescaleIntercept=intercept,
            ImagePositionPatient=[-100.0, -100.0, 70.0 - 1.5 * number], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[3.2, 3.2], SliceThickness=1.5,
        )  # fmt: skip
        paths.append(save(with_pixels(ds, pixels), folder / f"{number:03d}.dcm"))
    (image,) = load(*paths).images
    return image


@pytest.mark.data
def test_a_real_head_ct_without_its_intercept_is_named(data_folder: Path, tmp_path: Path) -> None:
    assert find_face(coarse_ct(data_folder, tmp_path / "right")).region is None
    assert reason(coarse_ct(data_folder, tmp_path / "wrong", 0)) == "NOT_HOUNSFIELD"


@pytest.mark.data
def test_a_real_head_ct_stored_upside_down_is_found(data_folder: Path, tmp_path: Path) -> None:
    """As its file has it: the first slice is the top of the head, but is said to be the lowest."""
    volume = coarse_ct(data_folder, tmp_path / "right")
    turn = Rotation.from_euler("xyz", (0.0, 180.0, 0.0), degrees=True).as_matrix()
    face = find_face(moved(volume, turn), finder=told_of_real_head(volume, turn))
    straight = find_face(volume)
    assert np.linalg.norm(face.pose.tip - turn @ straight.pose.tip) < 6.0
    assert angle_between(face.pose.axes, straight.pose.axes @ turn.T) < 8.0


@pytest.mark.data
def test_a_real_head_ct_cut_at_the_brow_is_named(data_folder: Path, tmp_path: Path) -> None:
    volume = coarse_ct(data_folder, tmp_path / "right")
    tip = find_face(volume).pose.tip
    assert volume.affine is not None
    z = volume.affine[2, 3] + volume.affine[2, 0] * np.arange(len(volume.pixels))
    kept = np.flatnonzero(z > tip[2] + 40.0)
    affine = volume.affine.copy()
    affine[:, 3] += volume.affine[:, 0] * kept[0]
    cut = replace(volume, pixels=volume.pixels[kept[0] : kept[-1] + 1], affine=affine)
    assert FieldOfView.of(cut).shape[0] < len(volume.pixels)
    assert reason(cut) == "FACE_CUT_AT_BROW"
