"""Small DICOM objects for tests: sound ones through pydicom, hostile ones byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from inference.imaging.headers import read_header
from inference.imaging.series import LoadOptions, LoadResult, load_series
from inference.types import SeriesHeader

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, ENHANCED_CT, MR, CR, DX, DX_RAW = (STORAGE + suffix for suffix in ("2", "2.1", "4", "1", "1.1", "1.1.1"))
SC, OP, SR = (STORAGE + suffix for suffix in ("7", "77.1.5.1", "88.11"))
STUDY, SERIES = "2.25.1", "2.25.2"


def dataset(sop_class: str, number: int = 1, **attributes: Any) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"2.25.3.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.PatientID, ds.InstanceNumber = "PH-1", number
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def with_pixels(
    ds: Dataset, pixels: NDArray[Any], photometric: str = "MONOCHROME2", bits: int | None = None
) -> Dataset:
    """Grey (rows, columns) or (frames, rows, columns); colour (rows, columns, 3) of uint8."""
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    ds.Rows, ds.Columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    if pixels.ndim == 3 and not colour:
        ds.NumberOfFrames = len(pixels)
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    return ds


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def series(paths: Iterable[Path]) -> SeriesHeader:
    headers = tuple(read_header(path) for path in paths)
    return SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)


def load(*paths: Path, allow: Iterable[str] = (), limit: int = 2**31) -> LoadResult:
    return load_series(series(paths), LoadOptions(frozenset(allow), limit))


def reasons(result: LoadResult) -> dict[str, int]:
    return {rejection.reason: rejection.instances for rejection in result.rejections}


def ct_slices(folder: Path, positions: Iterable[Any], **changes: Any) -> list[Path]:
    """One axial 8 x 10 slice of 2 x 3 mm pixels per position (z alone, or x, y, z); its HU are 10 times its number.

    A change that is a list holds one value per slice, a None leaves the attribute out.
    """
    paths = []
    for number, place in enumerate(positions, start=1):
        pixels = np.full((8, 10), 1024 + 10 * number, np.uint16)
        pixels[0, 0] = 0
        attributes: dict[str, Any] = {
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "ImagePositionPatient": list(place) if isinstance(place, Iterable) else [-15.0, -8.0, float(place)],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [2, 3],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        }
        for keyword, value in changes.items():
            attributes[keyword] = value[number - 1] if isinstance(value, list) else value
        known = {keyword: value for keyword, value in attributes.items() if value is not None}
        paths.append(save(with_pixels(dataset(CT, number, **known), pixels), folder / f"{number:03d}.dcm"))
    return paths


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One explicit little endian element, its length stated truly or not."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + struct.pack("<HI", 0, size) + value
    return head + struct.pack("<H", size) + value


def part10(body: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    name = syntax.encode()
    return b"\0" * 128 + b"DICM" + explicit(0x00020010, "UI", name + b"\0" * (len(name) % 2)) + body


def identity(**changes: bytes) -> bytes:
    """The four UIDs every object needs, explicit little endian; a change replaces one by keyword."""
    uids = {
        "SOPClassUID": (0x00080016, CR.encode()),
        "SOPInstanceUID": (0x00080018, b"2.25.9"),
        "StudyInstanceUID": (0x0020000D, b"2.25.1"),
        "SeriesInstanceUID": (0x0020000E, b"2.25.2"),
    }
    parts = []
    for keyword, (tag, value) in uids.items():
        own = changes.get(keyword, value)
        parts.append(explicit(tag, "UI", own + b"\0" * (len(own) % 2)))
    return b"".join(parts)
