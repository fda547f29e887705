"""A volume on an isotropic grid along the patient's axes, and orthographic views of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.imaging.rejections import refuse
from inference.types import FloatArray, LoadedSeries

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """``values`` is float32 (z, y, x): x grows to the patient's left, y to posterior, z to superior (LPS).

    ``origin`` is the LPS position of voxel (0, 0, 0) in millimetres, ``spacing`` one edge of a voxel.
    """

    values: FloatArray
    origin: Vector
    spacing: float

    def index_of(self, points: Vector) -> Vector:
        """(..., 3) LPS millimetres (x, y, z) to fractional array indices (z, y, x)."""
        return ((points - self.origin) / self.spacing)[..., ::-1]

    def point_of(self, indices: Vector) -> Vector:
        """(..., 3) array indices (z, y, x) to LPS millimetres (x, y, z)."""
        return np.asarray(indices, dtype=np.float64)[..., ::-1] * self.spacing + self.origin


@dataclass(frozen=True, slots=True)
class View:
    """An orthographic camera: a square of ``extent`` millimetres, ``size`` pixels wide, centred on ``centre``.

    ``axes`` rows are unit vectors in LPS: the picture's right, its up, and towards the viewer. Depth is measured away
    from the viewer, in millimetres, from the plane through ``centre``; only what lies in [near, far] is seen.
    """

    centre: Vector
    axes: NDArray[np.float64]
    size: int
    extent: float
    near: float
    far: float

    def pixel_points(self) -> Vector:
        """(size, size, 3) LPS positions of pixel centres in the plane of depth 0; row 0 is the top."""
        offsets = ((np.arange(self.size) + 0.5) / self.size - 0.5) * self.extent
        right = offsets[None, :, None] * self.axes[0]
        up = -offsets[:, None, None] * self.axes[1]
        return np.asarray(self.centre + right + up)


def bounds_of(volume: LoadedSeries) -> tuple[Vector, Vector]:
    """Lowest and highest LPS corner of the box around all voxel centres."""
    affine = _affine(volume)
    ends = np.array(volume.pixels.shape, dtype=np.float64) - 1
    corners = np.array([[i, j, k] for i in (0, ends[0]) for j in (0, ends[1]) for k in (0, ends[2])])
    points = corners @ affine[:3, :3].T + affine[:3, 3]
    return points.min(axis=0), points.max(axis=0)


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """The box of voxels that a volume fills, however it lies in the patient."""

    inverse: NDArray[np.float64]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @staticmethod
    def of(volume: LoadedSeries) -> FieldOfView:
        return FieldOfView(
            np.asarray(np.linalg.inv(_affine(volume)), dtype=np.float64), volume.pixels.shape, volume.spacing
        )

    def margin(self, points: Vector) -> Vector:
        """How many millimetres (..., 3) LPS points lie inside the nearest face of the box; negative outside."""
        index = points @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        ends = np.array(self.shape) - 1
        nearest = np.minimum(index, ends - index) * np.array(self.spacing)
        return np.asarray(nearest.min(axis=-1))


def resample(volume: LoadedSeries, spacing: float, low: Vector, high: Vector, fill: float) -> Grid:
    """The box from ``low`` to ``high`` (LPS millimetres) on an isotropic grid along the patient's axes.

    Finer volumes are averaged over the new voxel first, so that noise does not roughen a surface; voxels outside
    the field of view become ``fill``.
    """
    import SimpleITK

    sitk: Any = SimpleITK  # typed only in part

    affine = _affine(volume)
    image = sitk.GetImageFromArray(np.asarray(volume.pixels, dtype=np.float32))
    steps = affine[:3, :3][:, ::-1]  # columns for (column, row, slice), SimpleITK's (x, y, z)
    lengths = np.linalg.norm(steps, axis=0)
    image.SetSpacing([float(length) for length in lengths])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    image.SetDirection([float(value) for value in (steps / lengths).ravel()])
    shrink = [max(1, int(spacing / length + 0.25)) for length in lengths]
    shrink = [min(factor, size) for factor, size in zip(shrink, image.GetSize(), strict=True)]
    if max(shrink) > 1:
        image = sitk.BinShrink(image, shrink)
    count = np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, 2)
    result = sitk.Resample(
        image,
        [int(value) for value in count],
        sitk.Transform(),
        sitk.sitkLinear,
        [float(value) for value in low],
        [float(spacing)] * 3,
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        float(fill),
        sitk.sitkFloat32,
    )
    return Grid(sitk.GetArrayFromImage(result), np.asarray(low, dtype=np.float64), spacing)


def _affine(volume: LoadedSeries) -> NDArray[np.float64]:
    if volume.kind != "volume" or volume.affine is None:
        raise _not_a_volume(volume)
    return volume.affine


def _not_a_volume(volume: LoadedSeries) -> ImagingError:
    return refuse("NO_GEOMETRY", f"a {volume.kind} has no three-dimensional geometry")
