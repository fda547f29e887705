"""Small radiographs of nobody: a pattern per person, with other grain at every visit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

ISSUER = "TEST HOSPITAL"


def film(person: int, visit: int, size: int = 160) -> NDArray[np.uint16]:
    """12-bit pixels (size, size): shapes with hard edges on a grating, as nobody's anatomy; a visit adds grain."""
    anatomy = np.random.default_rng([1, person])
    y, x = np.mgrid[0:size, 0:size] / size
    angle, pitch = anatomy.uniform(0, np.pi), anatomy.uniform(2, 30)
    picture = 0.2 * np.sin(2 * np.pi * pitch * (x * np.cos(angle) + y * np.sin(angle)))
    for _ in range(anatomy.integers(2, 12)):
        cx, cy, width, height = anatomy.uniform((0.1, 0.1, 0.03, 0.03), (0.9, 0.9, 0.3, 0.3))
        reach = np.maximum(abs(x - cx) / width, abs(y - cy) / height)
        if anatomy.random() < 0.5:
            reach = np.hypot((x - cx) / width, (y - cy) / height)
        picture[reach < 1] = anatomy.uniform(-1, 1)
    grain = np.random.default_rng([2, person, visit]).normal(0, 0.03, picture.shape)
    return np.clip(2048 + 1200 * (picture + grain), 0, 4095).astype(np.uint16)


def study_uid(person: int, visit: int) -> str:
    return str(generate_uid(entropy_srcs=["study", str(person), str(visit)]))


def film_dataset(person: int, visit: int, patient_id: str | None, *, number: int = 1, **elements: object) -> Dataset:
    """A CR object; ``patient_id`` None leaves the element out. ``elements`` replaces others by keyword."""
    pixels = film(person, visit + 1000 * (number - 1))
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    uid = generate_uid(entropy_srcs=["instance", str(person), str(visit), str(number)])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.StudyInstanceUID = study_uid(person, visit)
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(person), str(visit)])
    if patient_id is not None:
        ds.PatientID = patient_id
        ds.IssuerOfPatientID = ISSUER
    ds.PatientName = f"PHANTOM^{person:04d}" if patient_id else ""
    ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.StudyDate, ds.StudyTime = f"20240{1 + visit % 9}15", "101500"
    ds.Modality, ds.Manufacturer, ds.BodyPartExamined, ds.ViewPosition = "CR", "MedReID Test", "CHEST", "PA"
    ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation = 1, number, ["L", "F"]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write_film(
    folder: Path, person: int, visit: int, patient_id: str | None, *, number: int = 1, **elements: object
) -> Path:
    """Writes :func:`film_dataset` as a DICOM file and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{person:04d}-{visit}-{number}.dcm"
    film_dataset(person, visit, patient_id, number=number, **elements).save_as(path, enforce_file_format=True)
    return path


def known(person: int) -> str:
    """The Patient ID that a person has at the test hospital."""
    return f"MRN{person:06d}"
