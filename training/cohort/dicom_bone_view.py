"""Bone views as Secondary Capture Image Storage (PS3.3 A.8.1), as a workstation stores what it has rendered."""

from __future__ import annotations

from pathlib import Path

from pydicom.uid import SecondaryCaptureImageStorage

from training.cohort.bone_view import bone_view
from training.cohort.dicom_common import Change, Image, anatomic_region, base, instance_uid, series_uid, write
from training.cohort.person import Person
from training.cohort.visit import Visit

_KIND = "bone-view"


def bone_view_study(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Writes the bone view of a visit."""
    files = tuple(write_bone_view(folder, who, when, change))
    return [Image(files, series_uid(who, when, _KIND), instance_uid(who, when, _KIND, 1, 1), view="BONE")]


def write_bone_view(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Path]:
    """Makes the bone view of a visit and writes it into ``folder``; returns the one file in a list.

    ``change`` has the last word on every header but not on pixels.
    """
    image = bone_view(who, when)
    folder.mkdir(parents=True, exist_ok=True)
    ds = base(who, when, _KIND, "CT", SecondaryCaptureImageStorage)
    ds.SOPInstanceUID = instance_uid(who, when, _KIND, 1, 1)
    ds.InstanceNumber = 1
    ds.ImageType = ["DERIVED", "SECONDARY", "VOLUME"]
    ds.ConversionType = "WSD"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "CT CHEST", "VRT BONE", "CHEST VRT"
    ds.BodyPartExamined = "CHEST"
    ds.AnatomicRegionSequence = anatomic_region("51185008", "Chest")
    ds.PatientOrientation = ["R", "F"] if when.bone_view.behind else ["L", "F"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = image.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation = "NO"
    ds.PixelData = image.tobytes()
    return [write(change(ds) if change else ds, folder / "0001.dcm")]
