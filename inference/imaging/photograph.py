"""Photographs as 8-bit RGB, whatever colour space they were stored in: eyes, skin, faces, slides, renderings."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inference.imaging.labels import body_part_of, kept_attributes, laterality_of
from inference.imaging.options import LoadOptions
from inference.imaging.pixels import PixelObject
from inference.imaging.quiet import quiet
from inference.imaging.radiograph import check_single_frame, image_spacing, presented
from inference.imaging.rejections import refuse
from inference.types import InstanceHeader, LoadedSeries


def load_photograph(
    header: InstanceHeader,
    source: PixelObject,
    options: LoadOptions,
    kind: Literal["fundus", "photograph"] = "photograph",
) -> LoadedSeries:
    """One photograph, uint8 (rows, columns, 3).

    Raises
    ------
    ImagingError
        ``NOT_COLOUR``, ``UNSUPPORTED_PHOTOMETRIC``, ``MULTIFRAME_UNSUPPORTED``, ``CONSTANT_IMAGE``, or what
        :meth:`PixelObject.frame` raises.
    """
    check_single_frame(source, options)
    pixels = rgb_of(source, options.allow)
    if int(pixels.min()) == int(pixels.max()) and "CONSTANT_IMAGE" not in options.allow:
        raise refuse("CONSTANT_IMAGE", "all pixels have the same value")
    return LoadedSeries(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uids=(header.sop_instance_uid,),
        modality=header.modality,
        kind=kind,
        pixels=pixels,
        spacing=image_spacing(header),
        laterality=laterality_of(header, eye=kind == "fundus"),
        body_part=body_part_of(header),
        attributes=kept_attributes(header),
    )


def rgb_of(source: PixelObject, allow: frozenset[str]) -> NDArray[np.uint8]:
    """First frame as uint8 RGB: RGB, all YBR variants, PALETTE COLOR; grey only where ``NOT_COLOUR`` is allowed."""
    stored = source.frame()
    if stored.ndim == 3:
        return _to_bytes(stored, source.bits_stored)
    if source.photometric == "PALETTE COLOR":
        return _palette(stored, source)
    if source.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "neither grey, RGB, YBR nor PALETTE COLOR")
    if "NOT_COLOUR" not in allow:
        raise refuse("NOT_COLOUR", f"photometric interpretation {source.photometric}")
    grey = np.rint(presented(stored, source, allow) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _palette(stored: NDArray[Any], source: PixelObject) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut

    with quiet():
        try:
            mapped = apply_color_lut(stored, source.dataset)
        except Exception as error:  # noqa: BLE001  (hostile tables make pydicom raise anything)
            raise refuse("UNDECODABLE_PIXELS", f"the palette is damaged ({type(error).__name__})") from None
    return _to_bytes(mapped[:, :, :3], 8 * mapped.dtype.itemsize)


def _to_bytes(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if values.dtype.kind not in "iu":
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "colour values that are no integers")
    shift = max(0, bits - 8)
    return np.asarray(np.clip(values >> values.dtype.type(shift), 0, 255), dtype=np.uint8)
