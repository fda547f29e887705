"""What of a radiograph is compared: contrast-normalised detail, free of exposure, look-up table, format and border.

The film is squashed onto a square, because many copies in circulation already are. Detail is the difference from the
neighbourhood's mean in units of the neighbourhood's spread, so that the edge of a rib counts alike in a dark lung and
behind the heart. The outer ring (markers, collimator, format) and flat black or white (collimated, burned-in text)
carry no weight. Every element is kept as one of 15 steps, or as having no weight: half a byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Detail
from inference.verification.picture_codec import pack_nibbles, seal, unpack_nibbles, unseal

SIZE = 128
FORMAT = 1
_MAGIC = b"MRXT"
# Shares of the edge: what is dropped of each side, and how wide a neighbourhood is.
RING = 0.05
NEIGHBOURHOOD = 0.03
_SMOOTH = 0.7
# A neighbourhood that is flatter than this share of the whole film's spread shows noise rather than bone.
_FLOOR = 0.04
# Values this close to the film's darkest or brightest are clipped.
_CLIPPED = 0.008
_LARGEST_STEP, _STEP = 7, 1 / 3
# Below these a picture shows too little to compare.
MIN_EDGE, _MIN_SHARE, _MIN_SPREAD = 32, 0.1, 1e-3


def detail_of(pixels: NDArray[Any]) -> Detail | None:
    """Detail of a radiograph (rows, columns) in [0, 1]; None where there is too little of it."""
    import cv2

    if pixels.ndim != 2 or min(pixels.shape) < MIN_EDGE:
        return None
    film: FloatArray = pixels.astype(np.float32)
    finite = np.isfinite(film)
    if not finite.all():
        film = np.where(finite, film, np.float32(0.0))
    shrinks = min(film.shape) >= SIZE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    film = np.asarray(cv2.resize(film, (SIZE, SIZE), interpolation=how), np.float32)
    weight = _usable(film, finite)
    if weight.mean() < _MIN_SHARE:
        return None
    film = _smooth(film, _SMOOTH)
    spread = float(np.std(film[weight > 0]))
    if spread < _MIN_SPREAD:
        return None
    weight = _smooth(weight, 1.0) * weight
    return Detail(normalised(film, weight, NEIGHBOURHOOD * SIZE, _FLOOR * spread), weight)


def _usable(film: FloatArray, finite: NDArray[np.bool_]) -> FloatArray:
    import cv2

    low, high = float(film.min()), float(film.max())
    margin = _CLIPPED * (high - low)
    clipped = ((film <= low + margin) | (film >= high - margin)).astype(np.uint8)
    if not finite.all():
        unknown = cv2.resize((~finite).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        clipped[unknown > 0] = 1
    usable = 1 - np.asarray(cv2.dilate(clipped, np.ones((3, 3), np.uint8)), np.float32)
    edge = round(RING * SIZE)
    inner = np.zeros_like(usable)
    inner[edge:-edge, edge:-edge] = usable[edge:-edge, edge:-edge]
    return inner


def normalised(values: FloatArray, weight: FloatArray, sigma: float, floor: float) -> FloatArray:
    """Difference from the weighted mean of the neighbourhood in units of its spread plus ``floor``, clipped."""
    total = _smooth(weight, sigma) + np.float32(1e-3)
    difference = values - _smooth(values * weight, sigma) / total
    variance = _smooth(difference * difference * weight, sigma) / total
    unit = difference / np.sqrt(variance + np.float32(floor * floor))
    limit = np.float32(_LARGEST_STEP * _STEP)
    return np.asarray(np.clip(unit, -limit, limit) * weight, np.float32)


def pack(detail: Detail) -> bytes:
    """The template: code 0 for no weight, else 8 plus the value in steps."""
    steps = np.clip(np.rint(detail.values / _STEP), -_LARGEST_STEP, _LARGEST_STEP).astype(np.int8)
    return seal(_MAGIC, FORMAT, pack_nibbles(np.where(detail.weight > 0, steps + 8, 0).astype(np.uint8)))


def unpack(data: bytes) -> Detail:
    """Detail from a template.

    Raises
    ------
    EncoderError
        ``TEMPLATE_VERSION``, ``TEMPLATE_DAMAGED``.
    """
    codes = unpack_nibbles(unseal(data, _MAGIC, FORMAT, SIZE * SIZE // 2)).reshape(SIZE, SIZE)
    known = (codes > 0).astype(np.float32)
    values: FloatArray = (codes.astype(np.float32) - np.float32(8)) * np.float32(_STEP) * known
    return Detail(values, _smooth(known, 1.0) * known)


def shrunk(detail: Detail, size: int, sigma: float) -> Detail:
    """The same on a coarser grid; ``sigma`` smooths first, in elements of the fine one."""
    import cv2

    coarse = [
        np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        for plane in (_smooth(detail.values, sigma), detail.weight)
    ]
    return Detail(coarse[0], coarse[1])


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
