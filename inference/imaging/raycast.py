"""Depth of an iso-surface by marching orthographic rays on the CPU. The twin of :mod:`inference.imaging.isosurface`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid, View
from inference.types import FloatArray

# Samples per voxel edge along a ray, and how many of them are taken at once before rays that hit are dropped.
_SAMPLES_PER_VOXEL = 1.25
_CHUNK = 16
# A crossing found between two samples is narrowed this often by evaluating the volume inside.
_REFINEMENTS = 2


def cast(grid: Grid, threshold: float, view: View) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(depth, mask) of the first crossing of ``threshold`` from below along each ray, trilinear in between.

    ``depth`` is float32 (size, size) millimetres, 0 where ``mask`` is False.
    """
    starts = grid.index_of(view.pixel_points()).reshape(-1, 3)
    direction = -view.axes[2][::-1] / grid.spacing
    step = grid.spacing / _SAMPLES_PER_VOXEL
    depths = np.arange(view.near, view.far + step, step)
    depth = np.zeros(len(starts), dtype=np.float64)
    hit = np.zeros(len(starts), dtype=bool)
    active = np.arange(len(starts))
    before = np.full(len(starts), -np.inf)
    for first in range(0, len(depths), _CHUNK):
        part = depths[first : first + _CHUNK]
        values = _sample(grid, starts[active][None] + part[:, None, None] * direction, threshold)
        above = values >= threshold
        found = above.any(axis=0)
        where = above.argmax(axis=0)[found]
        rays = active[found]
        high = values[:, found][where, np.arange(len(rays))]
        low = np.where(where > 0, values[:, found][where - 1, np.arange(len(rays))], before[rays])
        depth[rays] = _refine(grid, starts[rays], direction, threshold, (part[where], step), (low, high))
        hit[rays] = True
        before[active] = values[-1]
        active = active[~found]
        if not len(active):
            break
    hit &= depth <= view.far
    shape = (view.size, view.size)
    return np.where(hit, depth, 0.0).astype(np.float32).reshape(shape), hit.reshape(shape)


def _sample(grid: Grid, indices: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    flat = indices.reshape(-1, 3).T
    # Outside the grid there is nothing; a value below the threshold is all that has to be known of it.
    values = map_coordinates(grid.values, flat, order=1, mode="constant", cval=min(threshold - 1.0, -1e4), output=float)
    return np.asarray(values.reshape(indices.shape[:-1]))


def _refine(
    grid: Grid,
    starts: NDArray[np.float64],
    direction: NDArray[np.float64],
    threshold: float,
    bracket: tuple[NDArray[np.float64], float],
    values: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Depth of the crossing inside (upper - step, upper], by regula falsi."""
    upper, step = bracket
    low, high = (np.array(value) for value in values)
    near, far = upper - step, np.array(upper)
    for _ in range(_REFINEMENTS):
        middle = _crossing(near, far, low, high, threshold)
        value = _sample(grid, starts + middle[:, None] * direction, threshold)
        inside = value >= threshold
        far, high = np.where(inside, middle, far), np.where(inside, value, high)
        near, low = np.where(inside, near, middle), np.where(inside, low, value)
    return _crossing(near, far, low, high, threshold)


def _crossing(
    near: NDArray[np.float64],
    far: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.float64]:
    """Linear estimate of where the value reaches the threshold; the far end where the near one is unknown."""
    span = high - low
    usable = np.isfinite(low) & (span > 0)
    share = np.where(usable, (threshold - np.where(usable, low, 0.0)) / np.where(usable, span, 1.0), 1.0)
    return near + np.clip(share, 0.0, 1.0) * (far - near)
