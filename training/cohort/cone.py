"""A cone beam through a sampled volume onto a flat detector: exact line integrals, one homography for each plane."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.cohort.implicit import Field, Matrix


@dataclass(frozen=True, slots=True)
class Detector:
    """``source`` is the focal spot; ``corner`` the centre of pixel (0, 0); ``across`` and ``down`` unit vectors along
    columns and rows. All in the patient's frame (LPS, millimetres); ``pixel`` is the pitch, ``shape`` (rows, columns).
    """

    source: Matrix
    corner: Matrix
    across: Matrix
    down: Matrix
    pixel: float
    shape: tuple[int, int]

    def rays(self) -> tuple[Field, Field, Field]:
        """x, y, z of unit vectors from the source to each pixel, float32 (rows, columns)."""
        rows = np.arange(self.shape[0])[:, None] * self.pixel
        columns = np.arange(self.shape[1])[None, :] * self.pixel
        to = [
            (c + rows * d + columns * a - s)
            for c, d, a, s in zip(self.corner, self.down, self.across, self.source, strict=True)
        ]
        length = np.sqrt(to[0] ** 2 + to[1] ** 2 + to[2] ** 2)
        x, y, z = ((v / length).astype(np.float32) for v in to)
        return x, y, z

    def place(self, points: Matrix) -> tuple[Matrix, Matrix]:
        """(n, 3) points in the patient's frame to (rows, columns)."""
        normal = np.cross(self.across, self.down)
        ray = points - self.source
        reach = float((self.corner - self.source) @ normal) / (ray @ normal)
        at = self.source + ray * reach[:, None] - self.corner
        return at @ self.down / self.pixel, at @ self.across / self.pixel


def line_integrals(volume: Field, affine: Matrix, detector: Detector) -> Field:
    """Integrals of ``volume`` (slices, rows, columns; per millimetre) along the rays, float32 of the detector's shape.

    ``affine`` is (4, 4), voxel index to the patient's frame. The volume is walked in planes across the axis that lies
    closest to the beam. Seen from the source each plane maps to the detector by a homography, so that every ray meets
    it exactly once, bilinearly interpolated.
    """
    steps = affine[:3, :3]
    middle = detector.corner + 0.5 * detector.pixel * (
        detector.shape[0] * detector.down + detector.shape[1] * detector.across
    )
    beam = (middle - detector.source) / np.linalg.norm(middle - detector.source)
    normals = steps / np.linalg.norm(steps, axis=0)
    along = int(np.argmax(np.abs(normals.T @ beam)))
    row, column = (n for n in range(3) if n != along)
    total = np.zeros(detector.shape, np.float32)
    for index in range(volume.shape[along]):
        plane = np.asarray(volume.take(index, axis=along))
        if plane.any():
            start = affine[:3, 3] + index * steps[:, along]
            matrix = _homography(detector, start, steps[:, row], steps[:, column])
            total += cv2.warpPerspective(plane, matrix, detector.shape[::-1], flags=cv2.INTER_LINEAR)
    across = np.cross(steps[:, row], steps[:, column])
    across /= np.linalg.norm(across)
    thickness = abs(float(across @ steps[:, along]))
    x, y, z = detector.rays()
    n = across.astype(np.float32)
    total *= np.float32(thickness) / np.abs(x * n[0] + y * n[1] + z * n[2])
    return total


def _homography(detector: Detector, start: Matrix, per_row: Matrix, per_column: Matrix) -> Matrix:
    """(3, 3): (column, row, 1) of a plane of voxels to (column, row, 1) of the detector."""
    normal = np.cross(detector.across, detector.down)
    offset = detector.source - detector.corner
    reach = float(-offset @ normal)
    # X - corner = offset + reach / w * (P - source), with w = normal . (P - source): linear in P after times w.
    parts = [
        (float(offset @ axis) * normal + reach * axis) / detector.pixel for axis in (detector.across, detector.down)
    ]
    points = np.stack([per_column, per_row, start - detector.source], axis=1)
    result: Matrix = np.stack([*parts, normal]) @ points
    return result
