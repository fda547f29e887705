"""PNG and JPEG pictures as the secondary captures they are, for the loaders of radiographs and of photographs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from config.errors import ImagingError
from inference.imaging.bounded import EXPLICIT_LITTLE
from inference.imaging.labels import shows_an_eye
from inference.imaging.options import LoadOptions
from inference.imaging.photograph import load_photograph
from inference.imaging.pixels import PixelObject, is_grey
from inference.imaging.quiet import quiet
from inference.imaging.radiograph import load_radiograph
from inference.imaging.rejections import refuse
from inference.imaging.volume import MIN_SLICES
from inference.types import FloatArray, InstanceHeader, LoadedSeries

__all__ = ["decode", "load_picture", "load_slices"]

_FORMATS = ("PNG", "JPEG")
# Modalities whose pictures are photographs in colour: eyes, skin and faces, slides.
_PHOTOGRAPHS = frozenset({"OP", "XC", "SM", "GM", "ES", "DMS"})
_VOLUMES = frozenset({"CT", "MR"})
_UNSTATED = frozenset({"", "OT", "SC"})
_WIDE = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_DIGITS = re.compile(r"(\d+)")


def load_picture(path: Path, header: InstanceHeader, options: LoadOptions) -> LoadedSeries:
    """One picture. Modality decides between radiograph and photograph; where it is silent, colour does.

    Raises
    ------
    ImagingError
        ``UNDECODABLE_PIXELS`` for a damaged or truncated picture, ``IMAGE_TOO_LARGE``, ``TOO_FEW_SLICES`` for CT and
        MR, or what :func:`load_radiograph` and :func:`load_photograph` raise.
    """
    if header.modality in _VOLUMES:
        raise refuse("TOO_FEW_SLICES", "one picture is no volume; put the slices of a series into a folder")
    pixels = decode(path, options)
    photograph = header.modality in _PHOTOGRAPHS
    if header.modality in _UNSTATED and pixels.ndim == 3:
        photograph = not is_grey(pixels)
    source = _capture(pixels, options)
    if not photograph:
        return load_radiograph(header, source, options)
    # Unstated, a colour picture is taken for one of an eye: nothing else is published so often without a header.
    eye = header.modality in _UNSTATED or shows_an_eye(header)
    return load_photograph(header, source, options, "fundus" if eye else "photograph")


def load_slices(files: Sequence[Path], header: InstanceHeader, options: LoadOptions) -> LoadedSeries:
    """Grey pictures of one folder as a volume, in the order of the numbers in their names.

    Published so, a volume has lost its units and its geometry: values are those of the pictures, spacing is NaN and
    there is no affine.

    Raises
    ------
    ImagingError
        ``TOO_FEW_SLICES``, ``MIXED_SERIES`` for pictures of several sizes, ``UNSUPPORTED_PHOTOMETRIC`` for colour,
        ``CONSTANT_IMAGE``, ``IMAGE_TOO_LARGE``, ``UNDECODABLE_PIXELS``.
    """
    if len(files) < (2 if "TOO_FEW_SLICES" in options.allow else MIN_SLICES):
        raise refuse("TOO_FEW_SLICES", f"{len(files)} pictures, at least {MIN_SLICES} are needed")
    volume: FloatArray | None = None
    for index, file in enumerate(sorted(files, key=_natural)):
        plane = _grey_plane(decode(file, options))
        if volume is None:
            needed = 4 * plane.size * len(files)
            if needed > options.max_decoded_bytes:
                raise refuse("IMAGE_TOO_LARGE", f"{needed} bytes as a volume, {options.max_decoded_bytes} are allowed")
            volume = np.empty((len(files), *plane.shape), np.float32)
        if plane.shape != volume.shape[1:]:
            raise refuse("MIXED_SERIES", "the pictures of the folder differ in size")
        volume[index] = plane
    assert volume is not None
    if volume.max() == volume.min() and "CONSTANT_IMAGE" not in options.allow:
        raise refuse("CONSTANT_IMAGE", "all voxels have the same value")
    return LoadedSeries(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uids=(header.sop_instance_uid,),
        modality=header.modality,
        kind="volume",
        pixels=volume,
        spacing=(math.nan, math.nan, math.nan),
    )


def decode(path: Path, options: LoadOptions) -> NDArray[Any]:
    """A picture as it is meant to be seen: uint8 or uint16 (rows, columns), or uint8 (rows, columns, 3) RGB.

    Turned as EXIF says; palettes, CMYK and YCbCr are resolved; transparency shows black, as around a radiograph.

    Raises
    ------
    ImagingError
        ``IMAGE_TOO_LARGE`` before memory is taken; ``UNDECODABLE_PIXELS``.
    """
    with quiet(), _named_refusals(), Image.open(path, formats=_FORMATS) as image:
        # Eight bytes: four channels, and the copy that a conversion makes of them.
        needed = 8 * image.width * image.height
        if needed > options.max_decoded_bytes:
            raise refuse("IMAGE_TOO_LARGE", f"{needed} bytes decoded, {options.max_decoded_bytes} are allowed")
        return np.ascontiguousarray(_resolved(ImageOps.exif_transpose(image)))


@contextmanager
def _named_refusals() -> Iterator[None]:
    try:
        yield
    except ImagingError:
        raise
    except Image.DecompressionBombError:
        raise refuse("IMAGE_TOO_LARGE", "the picture has more pixels than any picture has") from None
    except Exception as error:  # noqa: BLE001
        # Damaged pictures make the decoder raise errors of any type; each is the same refusal.
        raise refuse("UNDECODABLE_PIXELS", f"the picture is damaged or truncated ({type(error).__name__})") from None


def _resolved(image: Image.Image) -> NDArray[Any]:
    if image.mode in _WIDE:
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        black = Image.new("RGBA", seen.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, seen).convert("RGB")
        return np.asarray(flat.convert("L") if image.mode == "LA" else flat)
    return np.asarray(image.convert("RGB"))


def _capture(pixels: NDArray[Any], options: LoadOptions) -> PixelObject:
    """The decoded picture as an uncompressed DICOM object in memory, which the loaders take."""
    dataset = Dataset()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    return PixelObject(dataset, EXPLICIT_LITTLE, options.max_decoded_bytes, truncated_allowed=False)


def _grey_plane(pixels: NDArray[Any]) -> FloatArray:
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    if not is_grey(pixels):
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "a slice of a volume in colour")
    plane: FloatArray = pixels.mean(axis=2, dtype=np.float32)
    return plane


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Slice 10 comes after slice 9, however many digits the names have."""
    parts = _DIGITS.split(path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
