"""What the two branches of the skull encoder see: a skull without its flesh, and a face. Training sees the same.

========== ======================================================================================
film       skull radiograph, frontal or lateral: bone alone (:mod:`inference.imaging.skull_film`)
bone-depth head CT: its bone from in front (:mod:`inference.imaging.head_depth`)
photo      photograph of a face: the middle square of it, as portraits are taken
skin-depth head CT: its skin from in front
========== ======================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.encoders.inputs import require_pixels, resized
from inference.imaging.depth import BEFORE_MM, BEHIND_MM, DepthMap
from inference.types import FloatArray, LoadedSeries

Side = Literal["skull", "face"]
KINDS: dict[Side, tuple[str, ...]] = {"skull": ("film", "bone-depth"), "face": ("photo", "skin-depth")}
Picture = NDArray[np.uint8]

_OF_IMAGE: dict[Side, dict[str, str]] = {
    "skull": {"radiograph": "film", "volume": "bone-depth"},
    "face": {"photograph": "photo", "volume": "skin-depth"},
}
# Around the box of the bone, a share of its longer edge: jaws and vaults are cut by no edge of a network.
_MARGIN = 0.04


def kind_of_picture(image: LoadedSeries, side: Side) -> str:
    """Which kind of picture an image gives on a side; empty where it gives none (a photograph shows no skull)."""
    kind = _OF_IMAGE[side].get(image.kind, "")
    return "" if image.kind == "volume" and image.modality != "CT" else kind


def picture(image: LoadedSeries, side: Side, size: int, allowed: Sequence[str] = ()) -> Picture:
    """uint8 (3, size, size): what a branch sees of an image.

    Parameters
    ----------
    allowed
        kinds that the branch was trained on; without any, all.

    Raises
    ------
    ImagingError
        ``ENCODER_KIND`` for an image that shows no such thing, ``NO_SURFACE`` without a skull in it, ``NO_FACE`` or
        ``FACE_CUT`` without a face in a CT, ``NO_PIXELS``, ``NOT_FINITE``.
    """
    kind = kind_of_picture(image, side)
    if kind not in (allowed or KINDS[side]):
        said = ", ".join(allowed or KINDS[side])
        shows = kind or f"a {image.kind} of {image.modality or 'no modality'}"
        raise ImagingError(
            f"this encoder sees a {side} in {said}, and the image is {shows}",
            reason="ENCODER_KIND",
        )
    require_pixels(image)
    return np.ascontiguousarray(_drawn(image, kind, size).transpose(2, 0, 1))


def _drawn(image: LoadedSeries, kind: str, size: int) -> Picture:
    """uint8 (size, size, 3)."""
    if kind == "photo":
        return _square(np.asarray(image.pixels, np.uint8), size)
    if kind == "film":
        from inference.imaging.skull_film import bone_only

        return _grey(_boxed(bone_only(np.asarray(image.pixels, np.float32)), size))
    from inference.imaging.head_depth import bone_depth, skin_depth

    depth = bone_depth(image, size) if kind == "bone-depth" else skin_depth(image, size)
    return _grey(_near_bright(depth))


def _square(photograph: Picture, size: int) -> Picture:
    """The middle square; of a portrait's height a little more is cut below than above, where shoulders are."""
    rows, columns = photograph.shape[:2]
    edge = min(rows, columns)
    top, left = (rows - edge) // 3, (columns - edge) // 2
    return resized(photograph[top : top + edge, left : left + edge], size, size)


def _boxed(bone: FloatArray, size: int) -> FloatArray:
    """The box of the bone in the middle of a square, with its aspect: how far the film reached says nothing of it."""
    import cv2

    rows, columns = (np.flatnonzero((bone > 0).any(axis=axis)) for axis in (1, 0))
    part = bone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = round(max(part.shape) * (1 + 2 * _MARGIN))
    square = np.zeros((edge, edge), np.float32)
    top, left = (edge - part.shape[0]) // 2, (edge - part.shape[1]) // 2
    square[top : top + part.shape[0], left : left + part.shape[1]] = part
    how = cv2.INTER_AREA if edge > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.float32)


def _near_bright(depth: DepthMap) -> FloatArray:
    """Black where nothing is, else from a little more than that at the back to white at the front."""
    nearness = (BEHIND_MM - depth.depth) / (BEHIND_MM + BEFORE_MM)
    return np.where(depth.mask, np.float32(0.1) + np.float32(0.9) * np.clip(nearness, 0, 1), 0).astype(np.float32)


def _grey(values: FloatArray) -> Picture:
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)
