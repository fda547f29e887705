"""Small DICOM studies for the archive tests: phantom names, 64x64 pixels, encodings that break careless editors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
)

from dicom_node.archives.protocol import Provenance
from inference.types import PatientIdentity, PatientKey

TARGET = PatientIdentity(PatientKey("HOSPITAL A", "MRN0001"), "PHANTOM^0001", "19700101", "F")
OTHER_TARGET = PatientIdentity(PatientKey("HOSPITAL A", "MRN0002"), "PHANTOM^0002", "19600202", "M")

Edit = Callable[[Dataset], None]


def uid(*parts: object) -> str:
    """A UID that is the same for the same parts, and of this suite only."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:15]
    return f"2.25.{int.from_bytes(digest, 'big')}"


def provenance(decision: str = "decision-1") -> Provenance:
    return Provenance(decision, "MEDREID test node")


def instance(
    study: str,
    number: int = 1,
    *,
    patient_id: str | None = "UNKNOWN",
    syntax: UID = ExplicitVRLittleEndian,
    seed: int = 0,
    edit: Edit | None = None,
) -> bytes:
    """One 64x64 image as a Part 10 stream; ``seed`` changes its pixels, ``edit`` anything else."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(study, "instance", number)
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = uid(study, "series")
    ds.Modality = "CT"
    ds.StudyDate = "20240101"
    ds.StudyTime = "101010"
    ds.StudyID = "1"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.SeriesNumber = 1
    ds.InstanceNumber = number
    ds.PatientName = "UNKNOWN^MALE"
    if patient_id is not None:
        ds.PatientID = patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    block = ds.private_block(0x0029, "PHANTOM WORKS", create=True)
    block.add_new(0x01, "LO", "private text")
    block.add_new(0x02, "UN", b"\x01\x02\x03\xff")
    block.add_new(0x03, "OB", bytes(range(16)))
    reference = Dataset()
    reference.ReferencedSOPClassUID = CTImageStorage
    reference.ReferencedSOPInstanceUID = uid(study, "reference")
    ds.ReferencedImageSequence = [reference]
    _pixels(ds, number, seed, syntax)
    if edit is not None:
        edit(ds)
    return encoded(ds)


def encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _pixels(ds: Dataset, number: int, seed: int, syntax: UID) -> None:
    ds.Rows = ds.Columns = 64
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    values = np.random.default_rng([number, seed]).integers(0, 4096, (64, 64), np.uint16)
    if syntax == RLELossless:
        ds.compress(RLELossless, values, generate_instance_uid=False)
    elif syntax == JPEG2000Lossless:
        # Frames that nobody decodes: an archive must keep them whatever they hold.
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        ds.NumberOfFrames = 3
        frames = [np.random.default_rng([number, seed, frame]).bytes(99 + frame) for frame in range(3)]
        ds.PixelData = encapsulate(frames)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    else:
        ds.PixelData = values.tobytes()


def with_original_attributes(ds: Dataset) -> None:
    """An object that somebody has corrected before."""
    before, item = Dataset(), Dataset()
    before.PatientID = "TEMP7"
    before.IssuerOfPatientID = ""
    item.ModifiedAttributesSequence = [before]
    item.AttributeModificationDateTime = "20230101101010"
    item.ModifyingSystem = "A ROUTER"
    item.SourceOfPreviousValues = ""
    item.ReasonForTheAttributeModification = "COERCE"
    ds.OriginalAttributesSequence = [item]


def with_other_ids(ds: Dataset) -> None:
    other = Dataset()
    other.PatientID = "OLD1"
    other.TypeOfPatientID = "TEXT"
    ds.OtherPatientIDsSequence = [other]


def japanese(ds: Dataset) -> None:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Fantomu^0001=幻影^一号"
    ds.StudyDescription = "頭部"


def cyrillic(ds: Dataset) -> None:
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.PatientName = "Фантом^Первый"
    ds.StudyDescription = "Голова"


def misdeclared(ds: Dataset) -> None:
    """Windows-1251 bytes under the default repertoire, as some modalities send."""
    ds.add_new(0x00081030, "LO", "Голова".encode("cp1251"))


def varied_study(study: str) -> list[bytes]:
    """One study that holds every encoding, as one patient of one archive."""
    return [
        instance(study, 1),
        instance(study, 2, syntax=ImplicitVRLittleEndian),
        instance(study, 3, syntax=JPEG2000Lossless),
        instance(study, 4, syntax=RLELossless),
        instance(study, 5, edit=japanese),
        instance(study, 6, edit=with_original_attributes),
        instance(study, 7, edit=with_other_ids),
    ]
