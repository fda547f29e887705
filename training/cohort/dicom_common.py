"""What every phantom object says of patient, study and equipment (PS3.3 C.7.1.1, C.7.2.1, C.7.5.1)."""

from __future__ import annotations

from collections.abc import Callable
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


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    """An item of a code sequence (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def device(when: Visit, modality: str) -> str:
    """The name of the machine: one for each modality at each site."""
    return f"{when.site}-{modality}1"


def study_uid(who: Person, when: Visit, modality: str) -> str:
    return uid(who.seed, "study", who.number, when.number, modality)


def series_uid(who: Person, when: Visit, modality: str, series: int = 1) -> str:
    return uid(who.seed, "series", who.number, when.number, modality, series)


def instance_uid(who: Person, when: Visit, modality: str, series: int, instance: int) -> str:
    return uid(who.seed, "instance", who.number, when.number, modality, series, instance)


def base(who: Person, when: Visit, modality: str, sop_class: str) -> Dataset:
    """Patient, study, series and equipment of a visit; what is particular to an image is added by its writer."""
    ds = Dataset()
    day, clock = when.moment.strftime("%Y%m%d"), when.moment.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = UID(sop_class)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = clock
    ds.AccessionNumber = str(int(uid(who.seed, "accession", who.number, when.number, modality)[5:]) % 10**10).zfill(10)
    ds.Modality = modality
    ds.Manufacturer = MANUFACTURER
    ds.InstitutionName = f"Phantom Hospital {when.site.title()}"
    ds.ReferringPhysicianName = ""
    ds.StationName = device(when, modality)
    ds.ManufacturerModelName = f"Draw {modality}"
    ds.PatientName = who.name
    ds.PatientID = who.patient_id
    ds.IssuerOfPatientID = ISSUER
    ds.PatientBirthDate = who.birth_date.strftime("%Y%m%d")
    ds.PatientSex = who.sex
    ds.PatientAge = f"{int(who.years(when.moment.date())):03d}Y"
    ds.DeviceSerialNumber = str(int(uid("device", device(when, modality))[5:]) % 10**6)
    ds.SoftwareVersions = "1"
    ds.StudyInstanceUID = study_uid(who, when, modality)
    ds.SeriesInstanceUID = series_uid(who, when, modality)
    ds.StudyID = f"{who.number}.{when.number}"
    ds.SeriesNumber = 1
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
