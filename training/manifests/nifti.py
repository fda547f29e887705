"""NIfTI-1 volumes (.nii, .nii.gz, .hdr with .img), and Analyze ones that ITK takes for such, through SimpleITK."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.options import LoadOptions
from inference.imaging.rejections import refuse
from inference.imaging.volume import AIR_HU, MIN_SLICES
from inference.types import FloatArray, InstanceHeader, LoadedSeries

__all__ = ["load_nifti"]

_MODALITIES = frozenset({"CT", "MR"})
_PIXEL_BYTES = 8
_MAX_COORDINATE = 1e5


def load_nifti(path: Path, header: InstanceHeader, options: LoadOptions) -> LoadedSeries:
    """A volume, LPS: HU for a header whose modality is CT, the values of the file for MR.

    ITK turns NIfTI's RAS into LPS, applies the file's slope and intercept, and reads NaN as 0. Slices run along the
    third axis of the file. Where the file states no orientation, ITK's reading of it stands.

    Raises
    ------
    ImagingError
        ``UNSUPPORTED_SOP_CLASS`` for another modality, ``IMAGE_TOO_LARGE`` before memory is taken,
        ``MULTIFRAME_UNSUPPORTED`` for a time series, ``UNSUPPORTED_PHOTOMETRIC`` for vectors or colours,
        ``TOO_FEW_SLICES``, ``NO_GEOMETRY``, ``BAD_RESCALE``, ``CONSTANT_IMAGE``, ``TRUNCATED_PIXELS``, or
        ``UNDECODABLE_PIXELS`` for a file that is damaged otherwise.
    """
    if header.modality not in _MODALITIES:
        raise refuse("UNSUPPORTED_SOP_CLASS", f"a NIfTI volume is {' or '.join(sorted(_MODALITIES))}")
    image = _read(path, options)
    pixels, affine = _array(image), _affine(image)
    if not np.abs(affine).max() < _MAX_COORDINATE:
        raise refuse("NO_GEOMETRY", "the position of the volume is not usable")
    if not np.isfinite(pixels).all():
        raise refuse("BAD_RESCALE", "with the file's slope and intercept, voxels have no finite value")
    if header.modality == "CT":
        # Scanners fill the corners outside the field of view with anything down to -32768.
        np.maximum(pixels, np.float32(AIR_HU), out=pixels)
    if pixels.max() == pixels.min() and "CONSTANT_IMAGE" not in options.allow:
        raise refuse("CONSTANT_IMAGE", "all voxels have the same value")
    spacing = tuple(float(value) for value in reversed(image.GetSpacing()))
    return LoadedSeries(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uids=(header.sop_instance_uid,),
        modality=header.modality,
        kind="volume",
        pixels=pixels,
        spacing=spacing,
        affine=affine,
    )


def _read(path: Path, options: LoadOptions) -> Any:
    import SimpleITK

    sitk: Any = SimpleITK  # typed only in part
    # ITK's warnings quote the path, which may be a patient's name.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check(reader, options)
        if "TRUNCATED_PIXELS" not in options.allow:
            _check_complete(path, reader)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        # A fourth axis of one point is dropped; where there is none this asks for all three.
        reader.SetExtractSize([*reader.GetSize()[:3], *([0] * (reader.GetDimension() - 3))])
        return reader.Execute()
    except RuntimeError as error:
        # ITK has one type of error; its text quotes the path, which may be a patient's name.
        if "orthonormal" in str(error):
            raise refuse("NO_GEOMETRY", "the axes of the volume are not at right angles") from None
        raise refuse("UNDECODABLE_PIXELS", "no NIfTI volume, or one that is damaged or truncated") from None


def _check(reader: Any, options: LoadOptions) -> None:
    size = reader.GetSize()
    if len(size) > 3 and math.prod(size[3:]) > 1:
        raise refuse("MULTIFRAME_UNSUPPORTED", f"{math.prod(size[3:])} volumes in one file")
    if reader.GetNumberOfComponents() != 1:
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "a voxel has more than one value")
    needed = _PIXEL_BYTES * math.prod(size)
    if needed > options.max_decoded_bytes:
        raise refuse("IMAGE_TOO_LARGE", f"{needed} bytes decoded, {options.max_decoded_bytes} are allowed")
    least = 2 if "TOO_FEW_SLICES" in options.allow else MIN_SLICES
    if len(size) < 3 or min(size[:3]) < least:
        raise refuse("TOO_FEW_SLICES", f"at least {least} slices are needed")
    if not all(1e-4 < step < 100 for step in reader.GetSpacing()[:3]):
        raise refuse("NO_GEOMETRY", "the spacing of the voxels is not usable")


def _check_complete(path: Path, reader: Any) -> None:
    """ITK reads what is missing of a file as zero, without a word."""
    header = {key: float(reader.GetMetaData(key)) for key in ("vox_offset", "bitpix")}
    last = int(header["vox_offset"]) + math.prod(reader.GetSize()) * int(header["bitpix"]) // 8 - 1
    pixels = path.with_suffix(".img") if path.suffix.lower() == ".hdr" else path
    try:
        with gzip.open(pixels) if path.suffix.lower() == ".gz" else pixels.open("rb") as file:
            file.seek(last)
            whole = len(file.read(1)) == 1
    except (OSError, EOFError, zlib.error):
        whole = False
    if not whole:
        raise refuse("TRUNCATED_PIXELS", "the file ends before its last voxel")


def _array(image: Any) -> FloatArray:
    import SimpleITK

    values: FloatArray = SimpleITK.GetArrayFromImage(image)
    return values


def _affine(image: Any) -> NDArray[np.float64]:
    """(4, 4) from voxel index (slice, row, column, 1) to LPS millimetres; ITK counts (column, row, slice)."""
    affine = np.eye(4)
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine
