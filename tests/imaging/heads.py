"""A head made of a few solids, and ways to lay it on a scanner's table: for tests of geometry, not of likeness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import LoadedSeries

SPACING = 2.4
LOW = np.array([-110.0, -130.0, -150.0])
ROWS, COLUMNS = 108, 92


def _ellipsoid(points: NDArray[Any], centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[Any]:
    """Signed distance, nearly, in millimetres: positive inside."""
    scaled = [
        (points[..., axis] - points.dtype.type(centre[axis])) / points.dtype.type(radii[axis]) for axis in range(3)
    ]
    return np.asarray((1.0 - np.sqrt(sum(part * part for part in scaled))) * points.dtype.type(min(radii)))


def solid(points: NDArray[Any], width: float = 70.0) -> NDArray[Any]:
    """Signed distance to a head's skin at (..., 3) LPS points: skull, jaw, neck, nose, brow, lips, chin and sockets."""
    parts = [
        _ellipsoid(points, (0, 5, 40), (width, 92, 85)),
        _ellipsoid(points, (0, -22, -35), (width * 0.8, 62, 68)),
        _ellipsoid(points, (0, 20, -110), (52, 55, 90)),
        _ellipsoid(points, (0, -84, -12), (13, 26, 13)),
        _ellipsoid(points, (0, -80, 6), (8, 14, 24)),
        _ellipsoid(points, (0, -76, 36), (44, 12, 9)),
        _ellipsoid(points, (0, -76, -46), (24, 12, 8)),
        _ellipsoid(points, (0, -72, -76), (20, 14, 12)),
    ]
    body = np.maximum.reduce(parts)
    sockets = np.maximum(
        _ellipsoid(points, (32, -86, 20), (16, 16, 11)), _ellipsoid(points, (-32, -86, 20), (16, 16, 11))
    )
    return np.asarray(np.minimum(body, -sockets))


def head(
    turn: NDArray[np.float64] | None = None, width: float = 70.0, low: NDArray[np.float64] = LOW, high_z: float = 130.0
) -> LoadedSeries:
    """A CT of the head, turned by a rotation about the middle of the head; slices from ``low`` up to ``high_z``."""
    slices = int((high_z - low[2]) / SPACING)
    z, y, x = np.indices((slices, ROWS, COLUMNS), dtype=np.float64) * SPACING
    points = np.stack([x, y, z], axis=-1) + low
    own = (points if turn is None else points @ turn).astype(np.float32)
    units = np.clip(40.0 + 800.0 * np.minimum(solid(own, width), 0.0), -1000.0, 40.0)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * SPACING
    affine[:3, 3] = low
    return LoadedSeries(
        "2.25.1", "2.25.2", ("2.25.3",), "CT", "volume", units.astype(np.float32), (SPACING,) * 3, affine
    )  # fmt: skip


def stored_differently(volume: LoadedSeries, order: tuple[int, int, int], flips: tuple[bool, ...]) -> LoadedSeries:
    """The same anatomy with its voxels stored along other axes and in other directions."""
    assert volume.affine is not None
    pixels, affine = volume.pixels.transpose(order), volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:, 3] += affine[:, axis] * (pixels.shape[axis] - 1)
            affine[:, axis] *= -1
            pixels = np.flip(pixels, axis)
    return replace(volume, pixels=np.ascontiguousarray(pixels), affine=affine)
