"""Chest radiographs as Digital X-Ray Image Storage - For Presentation (PS3.3 A.26)."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation

from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.dicom_common import Change, Image, anatomic_region, base, code, instance_uid, series_uid, write
from training.cohort.person import Person
from training.cohort.visit import Visit

_KIND = "chest-film"
_FULL = 4095
_VIEWS = {
    "PA": ("272479007", "postero-anterior", ["L", "F"]),
    "AP": ("399348003", "antero-posterior", ["L", "F"]),
    "LL": ("399173006", "left lateral", ["A", "F"]),
}


def chest_film_study(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Writes the chest radiographs of a visit: the frontal film, and a series with the lateral one if there is one."""
    film = when.chest_film
    views = [film.view, "LL"] if film.lateral and film.view != "LL" else [film.view]
    return [
        Image(
            (_write_film(folder, who, when, change, view, number),),
            series_uid(who, when, _KIND, number),
            instance_uid(who, when, _KIND, number, 1),
            view=view,
        )
        for number, view in enumerate(views, start=1)
    ]


def write_chest_radiograph(
    folder: Path, who: Person, when: Visit, change: Change | None = None, view: str | None = None
) -> list[Path]:
    """Writes one chest radiograph of a visit, by default its frontal one; returns the one file in a list."""
    return [_write_film(folder, who, when, change, view or when.chest_film.view, 1)]


def _write_film(folder: Path, who: Person, when: Visit, change: Change | None, view: str, number: int) -> Path:
    image, spacing = chest_radiograph(who, when, view)
    folder.mkdir(parents=True, exist_ok=True)
    film = when.chest_film
    ds = base(who, when, _KIND, "DX", DigitalXRayImageStorageForPresentation, number)
    ds.SOPInstanceUID = instance_uid(who, when, _KIND, number, 1)
    ds.InstanceNumber = 1
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "XR CHEST", f"CHEST {view}", f"CHEST {view}"
    _add_anatomy(ds, view, faces_left=film.faces_left)
    _add_acquisition(ds, when, view, spacing)
    inverted = film.monochrome1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "YES" if film.text else "NO"
    ds.PixelData = (_FULL - image if inverted else image).astype("<u2").tobytes()
    return write(change(ds) if change else ds, folder / f"{number:04d}.dcm")


def _add_anatomy(ds: Dataset, view: str, *, faces_left: bool) -> None:
    value, meaning, orientation = _VIEWS[view]
    if view == "LL" and faces_left:
        orientation = ["P", "F"]
    ds.BodyPartExamined = "CHEST"
    ds.AnatomicRegionSequence = anatomic_region("51185008", "Chest")
    ds.ImageLaterality = "U"
    ds.ViewPosition = view
    ds.PatientOrientation = orientation
    item = code(value, meaning)
    item.ViewModifierCodeSequence = Sequence()
    ds.ViewCodeSequence = Sequence([item])


def _add_acquisition(ds: Dataset, when: Visit, view: str, spacing: float) -> None:
    ds.KVP, ds.Exposure = 90 if view == "AP" else 120, 3
    ds.DistanceSourceToDetector = round(when.chest_film.distance)
    ds.ImagerPixelSpacing = [round(spacing, 4), round(spacing, 4)]
    ds.DetectorType = "SCINTILLATOR"
    ds.PositionerType = "COLUMN"
    ds.AcquisitionContextSequence = Sequence()
