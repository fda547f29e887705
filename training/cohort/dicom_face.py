"""Photographs of the face as VL Photographic Image Storage (PS3.3 A.32.4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import VLPhotographicImageStorage

from training.cohort.dicom_common import Change, Image, anatomic_region, base, instance_uid, series_uid, write
from training.cohort.face_photo import face_photos
from training.cohort.person import Person
from training.cohort.visit import Visit

_KIND = "face-photo"
# What the rows and the columns of the picture run towards.
_ORIENTATION = {"FRONTAL": ["L", "F"], "RIGHT": ["A", "F"], "LEFT": ["P", "F"]}


def write_face_photos(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Makes the photographs of a visit and writes one file for each into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, (shot, picture) in enumerate(zip(when.face_photo.shots, face_photos(who, when), strict=True), start=1):
        ds = _photo(who, when, shot.view, picture, number)
        path = write(change(ds) if change else ds, folder / f"{number:04d}.dcm")
        instance = instance_uid(who, when, _KIND, 1, number)
        images.append(Image((path,), series_uid(who, when, _KIND), instance, view=shot.view))
    return images


def _photo(who: Person, when: Visit, view: str, picture: NDArray[np.uint8], number: int) -> Dataset:
    ds = base(who, when, _KIND, "XC", VLPhotographicImageStorage)
    ds.SOPInstanceUID = instance_uid(who, when, _KIND, 1, number)
    ds.InstanceNumber = number
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "FACE PHOTOGRAPHY", "FACE", "FACE"
    ds.ImageComments = view
    ds.AnatomicRegionSequence = anatomic_region("89545001", "Face")
    ds.ImageLaterality = "U"
    ds.PatientOrientation = _ORIENTATION[view]
    ds.AcquisitionContextSequence = Sequence()
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    data = picture.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    return ds
