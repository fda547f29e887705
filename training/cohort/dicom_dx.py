"""Chest radiographs as Digital X-Ray Image Storage - For Presentation (PS3.3 A.26)."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation

from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.dicom_common import Change, anatomic_region, base, code, instance_uid, write
from training.cohort.person import Person
from training.cohort.visit import Visit

_FULL = 4095
_VIEWS = {
    "PA": ("272479007", "postero-anterior", ["L", "F"]),
    "AP": ("399348003", "antero-posterior", ["L", "F"]),
    "LL": ("399173006", "left lateral", ["A", "F"]),
}


def write_chest_radiograph(
    folder: Path, who: Person, when: Visit, change: Change | None = None, view: str | None = None
) -> list[Path]:
    """Makes the chest radiograph of a visit and writes it into ``folder``; returns the one file in a list."""
    view = view or when.chest_film.view
    image, spacing = chest_radiograph(who, when, view)
    folder.mkdir(parents=True, exist_ok=True)
    ds = base(who, when, "chest-film", "DX", DigitalXRayImageStorageForPresentation)
    ds.SOPInstanceUID = instance_uid(who, when, "chest-film", 1, 1)
    ds.InstanceNumber = 1
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "XR CHEST", f"CHEST {view}", f"CHEST {view}"
    _add_anatomy(ds, view)
    _add_acquisition(ds, when, spacing)
    inverted = when.chest_film.monochrome1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    ds.PixelData = (_FULL - image if inverted else image).astype("<u2").tobytes()
    return [write(change(ds) if change else ds, folder / "0001.dcm")]


def _add_anatomy(ds: Dataset, view: str) -> None:
    value, meaning, orientation = _VIEWS[view]
    ds.BodyPartExamined = "CHEST"
    ds.AnatomicRegionSequence = anatomic_region("51185008", "Chest")
    ds.ImageLaterality = "U"
    ds.ViewPosition = view
    ds.PatientOrientation = orientation
    item = code(value, meaning)
    item.ViewModifierCodeSequence = Sequence()
    ds.ViewCodeSequence = Sequence([item])


def _add_acquisition(ds: Dataset, when: Visit, spacing: float) -> None:
    film = when.chest_film
    ds.KVP, ds.Exposure = 120 if film.view != "AP" else 90, 3
    ds.DistanceSourceToDetector = round(film.distance)
    ds.ImagerPixelSpacing = [round(spacing, 4), round(spacing, 4)]
    ds.DetectorType = "SCINTILLATOR"
    ds.PositionerType = "COLUMN"
    ds.AcquisitionContextSequence = Sequence()
