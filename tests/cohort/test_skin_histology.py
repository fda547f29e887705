"""Skin and histology: repeatable, conformant, and told apart by every route that meets them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import SeriesHeader
from training.cohort.dials.histology import UNSEEN as UNSEEN_HISTOLOGY
from training.cohort.dials.histology import HistologyDials
from training.cohort.dials.skin import UNSEEN as UNSEEN_SKIN
from training.cohort.dicom_common import Image
from training.cohort.dicom_vl import write_histology, write_skin
from training.cohort.histology.tile import histology_tile
from training.cohort.illness import Illness, State
from training.cohort.person import Person, person
from training.cohort.skin.photo import skin_photo
from training.cohort.visit import Dials, Visit, visit

Draw = Callable[[Person, Visit], NDArray[np.uint8]]
Write = Callable[[Path, Person, Visit], list[Image]]
UNSEEN = Dials(skin=UNSEEN_SKIN, histology=UNSEEN_HISTOLOGY)


@pytest.mark.parametrize("draw", [skin_photo, histology_tile])
def test_the_same_path_gives_the_same_picture_and_visits_differ(draw: Draw) -> None:
    who = person(6, 1)
    first = draw(who, visit(who, 0))
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert np.array_equal(first, draw(who, visit(who, 0)))
    assert first.std() > 8
    again = draw(who, visit(who, 1))
    assert first.shape != again.shape or not np.array_equal(first, again)


@pytest.mark.parametrize("draw", [skin_photo, histology_tile])
def test_unseen_nuisances_change_the_picture(draw: Draw) -> None:
    who = person(6, 2)
    pairs = [(draw(who, visit(who, n)), draw(who, visit(who, n, UNSEEN))) for n in range(4)]
    assert any(a.shape != b.shape or np.abs(a.astype(int) - b).mean() > 3 for a, b in pairs)


def test_a_lesion_is_dark_and_grows_with_its_severity() -> None:
    who = person(6, 3)
    when = visit(who, 0)
    when = replace(when, skin=replace(when.skin, hairs=0, shift=(0.0, 0.0), exposure=1.0, gradient=0.0))

    def changed(severity: float) -> float:
        ill = replace(when, illness=Illness({"lesion": State(severity, "R", 5)} if severity else {}))
        return float(np.mean(skin_photo(who, ill).astype(int).sum(axis=2) < plain.sum(axis=2) - 60))

    plain = skin_photo(who, replace(when, illness=Illness({}))).astype(int)
    assert changed(0.0) == 0.0
    assert 0.01 < changed(0.3) < changed(0.9) < 0.6


def test_tissue_of_one_person_has_its_own_density() -> None:
    """Under equal stains, what stays from place to place is how close and how large nuclei are."""
    same = HistologyDials(
        resolution=(1.0, 1.0),
        haematoxylin=(1.0, 1.0),
        eosin=(1.0, 1.0),
        hue_sd=0.0,
        light=(1.0, 1.0),
        defocus=(0.6, 0.6),
    )
    persons = [person(6, n) for n in range(12)]
    tiles = [[histology_tile(who, visit(who, n, Dials(histology=same))) for n in range(3)] for who in persons]
    share = np.array([[np.mean(tile[..., 0] < 130) for tile in row] for row in tiles])
    assert share.mean(axis=1).std() > 2 * share.std(axis=1).mean()


@pytest.mark.parametrize(
    ("write", "draw", "modality"), [(write_skin, skin_photo, "XC"), (write_histology, histology_tile, "SM")]
)
def test_pictures_are_written_as_they_were_drawn(tmp_path: Path, write: Write, draw: Draw, modality: str) -> None:
    who = person(6, 4)
    when = visit(who, 0)
    (image,) = write(tmp_path, who, when)
    ds = pydicom.dcmread(image.files[0])
    assert (ds.Modality, ds.PatientID, ds.SOPInstanceUID) == (modality, who.patient_id, image.instance)
    assert ds.SeriesInstanceUID == image.series
    assert np.array_equal(ds.pixel_array, draw(who, when))


def test_skin_and_slides_are_loaded_as_photographs(tmp_path: Path) -> None:
    who = person(6, 5)
    loaded = []
    for write, name in ((write_skin, "skin"), (write_histology, "histology")):
        (image,) = write(tmp_path / name, who, visit(who, 0))
        header = read_header(image.files[0])
        loaded.append(load_series(SeriesHeader(header.study_uid, header.series_uid, (header,))))
    assert [(one.kind, one.modality) for found in loaded for one in found.images] == [
        ("photograph", "XC"),
        ("photograph", "SM"),
    ]


@pytest.mark.dicom3tools
@pytest.mark.parametrize("write", [write_skin, write_histology])
def test_dciodvfy_finds_no_error(tmp_path: Path, write: Write) -> None:
    who = person(6, 6)
    (image,) = write(tmp_path, who, visit(who, 0))
    said = subprocess.run(["dciodvfy", str(image.files[0])], capture_output=True, text=True, check=False)
    problems = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    assert not problems, problems
