"""What the files say: conformant, consistent, and read back as they were drawn."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.dicom_ct import write_head_ct
from training.cohort.dicom_dx import write_chest_radiograph
from training.cohort.head_ct import head_ct
from training.cohort.person import person
from training.cohort.visit import Dials, visit, with_view


def test_a_head_ct_reads_back_with_its_geometry(tmp_path: Path, small: Dials) -> None:
    who = person(4, 1)
    when = visit(who, 0, small)
    volume, affine = head_ct(who, when)
    slices = [pydicom.dcmread(path) for path in write_head_ct(tmp_path, who, when)]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    read = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
    assert np.array_equal(read, volume)
    positions = np.array([ds.ImagePositionPatient for ds in slices], dtype=float)
    assert np.allclose(positions[0], affine[:3, 3], atol=1e-4)
    assert np.allclose(np.diff(positions, axis=0), affine[:3, 0], atol=1e-4)
    assert np.allclose(slices[0].PixelSpacing, [affine[1, 1], affine[0, 2]], atol=1e-4)
    assert list(slices[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "SliceThickness"):
        assert len({str(ds[keyword].value) for ds in slices}) == 1, keyword
    assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)
    assert sorted(ds.InstanceNumber for ds in slices) == list(range(1, len(slices) + 1))


def test_headers_say_who_and_where(tmp_path: Path, small: Dials) -> None:
    who = person(4, 2)
    films = [pydicom.dcmread(write_chest_radiograph(tmp_path / str(n), who, visit(who, n, small))[0]) for n in (0, 1)]
    for ds in films:
        assert (ds.PatientID, ds.IssuerOfPatientID, ds.PatientName) == ("PH-4-00002", "PHANTOM", "PHANTOM^0002")
        assert (ds.PatientSex, ds.PatientBirthDate) == (who.sex, who.birth_date.strftime("%Y%m%d"))
        assert (ds.Modality, ds.BodyPartExamined, ds.Manufacturer) == ("DX", "CHEST", "MedReID Phantom")
        assert ds.ViewPosition in ("PA", "AP")
        assert ds.AccessionNumber
    assert films[0].StudyDate < films[1].StudyDate
    assert films[0].StudyInstanceUID != films[1].StudyInstanceUID


@pytest.mark.parametrize("inverted", [False, True])
def test_stored_values_and_photometric_interpretation_agree(tmp_path: Path, small: Dials, inverted: bool) -> None:
    from dataclasses import replace

    who = person(4, 3)
    when = visit(who, 0, small)
    when = replace(when, chest_film=replace(when.chest_film, monochrome1=inverted))
    shown, spacing = chest_radiograph(who, when)
    ds = pydicom.dcmread(write_chest_radiograph(tmp_path, who, when)[0])
    assert ds.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    assert np.array_equal(4095 - ds.pixel_array if inverted else ds.pixel_array, shown)
    assert np.allclose(ds.ImagerPixelSpacing, spacing, atol=1e-3)


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path, small: Dials) -> None:
    who = person(4, 4)
    files = write_head_ct(tmp_path / "ct", who, visit(who, 0, small))[:3]
    for n in range(4):
        files += write_chest_radiograph(tmp_path / f"dx{n}", who, visit(who, n, small))
    files += write_chest_radiograph(tmp_path / "ll", who, with_view(visit(who, 0, small), "LL"))
    for path in files:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        problems = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        assert not problems, f"{path.relative_to(tmp_path)}: {problems}"
