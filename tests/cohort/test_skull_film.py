"""Skull radiographs: two views of one head, recognisable structures, an identity that pixels do not give away."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import SeriesHeader
from tests.cohort.floors import pixel_rank_1
from training.cohort.dials.skull_film import SkullFilmDials, SkullFilmVisit
from training.cohort.dicom_skull import write_skull_films
from training.cohort.illness import IllnessDials, State
from training.cohort.person import Person, person
from training.cohort.skull_film import SkullFilm, attenuation, skull_films
from training.cohort.visit import Dials, Visit, visit

SMALL = Dials(skull_film=SkullFilmDials(matrix=(160, 192), voxel=2.6))
TINY = Dials(skull_film=SkullFilmDials(matrix=(96, 128), voxel=4.0))


def plain(who: Person, number: int = 0, **changes: object) -> Visit:
    """A visit with a straight, quiet film."""
    when = visit(who, number, SMALL)
    film: SkullFilmVisit = replace(
        when.skull_film,
        frontal=(-8.0, 0.0, 0.0, 0.0, 0.0),
        lateral=(0.0, 0.0, 0.0, 0.0, 0.0),
        noise=0.003,
        marker="",
        shutter="",
        mirrored="",
        text=False,
        edges=(10.0, 10.0, 10.0, 10.0),
        gamma=1.0,
        **changes,  # type: ignore[arg-type]
    )
    return replace(when, skull_film=film)


def test_the_same_visit_gives_the_same_films() -> None:
    who = person(21, 1)
    first, second = (skull_films(who, visit(who, 0, SMALL)) for _ in range(2))
    assert [film.view for film in first] == ["PA", "LL"]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.image, b.image)


def test_films_have_the_usual_size_and_range() -> None:
    who = person(21, 2)
    for film in skull_films(who, visit(who, 0)):
        assert film.image.dtype == np.uint16
        assert film.image.max() <= 4095
        assert 448 <= max(film.image.shape) <= 576
        assert 0.4 < film.spacing < 0.9


def by_view(films: list[SkullFilm]) -> dict[str, np.ndarray]:
    return {film.view: film.image.astype(float) for film in films}


def test_the_face_looks_left_on_the_lateral_and_the_vault_is_above() -> None:
    shown = by_view(skull_films(person(21, 3), plain(person(21, 3))))["LL"]
    rows, columns = shown.shape
    # Teeth, jaw and cheek make the lower front denser than the neck's back; the vertex lies in air's company.
    assert shown[: rows // 12].mean() < shown[rows // 3 : rows // 2].mean()
    front = shown[int(0.55 * rows) : int(0.8 * rows), : columns // 2]
    back = shown[int(0.75 * rows) : int(0.95 * rows), int(0.8 * columns) :]
    assert front.mean() > 1.3 * back.mean()


def test_a_frontal_film_is_nearly_symmetric_and_a_lateral_is_not() -> None:
    shown = by_view(skull_films(person(21, 4), plain(person(21, 4))))
    likeness = {view: np.corrcoef(v.ravel(), v[:, ::-1].ravel())[0, 1] for view, v in shown.items()}
    assert likeness["PA"] > 0.8
    assert likeness["LL"] < likeness["PA"] - 0.2


def test_a_full_sinus_is_denser_than_an_empty_one() -> None:
    who = person(21, 5)
    when = plain(who)
    ill = replace(when, illness=type(when.illness)({"sinusitis": State(1.0, "L", 1)}))
    well, sick = (by_view(skull_films(who, each))["PA"] for each in (when, ill))
    rows, columns = well.shape
    face = slice(rows // 3, 2 * rows // 3)
    gain = (sick - well)[face]
    # The patient's left is on the right of the picture.
    assert gain[:, columns // 2 :].max() > 4 * abs(gain[:, : columns // 2]).max()


def test_bone_stands_out_more_at_low_energy() -> None:
    units = np.array([0.0, 1000.0], np.float32)
    soft, hard = attenuation(units, 60.0), attenuation(units, 110.0)
    assert soft[1] / soft[0] > hard[1] / hard[0] > 2.0


def test_hardware_is_on_the_films_only_when_it_was_drawn() -> None:
    who = person(21, 6)
    without = by_view(skull_films(who, plain(who)))["LL"]
    for name in ("arch_bar", "collar", "plate"):
        shown = by_view(skull_films(who, plain(who, **{name: True})))["LL"]
        assert np.mean(np.abs(shown - without) > 60) > 0.002, name
    default = SkullFilmDials()
    assert default.arch_bar == default.collar == default.plate == 0.0


def test_32_x_32_pixels_do_not_tell_persons_apart() -> None:
    people = [person(22, n) for n in range(1, 51)]
    views: dict[str, list[list[np.ndarray]]] = {"PA": [[], []], "LL": [[], []]}
    for who in people:
        for number in (0, 1):
            for film in skull_films(who, visit(who, number, TINY)):
                views[film.view][number].append(film.image)
    for view, (gallery, probes) in views.items():
        assert pixel_rank_1(gallery, probes) < 0.2, view


def test_both_views_load_and_invert_back(tmp_path: Path) -> None:
    who = person(21, 7)
    when = plain(who, monochrome1=True)
    drawn = skull_films(who, when)
    images = write_skull_films(tmp_path, who, when)
    assert [image.view for image in images] == ["PA", "LL"]
    assert len({image.series for image in images}) == 2
    for film, image in zip(drawn, images, strict=True):
        ds = pydicom.dcmread(image.files[0])
        assert ds.PhotometricInterpretation == "MONOCHROME1"
        assert np.array_equal(4095 - ds.pixel_array, film.image)
        header = read_header(image.files[0])
        loaded = load_series(SeriesHeader(header.study_uid, header.series_uid, (header,))).images
        assert [one.kind for one in loaded] == ["radiograph"]


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    who = person(21, 8)
    for number in (0, 1):
        for image in write_skull_films(tmp_path / str(number), who, visit(who, number, SMALL)):
            said = subprocess.run(["dciodvfy", str(image.files[0])], capture_output=True, text=True, check=False)
            assert not [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]


def test_dials_of_illness_reach_the_films() -> None:
    always = replace(SMALL, illness=IllnessDials(sinusitis=1.0))
    who = person(21, 9)
    assert visit(who, 0, always).illness["sinusitis"]
