"""Geometry of a stack of slices: groups of parallel ones, their order, gaps, duplicates and shear. Millimetres, LPS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray

Vector = NDArray[np.float64]

# Slices closer than this are at one position.
SAME_POSITION = 0.01
# A step is even when it differs from the median by no more than this share of it, or this many millimetres.
STEP_SHARE, STEP_MILLIMETRES = 0.05, 0.1
# Direction cosines of parallel slices agree to this.
SAME_DIRECTION = 0.01
_MAX_COORDINATE = 1e5


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the first pixel of a slice lies and how its rows and columns run.

    ``along_row`` is the direction in which the column index grows (Image Orientation's first triple), ``along_column``
    that in which the row index grows. ``spacing`` is (row, column) as in Pixel Spacing.
    """

    position: Vector
    along_row: Vector
    along_column: Vector
    spacing: tuple[float, float]

    @property
    def normal(self) -> Vector:
        return np.cross(self.along_row, self.along_column)

    def parallel_to(self, other: Plane) -> bool:
        return bool(
            np.abs(self.along_row - other.along_row).max() < SAME_DIRECTION
            and np.abs(self.along_column - other.along_column).max() < SAME_DIRECTION
        )


def make_plane(position: object, orientation: object, spacing: object) -> Plane | None:
    """A plane from Image Position, Image Orientation and Pixel Spacing; None unless all are sound."""
    numbers = [_floats(position, 3), _floats(orientation, 6), _floats(spacing, 2)]
    if any(value is None for value in numbers):
        return None
    place, cosines, size = (np.asarray(value) for value in numbers)
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if any(abs(length - 1.0) > SAME_DIRECTION for length in lengths) or abs(float(row @ column)) > SAME_DIRECTION:
        return None
    if np.abs(place).max() > _MAX_COORDINATE or not ((size > 1e-4) & (size < 100.0)).all():
        return None
    row = row / lengths[0]
    column = column - row * (row @ column)
    column = column / np.linalg.norm(column)
    return Plane(place, row, column, (float(size[0]), float(size[1])))


def _floats(values: object, count: int) -> list[float] | None:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


@dataclass(frozen=True, slots=True)
class Stack:
    """Order and spacing of parallel slices.

    ``order`` indexes the slices by rising distance along the first one's normal; ``distances`` (in that order) are
    relative to the first; ``offsets`` (n, 2) are how far each slice is moved along (rows, columns) of the plane.
    """

    order: tuple[int, ...]
    distances: Vector
    offsets: Vector

    @property
    def steps(self) -> Vector:
        return np.diff(self.distances)

    @property
    def has_duplicates(self) -> bool:
        return bool((self.steps < SAME_POSITION).any())

    @property
    def step(self) -> float:
        """Median distance between neighbours."""
        return float(np.median(self.steps))

    @property
    def uneven_steps(self) -> int:
        tolerance = max(STEP_SHARE * self.step, STEP_MILLIMETRES)
        return int((np.abs(self.steps - self.step) > tolerance).sum())

    @property
    def shear(self) -> float:
        """Largest in-plane displacement between two slices, millimetres."""
        return float(np.ptp(self.offsets, axis=0).max())


def make_stack(planes: Sequence[Plane]) -> Stack:
    first = planes[0]
    positions = np.array([plane.position for plane in planes]) - first.position
    distances = positions @ first.normal
    order = np.argsort(distances, kind="stable")
    offsets = np.stack([positions @ first.along_column, positions @ first.along_row], axis=1)
    return Stack(tuple(int(index) for index in order), distances[order] - distances[order[0]], offsets[order])


def affine_of(plane: Plane, step: float) -> NDArray[np.float64]:
    """(4, 4) from voxel index (slice, row, column, 1) to LPS millimetres for a stack that starts at ``plane``."""
    affine = np.eye(4)
    affine[:3, 0] = plane.normal * step
    affine[:3, 1] = plane.along_column * plane.spacing[0]
    affine[:3, 2] = plane.along_row * plane.spacing[1]
    affine[:3, 3] = plane.position
    return affine


def even_distances(distances: Vector, step: float, max_slices: int) -> Vector:
    """Even distances over the same range, ``step`` apart or, if these were too many, ``max_slices`` of them."""
    count = min(max_slices, round(float(distances[-1]) / step) + 1)
    return np.linspace(0.0, float(distances[-1]), max(2, count))


def resample_slices(volume: FloatArray, distances: Vector, wanted: Vector) -> FloatArray:
    """Linear interpolation of (slices, rows, columns) along the first axis."""
    upper = np.clip(np.searchsorted(distances, wanted), 1, len(distances) - 1)
    span = distances[upper] - distances[upper - 1]
    weight = ((wanted - distances[upper - 1]) / span).astype(np.float32)
    result = np.empty((len(wanted), *volume.shape[1:]), dtype=np.float32)
    for index, (high, share) in enumerate(zip(upper, weight, strict=True)):
        result[index] = volume[high - 1] * (1 - share) + volume[high] * share
    return result


def unsheared_shape(stack: Stack, rows: int, columns: int, spacing: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns of a grid that holds every slice at its own in-plane offset."""
    extra = np.ceil(np.ptp(stack.offsets, axis=0) / np.asarray(spacing)).astype(int)
    return rows + int(extra[0]), columns + int(extra[1])


def unshear(volume: FloatArray, stack: Stack, plane: Plane, fill: float) -> tuple[FloatArray, Plane]:
    """Puts every slice where its position says, on one common grid (linear interpolation), and that grid's plane."""
    from scipy.ndimage import shift

    spacing = np.asarray(plane.spacing)
    lowest = stack.offsets.min(axis=0)
    rows, columns = unsheared_shape(stack, volume.shape[1], volume.shape[2], plane.spacing)
    result = np.full((volume.shape[0], rows, columns), fill, dtype=np.float32)
    for index, (image, offset) in enumerate(zip(volume, stack.offsets, strict=True)):
        canvas = np.full((rows, columns), fill, dtype=np.float32)
        canvas[: image.shape[0], : image.shape[1]] = image
        shift(canvas, (offset - lowest) / spacing, output=result[index], order=1, cval=fill)
    back = lowest - stack.offsets[0]
    position = plane.position + plane.along_column * back[0] + plane.along_row * back[1]
    return result, Plane(position, plane.along_row, plane.along_column, plane.spacing)
