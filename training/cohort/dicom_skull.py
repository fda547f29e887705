"""Skull radiographs as Digital X-Ray Image Storage - For Presentation (PS3.3 A.26)."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation

from training.cohort.dicom_common import Change, Image, anatomic_region, base, code, instance_uid, write
from training.cohort.person import Person
from training.cohort.skull_film import SkullFilm, skull_films
from training.cohort.visit import Visit

_KIND = "skull-film"
_FULL = 4095
_VIEWS = {
    "PA": ("272479007", "postero-anterior", ["L", "F"]),
    "LL": ("399173006", "left lateral", ["P", "F"]),
}


def write_skull_films(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Makes the skull radiographs of a visit and writes one file for each view into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, film in enumerate(skull_films(who, when), start=1):
        ds = _film(who, when, film, number)
        ds = change(ds) if change else ds
        path = write(ds, folder / f"{number:04d}.dcm")
        images.append(Image((path,), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID), view=film.view))
    return images


def _film(who: Person, when: Visit, film: SkullFilm, number: int) -> Dataset:
    drawn = when.skull_film
    value, meaning, orientation = _VIEWS[film.view]
    ds = base(who, when, _KIND, "DX", DigitalXRayImageStorageForPresentation, series=number)
    ds.SOPInstanceUID = instance_uid(who, when, _KIND, number, 1)
    ds.InstanceNumber = 1
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.StudyDescription = "XR SKULL"
    ds.SeriesDescription = ds.ProtocolName = f"SKULL {film.view}"
    ds.BodyPartExamined = "SKULL"
    ds.AnatomicRegionSequence = anatomic_region("89546000", "Skull")
    ds.ImageLaterality = "U"
    ds.ViewPosition = film.view
    ds.PatientOrientation = orientation
    view = code(value, meaning)
    view.ViewModifierCodeSequence = Sequence()
    ds.ViewCodeSequence = Sequence([view])
    ds.KVP, ds.Exposure = round(drawn.kilovolts), 12
    ds.DistanceSourceToDetector = round(drawn.distance)
    ds.ImagerPixelSpacing = [round(film.spacing, 4), round(film.spacing, 4)]
    ds.DetectorType = "SCINTILLATOR"
    ds.PositionerType = "COLUMN"
    ds.AcquisitionContextSequence = Sequence()
    inverted = drawn.monochrome1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = film.image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "YES" if drawn.text else "NO"
    ds.PixelData = (_FULL - film.image if inverted else film.image).astype("<u2").tobytes()
    return ds
