"""Small DICOM files."""

from __future__ import annotations

import io
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.ledger.builders import CT, STUDY


def part10(number: int, study: str = STUDY, **attributes: Any) -> bytes:
    """Instance ``number`` of a CT study without pixels, as a DICOM file."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(CT), UID(f"{study}.9.{number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(study), UID(f"{study}.1")
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "P1", "PHANTOM^0001"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
