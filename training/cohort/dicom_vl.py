"""Colour pictures as DICOM: fundus photographs (PS3.3 A.41), skin (A.32.4) and slides (A.32.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    OphthalmicPhotography8BitImageStorage,
    VLPhotographicImageStorage,
    VLSlideCoordinatesMicroscopicImageStorage,
)

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
from training.cohort.histology.tile import histology_tile
from training.cohort.person import Person
from training.cohort.skin.photo import skin_photo
from training.cohort.visit import Visit

_OTHER = {"R": "L", "L": "R"}
_FUNDUS, _SKIN, _HISTOLOGY = "fundus", "skin", "histology"
_UM = 0.001  # millimetres


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


def write_skin(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Makes the skin photograph of a visit and writes it into ``folder``."""
    ds = base(who, when, _SKIN, "XC", VLPhotographicImageStorage)
    ds.StudyDescription, ds.SeriesDescription = "DERMATOSCOPY", "SKIN LESION FOREARM"
    ds.AnatomicRegionSequence = anatomic_region("14975008", "Forearm")
    ds.ImageLaterality = "L"
    ds.BurnedInAnnotation = "NO"
    return _write_single(folder, who, when, change, ds, _SKIN, skin_photo(who, when), "L")


def write_histology(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Makes the histology tile of a visit and writes it into ``folder``."""
    ds = base(who, when, _HISTOLOGY, "SM", VLSlideCoordinatesMicroscopicImageStorage)
    ds.StudyDescription, ds.SeriesDescription = "HISTOLOGY", "HE TILE"
    ds.AnatomicRegionSequence = anatomic_region("71854001", "Colon")
    _add_specimen(ds, who, when)
    image = histology_tile(who, when)
    spacing = round(320.0 * when.histology.resolution / image.shape[1] * _UM, 8)
    ds.PixelSpacing = [spacing, spacing]
    centre = Dataset()
    centre.XOffsetInSlideCoordinateSystem, centre.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    centre.ZOffsetInSlideCoordinateSystem = None
    ds.ImageCenterPointCoordinatesSequence = Sequence([centre])
    ds.FrameOfReferenceUID = uid(who.seed, "slide", who.number, when.number)
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    return _write_single(folder, who, when, change, ds, _HISTOLOGY, image, "")


def _write_single(
    folder: Path,
    who: Person,
    when: Visit,
    change: Change | None,
    ds: Dataset,
    kind: str,
    image: NDArray[np.uint8],
    laterality: str,
) -> list[Image]:
    """The one image of a study (VL Image Module, PS3.3 C.8.12.1)."""
    folder.mkdir(parents=True, exist_ok=True)
    ds.SOPInstanceUID = instance_uid(who, when, kind, 1, 1)
    ds.InstanceNumber = 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation = ""
    ds.LossyImageCompression = "00"
    ds.AcquisitionContextSequence = Sequence()
    _add_pixels(ds, image)
    path = write(change(ds) if change else ds, folder / "0001.dcm")
    return [Image((path,), series_uid(who, when, kind), ds.SOPInstanceUID, laterality=laterality)]


def _add_specimen(ds: Dataset, who: Person, when: Visit) -> None:
    """The slide as its own container (PS3.3 C.7.6.22)."""
    name = f"S{who.number:05d}-{when.number}"
    ds.ContainerIdentifier = name
    ds.IssuerOfTheContainerIdentifierSequence = Sequence()
    ds.ContainerTypeCodeSequence = Sequence([code("433466003", "Microscope slide")])
    specimen = Dataset()
    specimen.SpecimenIdentifier = name
    specimen.SpecimenUID = uid(who.seed, "specimen", who.number, when.number)
    specimen.IssuerOfTheSpecimenIdentifierSequence = Sequence()
    specimen.SpecimenPreparationSequence = Sequence()
    ds.SpecimenDescriptionSequence = Sequence([specimen])


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
    ds.BurnedInAnnotation = "NO"
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
    data = image.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
