"""Chest CT as CT Image Storage (PS3.3 A.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from training.cohort.chance import uid
from training.cohort.chest_ct import chest_ct
from training.cohort.dials.chest_ct import ChestCtVisit
from training.cohort.dicom_common import Change, Image, anatomic_region, base, instance_uid, series_uid, write
from training.cohort.dicom_ct import decimal
from training.cohort.person import Person
from training.cohort.visit import Visit

_KIND = "chest-ct"
_INTERCEPT = -1024


def chest_ct_study(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Image]:
    """Writes the chest CT of a visit, one file for each slice; returns the one volume."""
    return [Image(tuple(write_chest_ct(folder, who, when, change)), series_uid(who, when, _KIND))]


def write_chest_ct(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Path]:
    """Makes the chest CT of a visit and writes one file per slice into ``folder``; returns the files in their order.

    ``change`` has the last word on every header but not on pixels. Slices that the visit misses are not written.
    """
    volume, affine = chest_ct(who, when)
    folder.mkdir(parents=True, exist_ok=True)
    scan = when.chest_ct
    ds = base(who, when, _KIND, "CT", CTImageStorage)
    ds.StudyDescription, ds.ProtocolName = "CT CHEST", "CHEST ROUTINE"
    _add_scan(ds, scan, affine)
    ds.FrameOfReferenceUID = uid(who.seed, "frame", who.number, when.number, _KIND)
    ds.Rows, ds.Columns = volume.shape[1:]
    ds = change(ds) if change else ds
    missing = {int(share * (len(volume) - 1)) for share in scan.missing}
    order = [n for n in range(len(volume)) if n not in missing]
    if not scan.feet_first_order:
        order.reverse()
    files = []
    for number, index in enumerate(order, start=1):
        position = affine @ np.array([index, 0, 0, 1.0])
        ds.SOPInstanceUID = instance_uid(who, when, _KIND, 1, number)
        ds.InstanceNumber = number
        ds.ImagePositionPatient = [decimal(v) for v in position[:3]]
        ds.SliceLocation = decimal(position[2])
        ds.PixelData = (volume[index] - _INTERCEPT).astype("<u2").tobytes()
        files.append(write(ds, folder / f"{number:04d}.dcm"))
    return files


def _add_scan(ds: Dataset, scan: ChestCtVisit, affine: NDArray[np.float64]) -> None:
    spacing, rows, columns = float(affine[2, 0]), float(affine[1, 1]), float(affine[0, 2])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription = f"CHEST {spacing:g}" + ("" if scan.contrast == "none" else f" {scan.contrast.upper()}")
    ds.BodyPartExamined = "CHEST"
    ds.AnatomicRegionSequence = anatomic_region("51185008", "Chest")
    ds.PatientPosition = "HFS"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = 120, round(3600 / scan.noise), 500
    ds.ConvolutionKernel = "Bl57f" if scan.sharp else "Br40f"
    if scan.contrast != "none":
        ds.ContrastBolusAgent = "IODINE"
    ds.ReconstructionDiameter = scan.field_of_view
    ds.SliceThickness = f"{spacing:g}"
    ds.SpacingBetweenSlices = f"{spacing:g}"
    ds.GantryDetectorTilt = 0
    ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [decimal(rows), decimal(columns)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = [40, -500], [400, 1500]
