"""Brings a face to the pose of a mean face: rigid iterative closest point, point to plane (Chen and Medioni 1992).

A scale takes part in the alignment, so that a small head is not turned in order to fit a large mean, and is then
dropped: the size of a face belongs to its owner. The worst matches are left out of every step, because tubes, tape and
the rim of the scan are no face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.depth import Face, Pose, Renderer, face_depth, frontal_pose
from inference.types import FloatArray

Vector = NDArray[np.float64]

# A face that fits this well (median distance, millimetres) is in place.
GOOD_MM = 1.2
_VIEWS, _ROUNDS = 3, 12
_KEPT_SHARE = 0.8
# Points this far from the tip of the nose, or with a partner this far away, take no part.
_RADIUS_MM, _REACH_MM = 85.0, 25.0
_MAP_SIZE = 64


@dataclass(frozen=True, slots=True)
class MeanFace:
    """A mean depth map and what an alignment needs of it.

    depth
        float32 (size, size), millimetres behind the tip of the nose, NaN where there is no face.
    pixel_mm
        edge of a pixel. Row 0 is the top; columns grow to the patient's left.
    """

    depth: FloatArray
    pixel_mm: float

    def points(self) -> tuple[Vector, Vector]:
        """(N, 3) points (right, up, towards the viewer) and their unit normals."""
        size = len(self.depth)
        offsets = (np.arange(size) + 0.5 - size / 2) * self.pixel_mm
        down, right = (np.gradient(self.depth, self.pixel_mm, axis=axis) for axis in (0, 1))
        known = np.isfinite(self.depth) & np.isfinite(down) & np.isfinite(right)
        rows, columns = np.nonzero(known)
        points = np.stack([offsets[columns], -offsets[rows], -self.depth[known]], axis=1)
        # Height is -depth; up is against the rows.
        normals = np.stack([right[known], -down[known], np.ones(len(rows))], axis=1)
        return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Alignment:
    """``residual_mm`` is the median distance of the matched points to the mean face after scaling."""

    pose: Pose
    residual_mm: float
    scale: float


class Aligner:
    """Aligns faces to one mean face. Keeps the mean's search tree."""

    def __init__(self, mean: MeanFace, renderer: Renderer = "auto") -> None:
        from scipy.spatial import cKDTree

        self._points, self._normals = mean.points()
        self._tree: Any = cKDTree(self._points)
        self._renderer: Renderer = renderer

    def align(self, face: Face) -> Alignment:
        """The best alignment from several starting poses; the later ones are only tried while none fits well."""
        best = Alignment(face.pose, np.inf, 1.0)
        for start in _starts(face):
            best = min(best, self._from(face, start), key=lambda item: item.residual_mm)
            if best.residual_mm < GOOD_MM:
                break
        return best

    def _from(self, face: Face, pose: Pose) -> Alignment:
        scale, residual = 1.0, np.inf
        for _ in range(_VIEWS):
            points = face_depth(face, pose, _MAP_SIZE, renderer=self._renderer).points()
            points = points[np.linalg.norm(points, axis=1) < _RADIUS_MM]
            if len(points) < 200:
                return Alignment(pose, np.inf, scale)
            turn, shift, scale, residual = self._icp(points, scale)
            # Seen in the mean's frame p becomes scale * turn @ p + shift; the tip is what comes to lie at its origin.
            tip = pose.tip - pose.axes.T @ (turn.T @ shift / scale)
            pose = Pose(tip, turn @ pose.axes)
        return Alignment(pose, residual, scale)

    def _icp(self, points: Vector, scale: float) -> tuple[Vector, Vector, float, float]:
        turn, shift, residual = np.eye(3), np.zeros(3), np.inf
        for _ in range(_ROUNDS):
            moved = scale * points @ turn.T + shift
            distance, partner = self._tree.query(moved, distance_upper_bound=_REACH_MM)
            kept = np.flatnonzero(np.isfinite(distance))
            if len(kept) < 100:
                return turn, shift, scale, np.inf
            kept = kept[distance[kept] <= np.quantile(distance[kept], _KEPT_SHARE)]
            normals, here = self._normals[partner[kept]], moved[kept]
            gap = np.einsum("ij,ij->i", normals, self._points[partner[kept]] - here)
            residual = float(np.median(np.abs(gap)))
            columns = np.column_stack([np.cross(here, normals), normals, np.einsum("ij,ij->i", normals, here)])
            # A little stiffness keeps a nearly spherical forehead from spinning.
            stiff = np.diag([1.0, 1.0, 1.0, 1e-3, 1e-3, 1e-3, 30.0]) * len(kept) * 1e-2
            step = np.linalg.solve(columns.T @ columns + stiff, columns.T @ gap)
            small, growth = _rotation(step[:3]), float(np.exp(np.clip(step[6], -0.05, 0.05)))
            turn, shift, scale = (
                small @ turn,
                growth * small @ shift + step[3:6],
                float(np.clip(scale * growth, 0.85, 1.2)),
            )
            if np.abs(step[:3]).max() < 1e-4 and np.abs(step[3:6]).max() < 0.02:
                break
        return turn, shift, scale, residual


def _starts(face: Face) -> Iterator[Pose]:
    """The pose that was found, the one in which the head lay, and that one with the nose sought higher and lower."""
    yield face.pose
    lying = frontal_pose(face)
    yield lying
    for up in (-35.0, 35.0):
        yield Pose(lying.tip + up * lying.axes[1], lying.axes)


def _rotation(vector: Vector) -> Vector:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())
