"""Colour pictures as DICOM: fundus photographs (PS3.3 A.41), skin (A.32.4) and slides (A.32.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import OphthalmicPhotography8BitImageStorage

from training.cohort.chance import uid
from training.cohort.dials.fundus import EYES
from training.cohort.dicom_common import (
    Change,
    Image,
    anatomic_region,
    base,
    code,
    instance_uid,
    series_uid,
    write,
)
from training.cohort.eye.camera import MM_PER_DEGREE, Camera
from training.cohort.eye.photo import fundus_photo
from training.cohort.person import Person
from training.cohort.visit import Visit

_OTHER = {"R": "L", "L": "R"}
_FUNDUS = "fundus"


def write_fundus(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Makes the fundus photographs of a visit, both eyes in each of its views, and writes them into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[Image] = []
    for view in when.fundus.views:
        for side in EYES:
            number = len(images) + 1
            ds = _fundus_object(who, when, side, view, number)
            path = write(change(ds) if change else ds, folder / f"{number:04d}.dcm")
            instance = instance_uid(who, when, _FUNDUS, 1, number)
            images.append(Image((path,), series_uid(who, when, _FUNDUS), instance, view, side))
    return images


def _fundus_object(who: Person, when: Visit, side: str, view: str, number: int) -> Dataset:
    visit, shot = when.fundus, when.fundus.shots[side, view]
    ds = base(who, when, _FUNDUS, "OP", OphthalmicPhotography8BitImageStorage)
    ds.SOPInstanceUID = instance_uid(who, when, _FUNDUS, 1, number)
    ds.InstanceNumber = number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    # What the label says; the picture itself shows which eye it is.
    said = _OTHER[side] if shot.wrong_side else side
    ds.ImageLaterality = said
    ds.StudyDescription = "FUNDUS PHOTOGRAPHY"
    ds.SeriesDescription = ds.ProtocolName = "COLOR FUNDUS OU"
    ds.ImageComments = f"{'OD' if said == 'R' else 'OS'} {view}"
    ds.AnatomicRegionSequence = anatomic_region("5665001", "Retina")
    ds.PatientOrientation = ""
    camera = Camera.of(who.eyes.of(side), view, visit, shot)
    # The camera knows neither how long the eye is nor how far away it was held.
    spacing = shot.magnification / camera.scale
    _add_acquisition(ds, round(2 * camera.radius * spacing / MM_PER_DEGREE, 1))
    ds.PixelSpacing = [round(spacing, 6), round(spacing, 6)]
    _add_synchronization(ds, who, when)
    _add_pixels(ds, fundus_photo(who, when, side, view))
    ds.NumberOfFrames = 1
    ds.FrameIncrementPointer = 0x00181065
    ds.FrameTimeVector = [0]
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = "10"
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    return ds


def _add_acquisition(ds: Dataset, field: float) -> None:
    """Ophthalmic photography acquisition and photographic parameters (PS3.3 C.8.17.4, C.8.17.2)."""
    ds.PatientEyeMovementCommanded = "NO"
    ds.HorizontalFieldOfView = field
    ds.RefractiveStateSequence = Sequence()
    ds.EmmetropicMagnification = None
    ds.IntraOcularPressure = None
    ds.PupilDilated = ""
    ds.AcquisitionDeviceTypeCodeSequence = Sequence([code("409898007", "Fundus Camera")])
    ds.IlluminationTypeCodeSequence = Sequence()
    ds.LightPathFilterTypeStackCodeSequence = Sequence()
    ds.ImagePathFilterTypeStackCodeSequence = Sequence()
    ds.LensesCodeSequence = Sequence()
    ds.DetectorType = "CMOS"
    ds.AcquisitionDateTime = f"{ds.AcquisitionDate}{ds.AcquisitionTime}"


def _add_synchronization(ds: Dataset, who: Person, when: Visit) -> None:
    ds.SynchronizationFrameOfReferenceUID = uid(who.seed, "synchronization", who.number, when.number)
    ds.SynchronizationTrigger = "NO TRIGGER"
    ds.AcquisitionTimeSynchronized = "N"


def _add_pixels(ds: Dataset, image: NDArray[np.uint8]) -> None:
    """8-bit RGB, colour by pixel."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = image.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation = "NO"
    data = image.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
