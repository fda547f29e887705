"""The vessels of a fundus photograph: what of it is compared.

The green channel, where blood absorbs most, within the camera's field of view; light that varies slowly is divided out.
Vessels are dark ridges: the largest eigenvalue of the Hessian over several widths (A. Frangi et al., MICCAI 1998), less
what bends in the other direction too, in units of its spread in the neighbourhood, so that haze does not matter. The
field of view fills a square of fixed size whatever the matrix was. Every element is kept as one of 15 strengths, or as
outside of the field: half a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.picture_alignment import Detail
from inference.verification.picture_codec import pack_nibbles, seal, unpack_nibbles, unseal

SIZE = 126
FORMAT = 1
_MAGIC = b"MRFT"
_WORK, _SMALL = 384, 256
MIN_EDGE = 96
# Widths of vessels (standard deviation of the profile, in elements of the working picture).
_WIDTHS = (1.6, 2.4, 3.6)
# Shares of the field's width: slow light, the neighbourhood of the spread, and the rim that shows the aperture.
_SLOW, _NEIGHBOURHOOD, _RIM = 0.06, 0.10, 0.03
# Part of the photograph's brightest tenth below which there is no retina in view.
_DARK, _BLACK = 0.12, 4.0
_MIN_FIELD, _MIN_SPREAD = 0.2, 2e-3
_FLOOR = 0.35
_STEPS, _LARGEST = 14, 4.0


def vessels_of(pixels: NDArray[np.uint8]) -> Detail | None:
    """Vessels of a photograph (rows, columns, 3): ``values`` from 0 (none) up; None where there is no retina to see."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < MIN_EDGE:
        return None
    framed = _framed(pixels)
    if framed is None:
        return None
    green, field = framed
    ridges = _ridges(green, field)
    if ridges is None:
        return None
    return Detail(_resized(ridges * field, SIZE), (_resized(field, SIZE) > 0.75).astype(np.float32))


def _framed(pixels: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray] | None:
    """Green light and field of view without its rim, both (``_WORK``, ``_WORK``), cut to the field."""
    import cv2

    scale = max(1, round(max(pixels.shape[:2]) / _SMALL))
    found = _field(np.ascontiguousarray(pixels[::scale, ::scale].max(axis=2)))
    if found is None:
        return None
    mask, (left, top, width, height) = found
    step = max(width, height) / _WORK
    corner = np.array([left + (width - max(width, height)) / 2, top + (height - max(width, height)) / 2])
    # Centres of elements of the square onto those of the small mask, and of the photograph.
    onto_mask = np.column_stack([step * np.eye(2), corner + (step - 1) / 2])
    onto_pixels = np.column_stack([scale * step * np.eye(2), scale * onto_mask[:, 2]])
    plane = pixels[:, :, 1].astype(np.float32) / np.float32(255)
    if scale * step > 1:
        plane = _smooth(plane, 0.45 * scale * step)
    square, flags = (_WORK, _WORK), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    green = cv2.warpAffine(plane, onto_pixels, square, flags=flags)
    field = np.asarray(cv2.warpAffine(mask, onto_mask, square, flags=flags), np.uint8)
    rim = round(_RIM * _WORK)
    field = np.pad(field[rim:-rim, rim:-rim], rim)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    return np.asarray(green, np.float32), np.asarray(cv2.erode(field, disc), np.float32)


def _field(bright: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]] | None:
    """The largest part that is lit, filled, and its box (left, top, width, height); None where there is none."""
    import cv2

    level = _DARK * float(np.quantile(bright, 0.9))
    inside = np.asarray(cv2.medianBlur(bright, 5) > max(level, _BLACK), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    left, top, width, height, area = (int(value) for value in stats[largest])
    if max(width, height) < MIN_EDGE / 2 or area < _MIN_FIELD * width * height:
        return None
    mask = cv2.morphologyEx(np.asarray(labels == largest, np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return np.asarray(mask, np.uint8), (left, top, width, height)


def _ridges(green: FloatArray, field: FloatArray) -> FloatArray | None:
    inside = field > 0
    if inside.mean() < _MIN_FIELD:
        return None
    slow = _smooth(green * field, _SLOW * _WORK) / (_smooth(field, _SLOW * _WORK) + np.float32(1e-3))
    relative = np.where(inside, green / np.maximum(slow, np.float32(0.02)) - 1, np.float32(0)).astype(np.float32)
    relative = np.clip(relative, np.float32(-0.6), np.float32(0.4))
    if float(relative[inside].std()) < _MIN_SPREAD:
        return None
    strongest = np.zeros_like(relative)
    for width in _WIDTHS:
        np.maximum(strongest, _ridge(relative, width), out=strongest)
    total = _smooth(field, _NEIGHBOURHOOD * _WORK) + np.float32(1e-3)
    spread = np.sqrt(_smooth(strongest * strongest * field, _NEIGHBOURHOOD * _WORK) / total)
    typical = float(np.sqrt((strongest[inside] ** 2).mean()))
    if typical <= 1e-6:
        return None
    return np.asarray(strongest / (spread + np.float32(_FLOOR * typical)), np.float32)


def _ridge(values: FloatArray, width: float) -> FloatArray:
    import cv2

    smooth = _smooth(values, width)
    across = cv2.Sobel(smooth, cv2.CV_32F, 2, 0, ksize=3, scale=0.25)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 2, ksize=3, scale=0.25)
    both = cv2.Sobel(smooth, cv2.CV_32F, 1, 1, ksize=3, scale=0.25)
    middle, half = (across + down) / 2, np.sqrt(((across - down) / 2) ** 2 + both * both)
    sharp, other = middle + half, middle - half
    found = (sharp - np.abs(other) / 2) * np.float32(width**1.5)
    return np.asarray(np.maximum(found, np.float32(0)), np.float32)


def pack(vessels: Detail) -> bytes:
    """The template: code 0 outside of the field, else 1 plus the strength in steps."""
    steps = np.clip(np.rint(vessels.values * (_STEPS / _LARGEST)), 0, _STEPS).astype(np.uint8)
    return seal(_MAGIC, FORMAT, pack_nibbles(np.where(vessels.weight > 0, steps + 1, 0).astype(np.uint8)))


def unpack(data: bytes) -> Detail:
    """Vessels from a template.

    Raises
    ------
    EncoderError
        ``TEMPLATE_VERSION``, ``TEMPLATE_DAMAGED``.
    """
    codes = unpack_nibbles(unseal(data, _MAGIC, FORMAT, SIZE * SIZE // 2)).reshape(SIZE, SIZE)
    strength = np.maximum(codes.astype(np.float32) - 1, 0) * np.float32(_LARGEST / _STEPS)
    return Detail(strength.astype(np.float32), (codes > 0).astype(np.float32))


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _resized(values: FloatArray, size: int) -> FloatArray:
    import cv2

    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA), np.float32)
