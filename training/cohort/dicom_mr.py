"""Head MR as MR Image Storage (PS3.3 A.4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.uid import MRImageStorage

from training.cohort.chance import uid
from training.cohort.dicom_common import Change, anatomic_region, base, instance_uid, write
from training.cohort.dicom_ct import decimal
from training.cohort.head_mr import head_mr
from training.cohort.person import Person
from training.cohort.visit import Visit

_KIND = "head-mr"


def write_head_mr(folder: Path, who: Person, when: Visit, change: Change | None = None) -> list[Path]:
    """Makes the head MR of a visit and writes one file per slice into ``folder``; returns the files in their order.

    ``change`` has the last word on every header but not on pixels.
    """
    volume, affine = head_mr(who, when)
    scan = when.head_mr
    folder.mkdir(parents=True, exist_ok=True)
    ds = base(who, when, _KIND, "MR", MRImageStorage)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    plane = "AX" if scan.axial else "SAG"
    fat = " FS" if scan.suppressed else ""
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "MR HEAD", f"T1 3D {plane}{fat}", "HEAD T1 3D"
    ds.BodyPartExamined = "HEAD"
    ds.AnatomicRegionSequence = anatomic_region("69536005", "Head")
    ds.PatientPosition = "HFS"
    ds.ScanningSequence, ds.SequenceVariant = ["GR", "IR"], ["SP", "MP"]
    ds.ScanOptions = ["FS"] if scan.suppressed else ""
    ds.MRAcquisitionType, ds.SequenceName = "3D", "tfl3d1"
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime, ds.FlipAngle = 2000, 2.9, 950, 9
    ds.EchoTrainLength, ds.NumberOfAverages = 1, 1
    ds.MagneticFieldStrength = f"{scan.field:g}"
    ds.ImagedNucleus, ds.ImagingFrequency = "1H", f"{42.577 * scan.field:.4f}"
    ds.ReceiveCoilName = "HEAD"
    spacing = scan.spacing
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{spacing:g}"
    ds.AcquisitionNumber = 1
    ds.FrameOfReferenceUID = uid(who.seed, "frame", who.number, when.number, _KIND)
    ds.PositionReferenceIndicator = ""
    row, column = affine[:3, 2] / spacing, affine[:3, 1] / spacing
    ds.ImageOrientationPatient = [decimal(v) for v in (*row, *column)]
    ds.PixelSpacing = [decimal(spacing), decimal(spacing)]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = round(0.4 * scan.gain), round(0.8 * scan.gain)
    ds = change(ds) if change else ds
    normal = affine[:3, 0] / spacing
    files = []
    for index in range(len(volume)):
        position = affine @ np.array([index, 0, 0, 1.0])
        ds.SOPInstanceUID = instance_uid(who, when, _KIND, 1, index + 1)
        ds.InstanceNumber = index + 1
        ds.ImagePositionPatient = [decimal(v) for v in position[:3]]
        ds.SliceLocation = decimal(float(position[:3] @ normal))
        ds.PixelData = volume[index].astype("<u2").tobytes()
        files.append(write(ds, folder / f"{index + 1:04d}.dcm"))
    return files
