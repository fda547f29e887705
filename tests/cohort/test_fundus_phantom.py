"""Fundus photographs: two related eyes, a tree that is the person, a camera that can be inverted, honest floors."""

from __future__ import annotations

import subprocess
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import SeriesHeader
from training.cohort.chance import norm_of, stream
from training.cohort.dials.fundus import UNSEEN, FundusDials
from training.cohort.dicom_vl import write_fundus
from training.cohort.eye.camera import Camera
from training.cohort.eye.photo import fundus_photo
from training.cohort.eye.shape import EyeShape, EyesShape, draw_eyes
from training.cohort.eye.tree import VesselTree, vessel_tree
from training.cohort.illness import Illness, State, no_illness
from training.cohort.person import person
from training.cohort.visit import Dials, Visit, visit

SMALL = FundusDials(matrix=(256,))
# Every nuisance off: what is left is the person.
STILL = replace(
    SMALL,
    field=(45.0, 45.0), disc_views=1.0, shift_sd=0.0, torsion_sd=0.0, magnification_sd=0.0, bend=(0.0, 0.0),
    aperture=(("ROUND", 1.0),), red=(1.0, 1.0), green=(1.0, 1.0), blue=(1.0, 1.0), gamma=(1.0, 1.0), detail=(0.0, 0.0),
    vignette=(0.1, 0.1), noise=(0.004, 0.004), quality=(96.0, 96.0), exposure=(1.0, 1.0), gradient=(0.0, 0.0),
    patches=(0.0, 0.0), defocus=(0.3, 0.3), haze=(0.0, 0.0), flare=0.0, lashes=0.0, wrong_side=0.0,
)  # fmt: skip
QUIET = Dials(fundus=STILL, illness=no_illness())
EYES = st.builds(
    lambda seed, sex, years, size: draw_eyes(stream("test", seed), sex, years, size),
    st.integers(0, 2**40), st.sampled_from("FM"), st.floats(18, 95), st.floats(-3, 3),
)  # fmt: skip


def _eyes(number: int) -> EyesShape:
    return draw_eyes(stream("eyes", number), "F", 50.0, 0.0)


def _points(tree: VesselTree) -> np.ndarray:
    return np.concatenate([branch.points for branch in (*tree.arteries, *tree.veins)])


@given(EYES)
@settings(max_examples=60, deadline=None)
def test_every_measure_of_every_eye_is_within_anatomical_bounds(eyes: EyesShape) -> None:
    for eye in (eyes.right, eyes.left):
        for item in fields(EyeShape):
            if (norm := norm_of(item)) is not None:
                assert norm.low <= getattr(eye, item.name) <= norm.high, item.name
        assert 3.8 < np.hypot(*eye.disc) < 6.0


def test_an_eye_has_enough_measures() -> None:
    assert sum(norm_of(item) is not None for item in fields(EyeShape)) >= 25


def test_measures_covary_between_the_eyes_as_they_say() -> None:
    pairs = [_eyes(n) for n in range(400)]
    for item in fields(EyeShape):
        if norm_of(item) is None:
            continue
        right, left = ([getattr(eyes.of(side), item.name) for eyes in pairs] for side in "RL")
        assert np.corrcoef(right, left)[0, 1] == pytest.approx(item.metadata["alike"], abs=0.16), item.name
        assert right != left


def test_shapes_follow_age() -> None:
    def mean(name: str, years: float) -> float:
        return float(np.mean([getattr(draw_eyes(stream(name, n), "F", years, 0.0).left, name) for n in range(150)]))

    assert mean("fovea_reflex", 25) > mean("fovea_reflex", 75) + 0.3
    assert mean("choroid", 75) > mean("choroid", 25) + 0.1
    assert mean("lens_yellow", 75) > mean("lens_yellow", 25) + 0.2


def test_the_eyes_of_a_person_are_no_mirrored_copies() -> None:
    """Both trees are in frames with x towards the nose, where a mirrored copy would be the same tree."""
    from scipy.spatial import cKDTree

    eyes = _eyes(1)
    right, left = (vessel_tree(eyes.of(side)) for side in "RL")
    far = cKDTree(_points(right)).query(_points(left))[0]
    assert np.mean(far > 0.12) > 0.5
    calibre = [max(branch.widths[0] for branch in tree.veins) for tree in (right, left)]
    others = [max(b.widths[0] for b in vessel_tree(_eyes(n).right).veins) for n in range(2, 7)]
    assert abs(calibre[0] - calibre[1]) < 3.0 * np.std(others)


@pytest.mark.parametrize("number", range(4))
def test_vessels_taper_leave_the_fovea_free_and_reach_everywhere(number: int) -> None:
    eye = _eyes(number).right
    tree = vessel_tree(eye)
    for branches in (tree.arteries, tree.veins):
        assert len(branches) > 80
        for branch in branches:
            assert np.all(np.isfinite(branch.points))
            assert np.all(branch.widths > 0)
            assert np.all(np.diff(branch.widths) < 1e-9)
    points = _points(tree)
    assert np.hypot(*points.T).min() > 0.2
    grid = np.stack(np.meshgrid(np.arange(-5.0, 9.1, 1.0), np.arange(-6.0, 6.1, 1.0)), axis=-1).reshape(-1, 2)
    nearest = np.linalg.norm(grid[:, None] - points[None, ::3], axis=2).min(axis=1)
    assert np.mean(nearest > 1.2) < 0.02


def test_veins_are_wider_than_arteries() -> None:
    for number in range(4):
        eye = _eyes(number).left
        tree = vessel_tree(eye)
        ratio = np.mean([b.widths[0] for b in tree.arteries[:4]]) / np.mean([b.widths[0] for b in tree.veins[:4]])
        assert ratio == pytest.approx(eye.artery_vein_ratio, abs=0.12)


@given(
    st.sampled_from("RL"), st.floats(0.005, 0.03), st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    st.floats(-15, 15), st.floats(-0.03, 0.26),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_camera_can_be_inverted(
    side: str, scale: float, centre: tuple[float, float], torsion: float, bend: float
) -> None:
    camera = Camera(side, (80, 96), 46.0, scale * 1000, centre, torsion, bend, "ROUND")
    x, y = camera.retina()
    inside = camera.off_axis() < 1.0
    back = camera.pixels(np.stack([x[inside], y[inside]], axis=1).astype(float))
    rows, columns = np.nonzero(inside)
    assert np.abs(back - np.stack([columns, rows], axis=1)).max() < 0.3


@pytest.mark.parametrize("side", ["R", "L"])
def test_a_photograph_shows_disc_fovea_and_vessels_where_they_are(side: str) -> None:
    for number in range(3):
        who = person(8, number)
        when = visit(who, 0, QUIET)
        image = fundus_photo(who, when, side, "MACULA").astype(float)
        eye = who.eyes.of(side)
        camera = Camera.of(eye, "MACULA", when.fundus, when.fundus.shots[side, "MACULA"])
        x, y = camera.retina()
        seen = camera.off_axis() < 0.97
        from_disc = np.hypot(x - eye.disc[0], y - eye.disc[1])
        from_fovea = np.hypot(x, y)
        green = image[..., 1]
        disc = green[seen & (from_disc < 0.4 * eye.disc_height)].mean()
        assert disc > green[seen].mean() + 15
        assert green[from_fovea < 0.3].mean() < np.median(green[(from_fovea > 1.8) & (from_fovea < 2.6) & seen]) - 4
        vein = np.concatenate([b.points for b in vessel_tree(eye).veins[:4]])
        column, row = np.rint(camera.pixels(vein)).astype(int).T
        kept = (row > 0) & (row < 255) & (column > 0) & (column < 255)
        kept &= np.hypot(*(vein - np.asarray(eye.disc)).T) > eye.disc_height
        on = np.array([seen[r, c] for r, c in zip(row[kept], column[kept], strict=True)])
        assert green[row[kept], column[kept]][on].mean() < green[seen].mean() - 12
        nose = 1 if side == "R" else -1
        assert np.sign(camera.pixels(np.array([eye.disc]))[0, 0] - camera.middle[0]) == nose


def test_the_same_path_gives_the_same_bytes_and_visits_differ() -> None:
    dials = Dials(fundus=SMALL)
    who = person(8, 4)
    first = fundus_photo(who, visit(who, 0, dials), "R", "MACULA")
    vessel_tree.cache_clear()
    assert np.array_equal(first, fundus_photo(who, visit(who, 0, dials), "R", "MACULA"))
    assert first.dtype == np.uint8
    again = fundus_photo(who, visit(who, 1, dials), "R", "MACULA")
    assert first.shape != again.shape or not np.array_equal(first, again)


def _ill(when: Visit, **states: State) -> Visit:
    return replace(when, illness=Illness(states))


def test_disease_is_seen_and_grows_with_its_grade() -> None:
    who = person(8, 5)
    when = visit(who, 0, QUIET)
    well = fundus_photo(who, when, "R", "MACULA").astype(float)

    def changed(**states: State) -> float:
        return float(np.mean(np.abs(fundus_photo(who, _ill(when, **states), "R", "MACULA") - well).max(axis=2) > 12))

    grades = [changed(retinopathy=State(severity, "R", 3)) for severity in (0.2, 0.45, 0.7)]
    assert 0 < grades[0] < grades[1] < grades[2] < 0.2
    assert changed(drusen=State(0.6, "L", 3)) > 0.001
    assert changed(drusen=State(0.6, "L", 3)) != changed(drusen=State(0.6, "L", 4))


def test_a_cataract_takes_contrast() -> None:
    who = person(8, 6)
    clear = fundus_photo(who, visit(who, 0, QUIET), "R", "MACULA")
    sick = replace(QUIET, illness=replace(no_illness(), cataract=1.0))
    dull = fundus_photo(who, visit(who, 0, sick), "R", "MACULA")
    detail = [cv2.Laplacian(image[64:192, 64:192, 1].astype(np.float32), cv2.CV_32F).std() for image in (clear, dull)]
    assert detail[1] < 0.9 * detail[0]


def test_nuisance_families_of_the_unseen_never_show_by_default() -> None:
    families = ("red_free", "wide", "dust", "smear", "murk")
    for number in range(10):
        who = person(8, number)
        shots = visit(who, 0).fundus.shots.values()
        assert not any(getattr(shot, name) for shot in shots for name in families)
    seen = [
        shot for number in range(10) for shot in visit(person(8, number), 0, Dials(fundus=UNSEEN)).fundus.shots.values()
    ]
    for name in families:
        assert any(getattr(shot, name) for shot in seen), name


def test_unseen_families_are_pictures_too() -> None:
    who = person(8, 7)
    hard = replace(STILL, red_free=1.0, wide=1.0, dust=1.0, smear=1.0, murk=1.0, lashes=1.0, flare=1.0)
    image = fundus_photo(who, visit(who, 0, Dials(fundus=hard)), "L", "DISC").astype(int)
    assert np.abs(image[..., 0] - image[..., 1]).mean() < 1.0  # red-free has no colour
    assert image[80:180, 80:180].std() > 4


def test_a_study_reads_back_with_eye_and_view(tmp_path: Path) -> None:
    who = person(8, 8)
    when = visit(who, 0, Dials(fundus=replace(SMALL, disc_views=1.0, wrong_side=0.0)))
    images = write_fundus(tmp_path, who, when)
    assert [(image.laterality, image.view) for image in images] == [
        ("R", "MACULA"), ("L", "MACULA"), ("R", "DISC"), ("L", "DISC"),
    ]  # fmt: skip
    headers = [read_header(image.files[0]) for image in images]
    result = load_series(SeriesHeader(headers[0].study_uid, headers[0].series_uid, tuple(headers)))
    assert not result.rejections
    for image, loaded in zip(images, result.images, strict=True):
        assert (loaded.kind, loaded.modality, loaded.laterality) == ("fundus", "OP", image.laterality)
        assert loaded.sop_instance_uids == (image.instance,)
        assert np.array_equal(loaded.pixels, fundus_photo(who, when, image.laterality, image.view))


def test_a_wrong_label_is_the_other_eye_and_the_truth_stays(tmp_path: Path) -> None:
    who = person(8, 9)
    when = visit(who, 0, Dials(fundus=replace(SMALL, disc_views=0.0, wrong_side=1.0)))
    for image in write_fundus(tmp_path, who, when):
        said = pydicom.dcmread(image.files[0], stop_before_pixels=True).ImageLaterality
        assert {said, image.laterality} == {"R", "L"}


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    who = person(8, 10)
    for n, dials in enumerate((SMALL, replace(UNSEEN, matrix=(256,)))):
        for image in write_fundus(tmp_path / str(n), who, visit(who, n, Dials(fundus=dials))):
            said = subprocess.run(["dciodvfy", str(image.files[0])], capture_output=True, text=True, check=False)
            problems = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
            assert not problems, problems


@pytest.mark.slow
def test_the_pixel_floor_stays_low_with_default_dials() -> None:
    """Rank-1 of the correlation of 32 x 32 grey pixels, 60 persons seen twice, one eye, each view with itself."""
    dials = Dials(fundus=SMALL)
    seen: dict[str, list[np.ndarray]] = {"MACULA": [], "DISC": []}
    for number in range(60):
        who = person(31, number)
        for n in (0, 1):
            when = visit(who, n, dials)
            for view, rows in seen.items():
                grey = cv2.cvtColor(fundus_photo(who, when, "R", view), cv2.COLOR_RGB2GRAY)
                small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(float).ravel()
                rows.append((small - small.mean()) / small.std())
    for view, rows in seen.items():
        likeness = np.array(rows[0::2]) @ np.array(rows[1::2]).T
        assert np.mean(likeness.argmax(axis=1) == np.arange(60)) < 0.2, view
