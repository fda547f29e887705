"""What the files of the chest's studies say: conformant, and true to what was drawn."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from training.cohort.bone_view import bone_view
from training.cohort.chest_ct import chest_ct
from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.dials.bone_view import BoneViewDials
from training.cohort.dials.chest_ct import ChestCtDials
from training.cohort.dials.chest_film import ChestFilmDials
from training.cohort.dicom_bone_view import write_bone_view
from training.cohort.dicom_chest_ct import write_chest_ct
from training.cohort.dicom_dx import chest_film_study
from training.cohort.person import person
from training.cohort.visit import Dials, visit

FILM = ChestFilmDials(matrix=(128, 128), view=(("PA", 1.0),), lateral=1.0)
DIALS = Dials(
    chest_film=FILM,
    chest_ct=ChestCtDials(matrix=(48,), spacing=(10.0, 10.0), contrast=(("venous", 1.0),), missing=0.0),
    bone_view=BoneViewDials(voxel=(6.0, 6.0), size=(96,)),
)


def test_a_chest_ct_reads_back_with_its_geometry(tmp_path: Path) -> None:
    who, when = person(4, 1), visit(person(4, 1), 0, DIALS)
    volume, affine = chest_ct(who, when)
    slices = sorted(
        (pydicom.dcmread(path) for path in write_chest_ct(tmp_path, who, when)),
        key=lambda ds: ds.ImagePositionPatient[2],
    )
    read = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
    assert np.array_equal(read, volume)
    positions = np.array([ds.ImagePositionPatient for ds in slices], dtype=float)
    assert np.allclose(positions[0], affine[:3, 3], atol=1e-4)
    assert np.allclose(np.diff(positions, axis=0), affine[:3, 0], atol=1e-4)
    assert np.allclose(slices[0].PixelSpacing, [affine[1, 1], affine[0, 2]], atol=1e-4)
    assert {ds.BodyPartExamined for ds in slices} == {"CHEST"}
    assert {ds.ContrastBolusAgent for ds in slices} == {"IODINE"}
    assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)


def test_an_upright_study_can_hold_a_lateral_film(tmp_path: Path) -> None:
    who, when = person(4, 2), visit(person(4, 2), 0, DIALS)
    images = chest_film_study(tmp_path, who, when)
    assert [image.view for image in images] == ["PA", "LL"]
    files = [pydicom.dcmread(image.files[0]) for image in images]
    assert files[0].StudyInstanceUID == files[1].StudyInstanceUID
    assert [ds.SeriesInstanceUID for ds in files] == [image.series for image in images]
    assert [ds.SOPInstanceUID for ds in files] == [image.instance for image in images]
    assert files[0].SeriesInstanceUID != files[1].SeriesInstanceUID


def test_films_face_where_their_headers_say_and_the_mirrored_do_not(tmp_path: Path) -> None:
    who = person(4, 3)
    plain = replace(FILM, marker=0.0, text=0.0, mirrored=0.0, faces_left=0.0, monochrome1=0.0)

    def study(name: str, dials: ChestFilmDials) -> list[pydicom.Dataset]:
        images = chest_film_study(tmp_path / name, who, visit(who, 0, Dials(chest_film=dials)))
        return [pydicom.dcmread(image.files[0]) for image in images]

    straight, turned = study("plain", plain), study("turned", replace(plain, faces_left=1.0))
    assert list(straight[1].PatientOrientation) == ["A", "F"]
    assert list(turned[1].PatientOrientation) == ["P", "F"]
    assert np.array_equal(straight[1].pixel_array, turned[1].pixel_array[:, ::-1])
    assert np.array_equal(straight[0].pixel_array, turned[0].pixel_array)
    wrong = study("mirrored", replace(plain, mirrored=1.0))
    assert np.array_equal(straight[0].pixel_array, wrong[0].pixel_array[:, ::-1])
    assert list(wrong[0].PatientOrientation) == list(straight[0].PatientOrientation)


def test_burned_in_text_is_owned_up_to(tmp_path: Path) -> None:
    who = person(4, 4)
    bare, lettered = (visit(who, 0, Dials(chest_film=replace(FILM, text=share, lateral=0.0))) for share in (0.0, 1.0))
    said = [
        pydicom.dcmread(chest_film_study(tmp_path / str(n), who, w)[0].files[0]) for n, w in enumerate((bare, lettered))
    ]
    assert [ds.BurnedInAnnotation for ds in said] == ["NO", "YES"]
    corner = (slice(0, 20), slice(0, 60))
    one, other = (chest_radiograph(who, w)[0][corner].astype(int) for w in (bare, lettered))
    assert np.sum(other - one > 1500) > 15


def test_a_bone_view_is_stored_as_it_was_rendered(tmp_path: Path) -> None:
    who, when = person(4, 5), visit(person(4, 5), 0, DIALS)
    ds = pydicom.dcmread(write_bone_view(tmp_path, who, when)[0])
    assert np.array_equal(ds.pixel_array, bone_view(who, when))
    assert (ds.Modality, ds.ConversionType, ds.PhotometricInterpretation) == ("CT", "WSD", "RGB")


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    who = person(4, 6)
    files = []
    for n in range(2):
        when = visit(who, n, DIALS)
        files += [path for image in chest_film_study(tmp_path / f"dx{n}", who, when) for path in image.files]
        files += write_chest_ct(tmp_path / f"ct{n}", who, when)[:2]
        files += write_bone_view(tmp_path / f"vr{n}", who, when)
    for path in files:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        problems = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        assert not problems, f"{path.relative_to(tmp_path)}: {problems}"
