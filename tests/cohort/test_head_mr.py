"""Head MR: the tissues of T1, the geometry of both planes, what scanners add, and the same head as in CT."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from config.errors import ImagingError
from inference.imaging.depth import find_face
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import LoadedSeries, SeriesHeader
from tests.cohort.floors import pixel_rank_1
from training.cohort.dials.head_mr import HeadMrDials
from training.cohort.dicom_mr import write_head_mr
from training.cohort.head.tissue import T1
from training.cohort.head_mr import head_mr
from training.cohort.illness import no_illness
from training.cohort.implicit import rotation
from training.cohort.person import Person, person
from training.cohort.visit import Dials, Visit, visit

SMALL = Dials(head_mr=HeadMrDials(spacing=(3.6, 4.2)))
TINY = Dials(head_mr=HeadMrDials(spacing=(5.0, 5.8)))
# One scanner, no nuisance: what is left is the person.
STILL = Dials(
    weight_sd=0.0,
    illness=no_illness(),
    head_mr=HeadMrDials(
        tilt_sd=0.0,
        jaw_sd=0.0,
        smile_sd=0.0,
        spacing=(2.0, 2.0),
        noise=(0.01, 0.01),
        contrast=(1.0, 1.0),
        bias=(0.0, 0.0),
        gain=(1000.0, 1000.0),
        blur=(1.0, 1.0),
        ghost=0.0,
        wrap=0.0,
    ),
)


def at(who: Person, when: Visit, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signal at (n, 3) points of the head's own frame, by the scan's true pose."""
    volume, affine = head_mr(who, when)
    placed = points @ rotation(*when.head_mr.tilt).T + np.array(when.head_mr.shift)
    index = np.linalg.inv(affine) @ np.vstack([placed.T, np.ones(len(placed))])
    return np.asarray(map_coordinates(volume.astype(float), index[:3], order=1))


def test_the_same_person_and_visit_give_the_same_volume() -> None:
    who = person(31, 1)
    first, affine = head_mr(who, visit(who, 0, SMALL))
    second, again = head_mr(who, visit(who, 0, SMALL))
    assert np.array_equal(first, second)
    assert np.array_equal(affine, again)
    assert not np.array_equal(affine, head_mr(who, visit(who, 1, SMALL))[1])


def test_tissues_are_ordered_as_in_t1() -> None:
    who = person(31, 2)
    when = visit(who, 0, STILL)
    s = who.head
    z = 0.38 * s.vault_height
    eye = np.array([s.orbit_distance / 2, s.vault_centre_y - s.vault_length / 2 + 20 + s.eye_depth, 0.0])
    eye[2] = s.brow_height - s.orbit_height + 2.0
    marks = {
        "white": [[20.0, y, z + 20.0] for y in (-5.0, 0.0, 5.0)],
        "vitreous": [eye, eye + np.array([0.0, 4.0, 0.0])],
        "air": [[0.0, -160.0, 60.0], [80.0, -100.0, 90.0]],
        "antrum": [[0.85 * eye[0], eye[1] + 14.0, eye[2] - s.orbit_height - 15.0]],
    }
    value = {name: float(np.median(at(who, when, np.array(points, float)))) for name, points in marks.items()}
    assert value["air"] < 60
    assert value["antrum"] < 100
    assert value["vitreous"] < 0.5 * value["white"]
    assert 500 < value["white"] < 720
    volume, _ = head_mr(who, when)
    # Fat under the skin is the brightest tissue there is a lot of.
    assert np.quantile(volume, 0.99) > 850


def test_the_palette_follows_physics() -> None:
    assert T1.fat > T1.white > T1.grey > T1.fluid > T1.compact
    assert T1.spongy > T1.muscle > T1.fluid
    assert T1.air == 0.0


def extent(shape: tuple[int, ...], affine: NDArray[np.float64]) -> list[float]:
    """Lowest and highest voxel centre along x, y, z."""
    corners = np.array(
        [[i, j, k, 1.0] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)]
    )
    placed = (corners @ affine.T)[:, :3]
    return [*placed.min(axis=0), *placed.max(axis=0)]


@pytest.mark.parametrize("axial", [False, True])
def test_both_planes_show_one_head_in_one_place(tmp_path: Path, axial: bool) -> None:
    who = person(31, 3)
    when = visit(who, 0, STILL)
    when = replace(when, head_mr=replace(when.head_mr, axial=axial))
    volume, affine = head_mr(who, when)
    nose = np.argwhere(volume > 300) @ affine[:3, :3].T + affine[:3, 3]
    tip = nose[nose[:, 1].argmin()] - np.array(when.head_mr.shift)
    assert abs(tip[0]) < 10
    assert -50 < tip[2] < 10
    axis = 2 if axial else 0
    assert np.argmax(np.abs(affine[:3, 0])) == axis
    files = write_head_mr(tmp_path, who, when)
    headers = tuple(read_header(path) for path in files)
    (loaded,) = load_series(SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)).images
    assert loaded.kind == "volume"
    assert loaded.affine is not None
    # The loader sorts slices along their normal, which may turn their order round: space is the same.
    assert extent(loaded.pixels.shape, loaded.affine) == pytest.approx(extent(volume.shape, affine), abs=0.01)
    assert loaded.pixels.sum() == pytest.approx(float(volume.sum()), rel=1e-6)


def test_no_edge_is_longer_than_the_matrix() -> None:
    wide = Dials(head_mr=HeadMrDials(spacing=(2.0, 2.0), margin=(60.0, 60.0), below_chin=(80.0, 80.0), matrix=96))
    volume, _ = head_mr(person(31, 4), visit(person(31, 4), 0, wide))
    assert max(volume.shape) == 96


def test_noise_is_rician_and_grows_with_its_dial() -> None:
    who = person(31, 5)
    means = []
    for noise in (0.01, 0.06):
        when = visit(who, 0, STILL)
        when = replace(when, head_mr=replace(when.head_mr, noise=noise))
        corner = head_mr(who, when)[0][:4, :4, :4].astype(float)
        means.append(corner.mean())
        # The mean of a Rayleigh variable is sqrt(pi / 2) sigma.
        assert corner.mean() == pytest.approx(np.sqrt(np.pi / 2) * noise * 1000, rel=0.25)
    assert means[1] > 4 * means[0]


def test_ghosts_wrap_and_suppression_do_what_they_say() -> None:
    who = person(31, 6)
    when = visit(who, 0, STILL)
    plain = head_mr(who, when)[0].astype(float)
    ghosts = head_mr(who, replace(when, head_mr=replace(when.head_mr, ghost=0.1)))[0].astype(float)
    air = plain < 30
    assert ghosts[air].mean() > 1.3 * plain[air].mean()
    wrapped = head_mr(who, replace(when, head_mr=replace(when.head_mr, wrap=20.0)))[0]
    assert wrapped.shape[2] == plain.shape[2] - 10
    dark = head_mr(who, replace(when, head_mr=replace(when.head_mr, suppressed=True)))[0]
    assert np.quantile(dark, 0.995) < 0.85 * np.quantile(plain, 0.995)


def series(who: Person, number: int, dials: Dials | None = None) -> LoadedSeries:
    volume, affine = head_mr(who, visit(who, number, dials))
    pixels = volume.astype(np.float32)
    return LoadedSeries(
        "1.2", "1.2.3", (), pixels=pixels, affine=affine, modality="MR", kind="volume", spacing=(1.0, 1.0, 1.0)
    )


def test_faces_are_found_in_most() -> None:
    found = 0
    coarse = Dials(head_mr=HeadMrDials(spacing=(2.4, 2.6)))
    for number in range(1, 5):
        try:
            find_face(series(person(32, number), 0, coarse))
            found += 1
        except ImagingError as error:
            assert error.reason in ("FACE_CUT", "NO_FACE")
    assert found >= 3


def test_32_x_32_pixels_do_not_tell_persons_apart() -> None:
    views: dict[str, list[list[np.ndarray]]] = {"mean": [[], []], "middle": [[], []]}
    for n in range(1, 51):
        who = person(33, n)
        for number in (0, 1):
            when = visit(who, number, TINY)
            volume = head_mr(who, when)[0].astype(float)
            upright = volume if when.head_mr.axial else volume.transpose(1, 2, 0)[::-1]
            views["mean"][number].append(upright.mean(axis=2))
            views["middle"][number].append(upright[:, :, upright.shape[2] // 2])
    for view, (gallery, probes) in views.items():
        assert pixel_rank_1(gallery, probes) < 0.2, view


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    who = person(31, 7)
    when = visit(who, 0, SMALL)
    for n, change in enumerate(({"axial": False}, {"axial": True}, {"suppressed": True})):
        one = replace(when, head_mr=replace(when.head_mr, **change))
        files = write_head_mr(tmp_path / str(n), who, one)
        for path in (files[0], files[-1]):
            said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
            assert not [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
