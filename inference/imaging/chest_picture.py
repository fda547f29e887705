"""The chest in a picture: the box from about T1 to about T12 and between the ribs, of a radiograph or a rendering.

A picture shows less than a volume: vertebrae are not counted, the fields of the lungs or the outline of the rendered
cage stand for them. Where neither looks like one, the picture is taken whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import LoadedSeries

__all__ = ["Box", "chest_box", "chest_picture"]

# Boxes are looked for on a picture of this longest side.
_LOOK = 256
# A box is one only with these shares of the picture's sides, and this much wider than high or the reverse.
_LEAST_SIDE, _MOST_ASPECT = 0.35, 1.7
# What a rendering shows is brighter than this, of 255; narrower lines are writing.
_LIT, _WRITING = 28, 5
# Of the cage's usual width: rows narrower than this are below the last rib, or above the shoulders.
_BELOW, _ABOVE = 0.5, 0.35
# Fields of lungs: least share of the picture, and how far beyond them the bones reach, in shares of the fields' width
# and height: to the sides, above, and below, where the twelfth vertebra lies behind the liver.
_LEAST_FIELD, _SIDES, _TOP, _BOTTOM = 0.02, 0.05, 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of a picture, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int


def chest_picture(image: LoadedSeries) -> LoadedSeries:
    """The image cut to its chest; a radiograph, or a rendering of one."""
    box = chest_box(image)
    return replace(image, pixels=image.pixels[box.top : box.bottom, box.left : box.right])


def chest_box(image: LoadedSeries) -> Box:
    """Where the chest is in a radiograph float32 (rows, columns) or a rendering uint8 (rows, columns, 3); the whole
    picture where nothing looks like one."""
    rows, columns = image.pixels.shape[:2]
    scale = min(1.0, _LOOK / max(rows, columns))
    small = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    if image.kind == "radiograph":
        grey = np.clip(np.asarray(image.pixels, np.float32) * 255, 0, 255)
        found = _of_lungs(cv2.resize(grey, small, interpolation=cv2.INTER_AREA).astype(np.uint8))
    else:
        bright = np.asarray(image.pixels, np.uint8).max(axis=2)
        found = _of_cage(np.asarray(cv2.resize(bright, small, interpolation=cv2.INTER_AREA), np.uint8))
    if found is None or not _plausible(found, small):
        return Box(0, rows, 0, columns)
    edges = np.array([found.top, found.bottom, found.left, found.right]) / scale
    top, bottom, left, right = (round(float(edge)) for edge in edges)
    return Box(max(top, 0), min(bottom, rows), max(left, 0), min(right, columns))


def _of_cage(bright: NDArray[np.uint8]) -> Box | None:
    """The rendered cage: as wide as in its middle, from the shoulders down to where the spine alone is left."""
    lit = (bright > _LIT).astype(np.uint8)
    lit = np.asarray(cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.uint8)
    # Ribs are apart from each other until they are joined.
    joined = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((4 * _WRITING, 4 * _WRITING), np.uint8))
    mask = _largest(np.asarray(joined, np.uint8), 1)
    if mask is None:
        return None
    mask &= lit > 0
    there = np.flatnonzero(mask.any(axis=1))
    first = np.where(mask.any(axis=1), mask.argmax(axis=1), 0)
    last = mask.shape[1] - np.where(mask.any(axis=1), mask[:, ::-1].argmax(axis=1), mask.shape[1])
    middle = there[round(0.35 * len(there)) : max(round(0.75 * len(there)), 1)]
    if not len(middle):
        return None
    left, right = int(np.quantile(first[middle], 0.05)), int(np.quantile(last[middle], 0.95))
    width = cv2.blur((last - first).astype(np.float32)[:, None], (1, 5))[:, 0]
    centre = int(np.median(middle))
    narrow = np.flatnonzero(width[centre:] < _BELOW * (right - left))
    bottom = centre + int(narrow[0]) if len(narrow) else int(there[-1]) + 1
    thin = np.flatnonzero(width[:centre] < _ABOVE * (right - left))
    top = int(thin[-1]) + 1 if len(thin) else int(there[0])
    return Box(top, bottom, left, right)


def _of_lungs(grey: NDArray[np.uint8]) -> Box | None:
    """The dark fields on both sides of the middle that do not reach the edge of the film, and what is around them."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 2.0)
    inner = smooth[smooth.shape[0] // 8 : -smooth.shape[0] // 8, smooth.shape[1] // 8 : -smooth.shape[1] // 8]
    level, _ = cv2.threshold(np.ascontiguousarray(inner), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = np.pad((smooth < level).astype(np.uint8), 1, constant_values=1)
    # What is dark and reaches the edge is the air beside the patient.
    cv2.floodFill(dark, None, (0, 0), 0)
    mask = _largest(dark[1:-1, 1:-1], 2)
    if mask is None or mask.mean() < 2 * _LEAST_FIELD:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    high, wide = rows[-1] - rows[0], columns[-1] - columns[0]
    middle = mask.shape[1] / 2.0
    if not columns[0] < middle < columns[-1]:
        return None
    return Box(
        int(rows[0] - _TOP * high),
        int(rows[-1] + _BOTTOM * high) + 1,
        int(columns[0] - _SIDES * wide),
        int(columns[-1] + _SIDES * wide) + 1,
    )


def _largest(mask: NDArray[np.uint8], count: int) -> NDArray[np.bool_] | None:
    """The largest parts of a mask; None where there are none of some size."""
    found: Any = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask))
    number, labels, stats, _ = found
    sizes = stats[1:number, cv2.CC_STAT_AREA]
    order = 1 + np.argsort(sizes)[::-1][:count]
    kept = [label for label in order if sizes[label - 1] >= _LEAST_FIELD * mask.size]
    return np.isin(labels, kept) if kept else None


def _plausible(box: Box, size: tuple[int, int]) -> bool:
    wide, high = box.right - box.left, box.bottom - box.top
    large = wide >= _LEAST_SIDE * size[0] and high >= _LEAST_SIDE * size[1]
    return large and max(wide / high, high / wide) <= _MOST_ASPECT
