"""Rigid registration of two surfaces: many starts, coarse to fine, robust, symmetric in the normals of both.

Residuals are (p - q) . (n_p + n_q): zero wherever the two points lie on one arc (S. Rusinkiewicz, "A symmetric
objective function for ICP", 2019), so that points a centimetre apart still measure tenths of a millimetre. Weights are
those of Geman and McClure with a scale that shrinks: what moved, was cut off or grew is left out by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Vector
from inference.verification.volume_cloud import Cloud, are_trunks

# Patients lie up to this much turned about each axis of the scanner, beyond what descent finds by itself.
START_DEGREES = 20.0
# The scans of one patient begin and end elsewhere: starts reach from equal lower to equal upper ends, this far apart.
START_STEP_MM, MAX_STARTS_ALONG = 12.0, 40
# A start is judged as if at least this share of its points were in the other's field of view.
LEAST_OVERLAP = 0.35
_REACH = 3.0
_DAMPING = 1e-3

Matrices = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """``points`` of the moving surface, ``scale`` of the weights in mm, rounds, and how many starts go on."""

    points: int
    scale: float
    rounds: int
    keep: int


STAGES = (
    Stage(80, 14.0, 0, 10),
    Stage(80, 11.0, 2, 4),
    Stage(128, 7.0, 3, 2),
    Stage(256, 4.0, 3, 1),
    Stage(400, 2.0, 3, 1),
    Stage(900, 1.0, 3, 1),
)
# Vertebrae are alike and ribs too: a trunk has many places where it nearly fits.
TRUNK_STAGES = (
    Stage(96, 14.0, 0, 16),
    Stage(96, 11.0, 3, 6),
    Stage(160, 7.0, 4, 3),
    Stage(320, 4.0, 4, 2),
    Stage(500, 2.0, 4, 1),
    Stage(900, 1.0, 4, 1),
)


@dataclass(frozen=True, slots=True)
class _Starts:
    """Rigid motions: ``turns`` (b, 3, 3) and ``shifts`` (b, 3)."""

    turns: Matrices
    shifts: Matrices

    def take(self, numbers: NDArray[np.int64]) -> _Starts:
        return _Starts(self.turns[numbers], self.shifts[numbers])


def register(moving: Cloud, fixed: Cloud) -> NDArray[np.float64]:
    """(4, 4) that takes what keeps still of the moving surface onto the fixed one; LPS millimetres."""
    trunks = are_trunks(moving, fixed)
    still = moving.still(trunks)
    all_points, all_normals = moving.points[still], moving.normals[still]
    motions = _starts(moving.points, fixed.points)
    for stage in TRUNK_STAGES if trunks else STAGES:
        points, normals = all_points[: stage.points], all_normals[: stage.points]
        for _ in range(stage.rounds):
            motions = _improved(motions, points, normals, fixed, stage.scale)
        if stage.keep < len(motions.turns):
            costs = _costs(motions, points, normals, fixed, stage.scale)
            motions = motions.take(np.argsort(costs, kind="stable")[: stage.keep])
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = motions.turns[0], motions.shifts[0]
    return result


def _starts(moving: Vector, fixed: Vector) -> _Starts:
    """Turned about each axis or not at all, medians on each other across the body, at several heights."""
    from scipy.spatial.transform import Rotation

    vectors = np.vstack([np.zeros(3), START_DEGREES * np.eye(3), -START_DEGREES * np.eye(3)])
    turns, shifts = [], []
    low, high = fixed.min(axis=0), fixed.max(axis=0)
    for turn in Rotation.from_rotvec(vectors, degrees=True).as_matrix():
        turned = moving @ turn.T
        below, above = low - turned.min(axis=0), high - turned.max(axis=0)
        across = np.median(fixed[:, :2], axis=0) - np.median(turned[:, :2], axis=0)
        count = min(MAX_STARTS_ALONG, 1 + int(np.ceil(abs(above[2] - below[2]) / START_STEP_MM)))
        for height in np.linspace(below[2], above[2], count):
            turns.append(turn)
            shifts.append([*across, height])
    return _Starts(np.array(turns), np.array(shifts))


def _moved(motions: _Starts, points: Vector, normals: Vector) -> tuple[Vector, Vector]:
    turned = points @ motions.turns.transpose(0, 2, 1)
    return turned + motions.shifts[:, None], normals @ motions.turns.transpose(0, 2, 1)


def _costs(motions: _Starts, points: Vector, normals: Vector, fixed: Cloud, scale: float) -> NDArray[np.float64]:
    """(b,) one less the share of points that have a neighbour, of those in the fixed one's field of view."""
    p, n = _moved(motions, points, normals)
    distance, _ = fixed.nearest(p, n, _REACH * scale)
    inside = fixed.box.margin(p) > 0
    found = (np.exp(-0.5 * np.square(distance / scale)) * inside).sum(axis=1)
    return np.asarray(1.0 - found / np.maximum(inside.sum(axis=1), LEAST_OVERLAP * len(points)))


def _improved(motions: _Starts, points: Vector, normals: Vector, fixed: Cloud, scale: float) -> _Starts:
    """One step of Gauss and Newton for each start."""
    from scipy.spatial.transform import Rotation

    p, n = _moved(motions, points, normals)
    distance, number = fixed.nearest(p, n, _REACH * scale)
    weight = np.where(np.isfinite(distance), np.square(scale**2 / (scale**2 + np.square(distance))), 0.0)
    weight *= fixed.box.margin(p) > 0
    difference, normal = p - fixed.points[number], n + fixed.normals[number]
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    centre = p.mean(axis=1, keepdims=True)
    jacobian = np.concatenate([np.cross(p - centre, normal), normal], axis=-1)
    weighted = (jacobian * weight[..., None]).transpose(0, 2, 1)
    # A residual's own scale is the weights': damping keeps starts that see next to nothing where they are.
    left = weighted @ jacobian + _DAMPING * np.eye(6)
    right = weighted @ -(difference * normal).sum(axis=-1, keepdims=True)
    step = np.linalg.solve(left, right)[..., 0]
    turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
    middle = centre[:, 0]
    shifts = (turn @ (motions.shifts - middle)[..., None])[..., 0] + middle + step[:, 3:]
    return _Starts(turn @ motions.turns, shifts)
