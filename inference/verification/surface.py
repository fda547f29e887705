"""Surfaces of anatomy in CT and MR volumes as oriented points: bone and skin in CT, skin and inner structures in MR.

Volumes are brought to one physical resolution first, so that neither spacing nor kernel decides where a surface lies.
Points lie where the smoothed volume crosses a value between two voxels, interpolated along the edge between them; there
is no mesh. What a scanner adds is left out: the ends of the field of view, table and head rest, tubes and wires.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.imaging.grid import FieldOfView, Grid, Vector, bounds_of, resample
from inference.imaging.skin import AIR_HU, SKIN_HU, Skin, find_skin
from inference.types import FloatArray, LoadedSeries

# Edge of a voxel of the common grid, and the smoothing (standard deviation) that levels kernels and noise.
GRID_MM, SMOOTH_MM = 1.5, 1.2
# A larger body is sampled more coarsely: memory and time are bounded by this many voxels.
MAX_VOXELS = 12e6
BONE_HU = 250.0
# Smaller pieces of bone are calcifications, fillings and noise.
MIN_BONE_ML = 1.0
# In MR, relative to what is around: between the bright tissues and what is dark (compact bone, fluid, air).
INNER_SHARE, AROUND_MM, INNER_DEPTH_MM = 0.6, 24.0, 6.0
# In MR, between air and skin: Otsu's threshold moves with how much air there is, this share does not.
SKIN_SHARE = 0.4
# Points nearer to the end of the field of view may be the cut.
EDGE_MM = 4.0
# What is thinner than twice this is no body: head rests, tables, tubes (and ears, which bend anyway).
THIN_MM = 6.0
# How far outside the coarse body its surface may lie, and how wide an opening of the body may be to count as closed.
SLACK_MM, OPENING_MM = 3.0, 9.0
POINTS = {"bone": 1800, "skin": 900, "inner": 1800}
MIN_POINTS = 150
_BLOCK = 1 << 10
# What is smoothed over centimetres need not be known at every voxel.
_STRIDE = 4


@dataclass(frozen=True, slots=True)
class Surface:
    """``points`` (n, 3) LPS millimetres, and unit ``normals`` (n, 3) that point out of the brighter tissue."""

    name: str
    points: Vector
    normals: Vector


def surfaces_of(volume: LoadedSeries) -> list[Surface]:
    """What can be seen of bone, skin and inner structures; none where a volume holds no body.

    Raises
    ------
    ImagingError
        ``NO_GEOMETRY`` for what is no volume.
    """
    try:
        skin = find_skin(volume)
    except ImagingError as error:
        if error.reason == "NO_GEOMETRY":
            raise
        return []
    body = _Body.of(skin, is_ct=volume.modality == "CT")
    grid = _common_grid(volume, skin)
    field = FieldOfView.of(volume)
    found = []
    for name, values, threshold in _fields(volume.modality, grid, body, skin.threshold):
        indices = _crossings(values, threshold)
        points = grid.point_of(indices)
        kept = (field.margin(points) > EDGE_MM) & body.holds(points, name)
        kept &= _circle_margin(volume, points) > EDGE_MM
        indices, points = indices[kept], points[kept]
        if len(points) >= MIN_POINTS:
            chosen = _spread(points, POINTS[name])
            found.append(Surface(name, points[chosen], _normals(values, indices[chosen])))
    return found


def _circle_margin(volume: LoadedSeries, points: Vector) -> Vector:
    """(n,) millimetres inside the circle that a CT was reconstructed in; infinite where its slices are filled.

    Outside the circle all voxels are padding: the corners of all slices have one and the same value.
    """
    assert volume.affine is not None
    _, rows, columns = volume.pixels.shape
    corners = volume.pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    if volume.modality != "CT" or rows != columns or np.ptp(corners) > 0:
        return np.full(len(points), np.inf)
    steps = np.linalg.norm(volume.affine[:3, 1:3], axis=0)
    index = (points - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    away = (index[:, 1:] - (rows - 1) / 2) * steps
    return np.asarray(rows / 2 * steps.min() - np.linalg.norm(away, axis=1))


@dataclass(frozen=True, slots=True)
class _Body:
    """The body on the coarse grid: ``solid`` without holes, ``shell`` near its outer skin, ``deep`` well inside."""

    grid: Grid
    solid: NDArray[np.bool_]
    shell: NDArray[np.bool_]
    deep: NDArray[np.bool_]

    @staticmethod
    def of(skin: Skin, *, is_ct: bool) -> _Body:
        from scipy.ndimage import binary_closing, binary_dilation, binary_erosion, binary_fill_holes, binary_opening

        thin, slack, opening, depth = (
            max(1, round(length / skin.grid.spacing)) for length in (THIN_MM, SLACK_MM, OPENING_MM, INNER_DEPTH_MM)
        )
        mask = np.pad(skin.mask, opening)
        if not is_ct:
            # The dark skull parts the scalp from the brain: together they are no thinner than a head.
            mask = binary_closing(mask, iterations=opening)
        filled = np.stack([binary_fill_holes(image) for image in mask])
        solid = binary_opening(filled, iterations=thin)
        closed = binary_fill_holes(binary_closing(solid, iterations=opening))
        near = binary_dilation(solid, iterations=slack)
        shell = near & binary_dilation(~closed, iterations=2 * slack)
        deep = binary_erosion(closed, iterations=depth)
        inner = np.s_[opening:-opening, opening:-opening, opening:-opening]
        return _Body(skin.grid, near[inner], shell[inner], deep[inner])

    def holds(self, points: Vector, name: str) -> NDArray[np.bool_]:
        """Whether points may belong to that surface."""
        mask = {"bone": self.solid, "skin": self.shell, "inner": self.deep}[name]
        index = np.rint(self.grid.index_of(points)).astype(np.int64)
        inside = ((index >= 0) & (index < mask.shape)).all(axis=1)
        result = np.zeros(len(points), bool)
        result[inside] = mask[tuple(index[inside].T)]
        return result


def _common_grid(volume: LoadedSeries, skin: Skin) -> Grid:
    """The body's box, smoothed, at the common resolution."""
    from scipy.ndimage import gaussian_filter

    low, high = bounds_of(volume)
    occupied = [np.flatnonzero(skin.mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    ends = skin.grid.point_of(np.array([[axis[0], axis[-1]] for axis in occupied]).T)
    low, high = np.maximum(low, ends[0] - 3 * GRID_MM), np.minimum(high, ends[1] + 3 * GRID_MM)
    spacing = max(GRID_MM, float(np.cbrt(np.prod(high - low) / MAX_VOXELS)))
    fill = AIR_HU if volume.modality == "CT" else float(volume.pixels.min())
    grid = resample(volume, spacing, low, high, fill)
    return Grid(gaussian_filter(grid.values, SMOOTH_MM / spacing), grid.origin, spacing)


def _fields(modality: str, grid: Grid, body: _Body, threshold: float) -> Iterator[tuple[str, FloatArray, float]]:
    """Name of each surface, and the values and threshold that it is an iso-surface of."""
    if modality == "CT":
        yield "bone", _without_small_pieces(grid, BONE_HU), BONE_HU
        yield "skin", grid.values, SKIN_HU
    else:
        yield "skin", _relative(grid, body, "bone"), SKIN_SHARE
        yield "inner", _relative(grid, body, "inner"), INNER_SHARE


def _without_small_pieces(grid: Grid, threshold: float) -> FloatArray:
    from scipy.ndimage import label

    labels, _ = label(grid.values >= threshold)
    large = np.bincount(labels.ravel()) * grid.spacing**3 >= MIN_BONE_ML * 1000.0
    large[0] = True
    return np.where(large[labels], grid.values, np.float32(threshold - 1.0))


def _relative(grid: Grid, body: _Body, within: str) -> FloatArray:
    """Values divided by the mean of the body around each voxel: what coil and gain did is taken out."""
    from scipy.ndimage import gaussian_filter

    floor = float(grid.values.min())
    sparse = grid.values[::_STRIDE, ::_STRIDE, ::_STRIDE] - floor
    points = grid.point_of(_STRIDE * np.indices(sparse.shape).reshape(3, -1).T.astype(np.float64))
    inside = body.holds(points, within).reshape(sparse.shape).astype(np.float32)
    sigma = AROUND_MM / grid.spacing / _STRIDE
    around = gaussian_filter(sparse * inside, sigma) / np.maximum(gaussian_filter(inside, sigma), 1e-3)
    return np.asarray((grid.values - floor) / np.maximum(_stretched(around, grid.values.shape), 1e-6), np.float32)


def _stretched(sparse: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Every ``_STRIDE``-th value of a field back to all of its ``shape``, linearly between."""
    for axis, length in enumerate(shape):
        place = np.arange(length) / _STRIDE
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, sparse.shape[axis] - 1)
        share = (place - below).astype(np.float32).reshape([-1 if number == axis else 1 for number in range(3)])
        sparse = sparse.take(below, axis) * (1 - share) + sparse.take(above, axis) * share
    return sparse


def _crossings(values: FloatArray, threshold: float) -> Vector:
    """(n, 3) fractional indices where the edges between neighbouring voxels cross the threshold."""
    above = values >= threshold
    parts = []
    for axis in range(3):
        first = tuple(np.s_[:-1] if number == axis else np.s_[:] for number in range(3))
        second = tuple(np.s_[1:] if number == axis else np.s_[:] for number in range(3))
        index = np.argwhere(above[first] != above[second])
        start, end = values[first][tuple(index.T)], values[second][tuple(index.T)]
        position = index.astype(np.float64)
        position[:, axis] += (threshold - start) / (end - start)
        parts.append(position)
    return np.concatenate(parts)


def _spread(points: Vector, count: int) -> NDArray[np.int64]:
    """About ``count`` of the points, never more, evenly over the surface: one in each cell of a lattice."""
    if len(points) <= count:
        return np.arange(len(points))
    low, high = 0.5, 64.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if len(np.unique(_cells(points, middle))) <= count else (middle, high)
    cells = _cells(points, high)
    offsets = np.square((points / high) % 1.0 - 0.5).sum(axis=1)
    order = np.lexsort((offsets, cells))
    _, first = np.unique(cells[order], return_index=True)
    return np.asarray(np.sort(order[first]), np.int64)


def _cells(points: Vector, edge: float) -> NDArray[np.int64]:
    index = np.floor(points / edge).astype(np.int64)
    index -= index.min(axis=0)
    # Cells beyond the block wrap around: only ever in a volume that no patient fills.
    return np.asarray((index[:, 0] * _BLOCK + index[:, 1]) * _BLOCK + index[:, 2], np.int64)


def _normals(values: FloatArray, indices: Vector) -> Vector:
    """Unit vectors (x, y, z) down the gradient, by central differences over one voxel."""
    from scipy.ndimage import map_coordinates

    gradient = np.empty((len(indices), 3))
    for axis in range(3):
        step = np.eye(3)[axis]
        ahead, behind = (
            map_coordinates(values, (indices + sign * step).T, order=1, mode="nearest") for sign in (1, -1)
        )
        gradient[:, 2 - axis] = behind - ahead
    return np.asarray(gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9))
