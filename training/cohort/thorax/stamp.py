"""Ellipsoids stamped into a volume: only the voxels near to them are touched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.cohort.implicit import FAR, Field, Matrix
from training.cohort.projection import Splats
from training.cohort.sampling import Grid

Indices = NDArray[np.intp]

_CHUNK = 1 << 19


class Stamp:
    """A scratch volume in which one set of ellipsoids after another is measured."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._field = np.full(int(np.prod(grid.shape)), FAR, dtype=np.float32)

    def distances(self, splats: Splats, margin: float) -> tuple[Indices, Field]:
        """Flat indices of all voxels within ``margin`` mm of any ellipsoid, and their signed distance to the union."""
        touched: list[Indices] = []
        for index, distance in self._pieces(splats, margin):
            np.minimum.at(self._field, index, distance)
            touched.append(index)
        if not touched:
            return np.zeros(0, np.intp), np.zeros(0, np.float32)
        every = np.concatenate(touched)
        # Each voxel once, without sorting: the first to take its value leaves nothing for the others.
        values = self._field[every]
        number, mark = self._field.view(np.int32), np.arange(len(every), dtype=np.int32)
        number[every] = mark
        once = number[every] == mark
        self._field[every] = FAR
        return every[once], values[once]

    def _pieces(self, splats: Splats, margin: float) -> Iterator[tuple[Indices, Field]]:
        g = self._grid
        spacing = np.array(g.spacing)
        centres = (splats.centres @ g.turn.T + g.shift)[:, ::-1]
        axes = (splats.axes @ g.turn.T)[:, :, ::-1].astype(np.float32)
        at = (centres - np.array(g.origin)) / spacing
        extent = np.sqrt(np.einsum("nki,nk->ni", np.square(axes), np.square(splats.radii)))
        half = np.ceil((extent + margin) / spacing).astype(int)
        near = np.rint(at).astype(int)
        seen = np.all((near + half >= 0) & (near - half < np.array(g.shape)), axis=1)
        order = np.flatnonzero(seen)
        keys = half[order] @ np.array([1 << 20, 1 << 10, 1])
        for key in np.unique(keys):
            chosen = order[keys == key]
            reach = half[chosen[0]]
            offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(
                -1, 3
            )
            per = max(1, _CHUNK // len(offsets))
            for first in range(0, len(chosen), per):
                n = chosen[first : first + per]
                yield self._measure(near[n], at[n], axes[n], splats.radii[n].astype(np.float32), offsets, margin)

    def _measure(
        self, near: Indices, at: Matrix, axes: Field, radii: Field, offsets: Indices, margin: float
    ) -> tuple[Indices, Field]:
        """Of (n,) ellipsoids at ``offsets`` (m, 3) voxels about each; in the order of the grid's axes."""
        g = self._grid
        voxels = near[:, None] + offsets
        d = ((voxels - at[:, None]) * np.array(g.spacing)).astype(np.float32)
        q = np.einsum("nmi,nki->nmk", d, axes / radii[:, :, None])
        outer = np.sqrt(np.einsum("nmk,nmk->nm", q, q))
        q /= radii[:, None, :]
        inner = np.sqrt(np.einsum("nmk,nmk->nm", q, q))
        # As for any ellipsoid (:class:`~training.cohort.implicit.Ellipsoid`); at its middle the smallest radius.
        distance = outer * (outer - np.float32(1)) / np.maximum(inner, np.float32(1e-6))
        np.maximum(distance, -radii.min(axis=1)[:, None], out=distance)
        distance[outer < 0.05] = -1.0
        kept = distance < margin
        kept &= np.all((voxels >= 0) & (voxels < np.array(g.shape)), axis=2)
        v = voxels[kept]
        return (v[:, 0] * g.shape[1] + v[:, 1]) * g.shape[2] + v[:, 2], distance[kept]
