"""Head CT as CT Image Storage (PS3.3 A.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage

from training.cohort.chance import uid
from training.cohort.dicom_common import Change, anatomic_region, base, instance_uid, write
from training.cohort.head_ct import head_ct
from training.cohort.person import Person
from training.cohort.visit import Visit

_INTERCEPT = -1024


def write_head_ct(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Path]:
    """Makes the head CT of a visit and writes one file per slice into ``folder``; returns the files in their order.

    ``change`` has the last word on every header but not on pixels.
    """
    volume, affine = head_ct(who, when)
    return write_ct_volume(folder, who, when, volume, affine, change)


def write_ct_volume(
    folder: Path,
    who: Person,
    when: Visit,
    volume: NDArray[np.int16],
    affine: NDArray[np.float64],
    change: Change | None = None,
) -> list[Path]:
    """Writes a volume and its affine as :func:`~training.cohort.head_ct.head_ct` gives them."""
    folder.mkdir(parents=True, exist_ok=True)
    ds = base(who, when, "head-ct", "CT", CTImageStorage)
    scan = when.head_ct
    # Slices are further apart along the table than along their normal when the gantry is tilted.
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    normal = np.cross(affine[:3, 2] / steps[2], affine[:3, 1] / steps[1])
    spacing = abs(float(normal @ affine[:3, 0]))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "CT HEAD", f"HEAD {scan.spacing:g}", "HEAD ROUTINE"
    ds.BodyPartExamined = "HEAD"
    ds.AnatomicRegionSequence = anatomic_region("69536005", "Head")
    ds.PatientPosition = ("FF" if scan.feet_first else "HF") + ("P" if scan.prone else "S")
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = 120, round(2400 / scan.noise), 1000
    ds.ConvolutionKernel = "PH60s" if scan.sharp else "PI30f" if scan.iterative else "PH30f"
    ds.ReconstructionDiameter = scan.field_of_view
    ds.SliceThickness = f"{scan.thickness * spacing:.3g}"
    ds.SpacingBetweenSlices = decimal(spacing)
    ds.GantryDetectorTilt = decimal(scan.gantry)
    ds.AcquisitionNumber = 1
    ds.FrameOfReferenceUID = uid(who.seed, "frame", who.number, when.number, "head-ct")
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [decimal(v) for v in (*affine[:3, 2] / steps[2], *affine[:3, 1] / steps[1])]
    ds.PixelSpacing = [decimal(steps[1]), decimal(steps[2])]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    ds = change(ds) if change else ds
    order = range(len(volume)) if scan.feet_first_order else reversed(range(len(volume)))
    lost = {round(share * (len(volume) - 1)) for share in scan.dropped}
    files = []
    for number, index in enumerate(order, start=1):
        if index in lost:
            continue
        position = affine @ np.array([index, 0, 0, 1.0])
        ds.SOPInstanceUID = instance_uid(who, when, "head-ct", 1, number)
        ds.InstanceNumber = number
        ds.ImagePositionPatient = [decimal(v) for v in position[:3]]
        ds.SliceLocation = decimal(abs(float(normal @ position[:3])) if scan.gantry else position[2])
        ds.PixelData = (volume[index] - _INTERCEPT).astype("<u2").tobytes()
        files.append(write(ds, folder / f"{number:04d}.dcm"))
    return files


def decimal(value: float) -> str:
    """A DS of at most 16 characters that keeps a thousandth of a millimetre and more."""
    return f"{round(float(value), 6):.10g}"
