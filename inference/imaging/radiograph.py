"""Radiographs (CR, DX, dental, secondary capture) as a reader would see them, scaled to [0, 1] with bone bright."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grey import is_inverted, modality_values, padding_mask, unit_range, voi_values
from inference.imaging.labels import body_part_of, kept_attributes, laterality_of, view_of
from inference.imaging.options import LoadOptions
from inference.imaging.pixels import PixelObject, is_grey
from inference.imaging.rejections import refuse
from inference.types import FloatArray, InstanceHeader, LoadedSeries


def load_radiograph(header: InstanceHeader, source: PixelObject, options: LoadOptions) -> LoadedSeries:
    """One radiograph.

    Raises
    ------
    ImagingError
        ``FOR_PROCESSING``, ``MULTIFRAME_UNSUPPORTED``, ``UNSUPPORTED_PHOTOMETRIC``, ``BAD_RESCALE``,
        ``CONSTANT_IMAGE``, or what :meth:`PixelObject.frame` raises.
    """
    allow = options.allow
    intent = str(header.attributes.get("PresentationIntentType") or "").upper()
    if intent == "FOR PROCESSING" and "FOR_PROCESSING" not in allow:
        raise refuse("FOR_PROCESSING", "Presentation Intent Type is FOR PROCESSING")
    check_single_frame(source, options)
    stored = source.frame()
    if stored.ndim == 3:
        pixels = _grey_of(stored, allow)
    elif source.photometric in ("MONOCHROME1", "MONOCHROME2"):
        pixels = presented(stored, source, allow)
    else:
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "a radiograph is MONOCHROME1, MONOCHROME2 or grey RGB")
    return LoadedSeries(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uids=(header.sop_instance_uid,),
        modality=header.modality,
        kind="radiograph",
        pixels=pixels,
        spacing=image_spacing(header),
        view=view_of(header),
        laterality=laterality_of(header),
        body_part=body_part_of(header),
        attributes=kept_attributes(header),
    )


def check_single_frame(source: PixelObject, options: LoadOptions) -> None:
    if source.frames > 1 and "MULTIFRAME_UNSUPPORTED" not in options.allow:
        raise refuse("MULTIFRAME_UNSUPPORTED", f"{source.frames} frames")


def presented(stored: NDArray[Any], source: PixelObject, allow: frozenset[str]) -> FloatArray:
    """Grey stored values (rows, columns) as shown: float32 in [0, 1], padding 0.

    The window first; where it leaves a constant image (a window of another image, a unit mistake), without it.
    """
    valid = ~padding_mask(stored, source)
    values = modality_values(stored, source, rescale_allowed="BAD_RESCALE" in allow)
    scaled = unit_range(voi_values(values, source), valid)
    if scaled is None:
        scaled = unit_range(values, valid)
    if scaled is None:
        return _constant(stored.shape, allow)
    if is_inverted(source):
        scaled = np.float32(1.0) - scaled
    return np.where(valid, scaled, np.float32(0.0))


def _grey_of(rgb: NDArray[Any], allow: frozenset[str]) -> FloatArray:
    if not is_grey(rgb):
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "a radiograph in colour")
    grey = rgb.mean(axis=2, dtype=np.float32)
    scaled = unit_range(grey, np.ones(grey.shape, dtype=bool))
    return _constant(grey.shape, allow) if scaled is None else scaled


def _constant(shape: tuple[int, ...], allow: frozenset[str]) -> FloatArray:
    if "CONSTANT_IMAGE" not in allow:
        raise refuse("CONSTANT_IMAGE", "all pixels have the same value")
    return np.zeros(shape, dtype=np.float32)


def image_spacing(header: InstanceHeader) -> tuple[float, float]:
    """(row, column) millimetres: Pixel Spacing, else that at the detector or of the scanner, else NaN."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = header.attributes.get(keyword)
        if isinstance(values, list) and len(values) == 2 and all(0 < float(value) < 100 for value in values):
            return float(values[0]), float(values[1])
    return math.nan, math.nan
