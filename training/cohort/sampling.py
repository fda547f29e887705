"""Where a scanner samples: a regular grid in the patient's frame, walked in slabs that fit the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.implicit import Chain, Ellipsoid, Field, Matrix, Points, Shape, Transform, cut, join, lay

# How far the bend of space may move a point, millimetres.
_WARP_REACH = 5.0


@dataclass(frozen=True, slots=True)
class Grid:
    """``shape`` is (slices, rows, columns); ``spacing`` and ``origin`` are millimetres along patient z, y, x.

    A point of the anatomy ``h`` lies at ``turn @ h + shift`` in the patient's frame (x, y, z; LPS).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    turn: Matrix
    shift: Matrix

    def affine(self) -> Matrix:
        """(4, 4): voxel index (slice, row, column, 1) to patient LPS millimetres."""
        result = np.zeros((4, 4))
        result[2, 0], result[1, 1], result[0, 2] = self.spacing
        result[:3, 3] = self.origin[::-1]
        result[3, 3] = 1.0
        return result

    def slabs(self, depth: int, warp: Sequence[Sequence[float]] = ()) -> Iterator[tuple[slice, Slab]]:
        """All slices in order, at most ``depth`` at a time."""
        for first in range(0, self.shape[0], depth):
            part = slice(first, min(first + depth, self.shape[0]))
            yield part, Slab(self, part, warp)


class Slab:
    """Some slices of a grid: their points in the anatomy's frame, and what is done to fields upon them.

    Every operation touches only the window that can hold the shape.
    """

    def __init__(self, grid: Grid, part: slice, warp: Sequence[Sequence[float]]) -> None:
        self._grid = grid
        self._first = part.start
        axes = [
            (grid.origin[n] + grid.spacing[n] * index).astype(np.float32)
            for n, index in enumerate((np.arange(part.start, part.stop), *map(np.arange, grid.shape[1:])))
        ]
        self._place(Points(axes[2][None, None, :], axes[1][None, :, None], axes[0][:, None, None]), warp)

    def _place(self, patient: Points, warp: Sequence[Sequence[float]]) -> None:
        self.patient = patient
        r, t = self._grid.turn.astype(np.float32), self._grid.shift.astype(np.float32)
        x, y, z = self.patient.x - t[0], self.patient.y - t[1], self.patient.z - t[2]
        straight = [(x * r[0, n] + y * r[1, n]) + z * r[2, n] for n in range(3)]
        self.points = bend(straight, warp)
        self.shape: tuple[int, ...] = straight[0].shape

    def full(self, value: float) -> Field:
        return np.full(self.shape, value, dtype=np.float32)

    def window(self, shape: Shape, margin: float) -> tuple[slice, slice, slice] | None:
        """The part of the slab that can hold ``shape``, None where it holds nothing of it."""
        low, high = shape.box()
        low, high = low - margin, high + margin
        middle, half = (low + high) / 2, (high - low) / 2
        centre = (self._grid.turn @ middle + self._grid.shift)[::-1]
        reach = (np.abs(self._grid.turn) @ half)[::-1]
        return self._between(centre - reach, centre + reach)

    def _between(self, low: Matrix, high: Matrix) -> tuple[slice, slice, slice] | None:
        """The samples between two corners, in patient (z, y, x)."""
        slices = []
        for n in range(3):
            start = self._grid.origin[n] + (self._first if n == 0 else 0) * self._grid.spacing[n]
            first = max(0, int(np.ceil((low[n] - start) / self._grid.spacing[n])))
            last = min(self.shape[n], int(np.floor((high[n] - start) / self._grid.spacing[n])) + 1)
            if last <= first:
                return None
            slices.append(slice(first, last))
        return slices[0], slices[1], slices[2]

    def unite(self, field: Field, *shapes: Shape, blend: float = 3.0, through: Transform | None = None) -> None:
        """Smooth union of ``field`` with the shapes, in place."""
        self._each(field, shapes, lambda a, b: join(a, b, blend), blend, through)

    def carve(self, field: Field, *shapes: Shape, blend: float = 3.0, through: Transform | None = None) -> None:
        """Smooth difference: takes the shapes out of ``field``, in place."""
        self._each(field, shapes, lambda a, b: cut(a, b, blend), blend, through)

    def paint(self, image: Field, *shapes: Shape, value: float, edge: float, through: Transform | None = None) -> None:
        """Lays a tissue of one value over ``image`` inside the shapes."""
        for shape in shapes:
            window = self.window(shape, _WARP_REACH + edge)
            if window is not None:
                p = self.points.at(window)
                lay(image[window], shape.distance(p if through is None else through(p)), value, edge)

    def _each(
        self,
        field: Field,
        shapes: Sequence[Shape],
        merge: Callable[[Field, Field], Field],
        blend: float,
        through: Transform | None,
    ) -> None:
        for shape in shapes:
            window = self.window(shape, _WARP_REACH + blend + 2.0)
            if window is not None:
                p = self.points.at(window)
                field[window] = merge(field[window], shape.distance(p if through is None else through(p)))


class Fan(Slab):
    """Coronal planes across a diverging beam, each with its own pixel: shape (rows, planes, columns).

    ``planes`` are grids of one row of voxels along y, with the same rows, columns, turn, shift and step in y.
    """

    def __init__(self, planes: Sequence[Grid]) -> None:
        self._grid = planes[0]
        origin = np.array([plane.origin for plane in planes])
        pixel = np.array([plane.spacing for plane in planes])
        rows, _, columns = self._grid.shape
        z = origin[:, 0] + pixel[:, 0] * np.arange(rows)[:, None]
        x = origin[:, 2] + pixel[:, 2] * np.arange(columns)[:, None]
        self._corner, self._pixel = origin[:, [0, 2]], pixel[:, [0, 2]]
        self._place(
            Points(
                x.T[None].astype(np.float32),
                origin[:, 1].astype(np.float32)[None, :, None],
                z[:, :, None].astype(np.float32),
            ),
            (),
        )

    def _between(self, low: Matrix, high: Matrix) -> tuple[slice, slice, slice] | None:
        step, start = self._grid.spacing[1], self._grid.origin[1]
        near = max(0, int(np.ceil((low[1] - start) / step)))
        far = min(self.shape[1], int(np.floor((high[1] - start) / step)) + 1)
        if far <= near:
            return None
        corner, pixel = self._corner[near:far], self._pixel[near:far]
        first = np.ceil((low[[0, 2]] - corner) / pixel).min(axis=0).astype(int).clip(0)
        last = np.floor((high[[0, 2]] - corner) / pixel).max(axis=0).astype(int) + 1
        bottom, left = (int(value) for value in first)
        top, right = (min(int(value), size) for value, size in zip(last, self.shape[::2], strict=True))
        if top <= bottom or right <= left:
            return None
        return slice(bottom, top), slice(near, far), slice(left, right)


def bend(straight: list[NDArray[np.float32]], warp: Sequence[Sequence[float]]) -> Points:
    """Moves points by waves: rows of (axis moved, direction x, y, z in radians per mm, phase, amplitude in mm)."""
    bent = [axis.copy() for axis in straight]
    for axis, kx, ky, kz, phase, amplitude in warp:
        wave = straight[0] * np.float32(kx)
        wave += straight[1] * np.float32(ky)
        wave += straight[2] * np.float32(kz)
        wave += np.float32(phase)
        np.sin(wave, out=wave)
        wave *= np.float32(amplitude)
        bent[int(axis)] += wave
    return Points(*bent)


def both(shape_of: Callable[[float], Shape]) -> tuple[Shape, Shape]:
    """Left and right: ``shape_of(1)`` and ``shape_of(-1)``."""
    return shape_of(1.0), shape_of(-1.0)


def mirrored(shape: Ellipsoid | Chain) -> tuple[Shape, Shape]:
    """The shape and its mirror image on the other side of the body."""
    if isinstance(shape, Chain):
        return shape, Chain([(-x, y, z) for x, y, z in shape.knots], shape.radii, shape.scale)
    x, y, z = shape.centre
    turn = None if shape.turn is None else (shape.turn[0], -shape.turn[1], -shape.turn[2])
    return shape, Ellipsoid((-x, y, z), shape.radii, turn)
