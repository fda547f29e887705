"""Oriented points of one surface, ready to be searched, and the box of the scan that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Vector
from inference.types import LoadedSeries

# Millimetres that opposite normals count for, halved: the two faces of a thin bone are not each other's neighbours.
NORMAL_MM = 8.0
_LEAF = 32
_GOLDEN = (5**0.5 - 1) / 2
# Bones that reach further from side to side are a trunk's, which breathes: its back half keeps stillest.
TRUNK_MM = 200.0
# The spine is where most bone lies within this distance of one vertical line; the mean of a few such lines is steadier.
# Further than the third length from the middle of all bone it is the wall of the chest, or an arm.
_SPINE_MM, _SPINE_POINTS, _ASIDE_MM = 30.0, 30, 50.0


@dataclass(frozen=True, slots=True)
class Box:
    """The field of view: ``frame`` (3, 4) takes LPS millimetres to millimetres along its edges, ``lengths`` (3,)."""

    frame: NDArray[np.float64]
    lengths: NDArray[np.float64]

    @staticmethod
    def of(volume: LoadedSeries) -> Box:
        assert volume.affine is not None
        spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
        frame = np.linalg.inv(volume.affine)[:3] * spacing[:, None]
        return Box(frame, (np.array(volume.pixels.shape) - 1) * spacing)

    def margin(self, points: Vector) -> Vector:
        """How many millimetres (..., 3) points lie inside the nearest face; negative outside."""
        along = points @ self.frame[:, :3].T + self.frame[:, 3]
        return np.asarray(np.minimum(along, self.lengths - along).min(axis=-1))


class Cloud:
    """One surface: ``points`` and unit ``normals`` (n, 3) in LPS millimetres.

    They are kept in an order of which every beginning is spread evenly over what was given, which should run along the
    surface: coarse stages use the first few.
    """

    def __init__(self, points: Vector, normals: Vector, box: Box) -> None:
        from scipy.spatial import cKDTree

        order = np.argsort(np.arange(len(points)) * _GOLDEN % 1.0, kind="stable")
        points, normals = points[order], normals[order]
        self.points, self.normals, self.box = points, normals, box
        self.width = float(np.ptp(points[:, 0]))
        self._tree: Any = cKDTree(_joined(points, normals), leafsize=_LEAF, balanced_tree=False)

    def __len__(self) -> int:
        return len(self.points)

    def still(self, trunk: bool) -> NDArray[np.bool_]:
        """(n,) which points move least against each other: all of a head, and of a trunk the spine and what is near."""
        if not trunk:
            return np.ones(len(self), bool)
        return np.asarray(self.points[:, 1] > np.median(self.points[:, 1]))

    def middle(self, trunk: bool) -> Vector:
        """(2,) where the body's axis is across it, x and y: the spine of a trunk, else the middle of all points."""
        from scipy.spatial import cKDTree

        across = self.points[:, :2]
        middle = np.median(across, axis=0)
        if not trunk:
            return np.asarray(middle)
        tree: Any = cKDTree(across)
        central = across[np.abs(across[:, 0] - middle[0]) < _ASIDE_MM]
        crowd = tree.query_ball_point(central, _SPINE_MM, return_length=True)
        return np.asarray(np.median(central[np.argsort(crowd, kind="stable")[-_SPINE_POINTS:]], axis=0))

    def nearest(self, points: Vector, normals: Vector, within: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance (...,) in millimetres, normals counted in, to the nearest point and its number.

        What has none within reach has an infinite distance and number 0.
        """
        distance, number = self._tree.query(_joined(points, normals), distance_upper_bound=within)
        return distance, np.where(np.isfinite(distance), number, 0)


def are_trunks(first: Cloud, second: Cloud) -> bool:
    """Whether both show a trunk: a head with shoulders and a head without are compared as heads."""
    return min(first.width, second.width) > TRUNK_MM


def _joined(points: Vector, normals: Vector) -> Vector:
    return np.concatenate([points, NORMAL_MM * normals], axis=-1)
