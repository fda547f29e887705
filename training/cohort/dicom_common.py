"""What every phantom object says of patient, study and equipment (PS3.3 C.7.1.1, C.7.2.1, C.7.5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from training.cohort.chance import uid
from training.cohort.person import ISSUER, Person
from training.cohort.visit import Visit

# What is done to a data set before it is written: an orphan loses its patient here.
Change = Callable[[Dataset], Dataset]

MANUFACTURER = "MedReID Phantom"
_IMPLEMENTATION = UID(uid("implementation"))


@dataclass(frozen=True, slots=True)
class Image:
    """An image or volume that was written: ``files`` in their order; ``series`` and ``instance`` are UIDs.

    ``instance`` is empty for a volume.
    """

    files: tuple[Path, ...]
    series: str
    instance: str = ""
    view: str = ""
    laterality: str = ""


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    """An item of a code sequence (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def study_uid(who: Person, when: Visit, kind: str) -> str:
    return uid(who.seed, "study", who.number, when.number, kind)


def series_uid(who: Person, when: Visit, kind: str, series: int = 1) -> str:
    return uid(who.seed, "series", who.number, when.number, kind, series)


def instance_uid(who: Person, when: Visit, kind: str, series: int, instance: int) -> str:
    return uid(who.seed, "instance", who.number, when.number, kind, series, instance)


def base(who: Person, when: Visit, kind: str, modality: str, sop_class: str, series: int = 1) -> Dataset:
    """Patient, study, series and equipment of a visit; what is particular to an image is added by its writer.

    ``kind`` names the study of the visit (``head-ct``), ``series`` its place in that study.
    """
    station = when.devices[modality]
    ds = Dataset()
    day, clock = when.moment.strftime("%Y%m%d"), when.moment.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = UID(sop_class)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = clock
    ds.AccessionNumber = str(int(uid(who.seed, "accession", who.number, when.number, kind)[5:]) % 10**10).zfill(10)
    ds.Modality = modality
    ds.Manufacturer = MANUFACTURER
    ds.InstitutionName = f"Phantom Hospital {when.site.title()}"
    ds.ReferringPhysicianName = ""
    ds.StationName = station
    ds.ManufacturerModelName = f"Draw {modality}"
    ds.PatientName = who.name
    ds.PatientID = who.patient_id
    ds.IssuerOfPatientID = ISSUER
    ds.PatientBirthDate = who.birth_date.strftime("%Y%m%d")
    ds.PatientSex = who.sex
    ds.PatientAge = f"{int(who.years(when.moment.date())):03d}Y"
    ds.DeviceSerialNumber = str(int(uid("device", station)[5:]) % 10**6)
    ds.SoftwareVersions = "1"
    ds.StudyInstanceUID = study_uid(who, when, kind)
    ds.SeriesInstanceUID = series_uid(who, when, kind, series)
    ds.StudyID = f"{who.number}.{when.number}"
    ds.SeriesNumber = series
    return ds


def anatomic_region(value: str, meaning: str) -> Sequence:
    return Sequence([code(value, meaning)])


def write(ds: Dataset, path: Path) -> Path:
    """Writes a Part 10 file, explicit VR little endian; the same data set gives the same bytes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "MEDREID_PHANTOM"
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return path
