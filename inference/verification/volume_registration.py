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

# The scans of one patient begin and end elsewhere: starts reach from equal lower to equal upper ends.
MAX_STARTS_ALONG = 60
# A start is judged as if at least this share of its points were in the other's field of view.
LEAST_OVERLAP = 0.35
_REACH = 3.0
_DAMPING = 1e-3

Matrices = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """``points`` of the moving surface, ``scale`` of the weights in mm, rounds, and how many starts go on.

    ``still`` stages look only at points that keep still against each other.
    """

    points: int
    scale: float
    rounds: int
    keep: int
    still: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Starts are turned by ``degrees`` about each axis (descent finds as much again) and lie ``step`` mm apart."""

    degrees: float
    step: float
    stages: tuple[Stage, ...]


HEAD = Plan(
    degrees=20.0,
    step=12.0,
    stages=(
        Stage(80, 14.0, 0, 10),
        Stage(80, 11.0, 2, 4),
        Stage(128, 7.0, 3, 2),
        Stage(256, 4.0, 3, 1),
        Stage(400, 2.0, 3, 1),
        Stage(900, 1.0, 3, 1),
    ),
)
# Vertebrae are alike and ribs too: a trunk nearly fits in many places, and only all of it tells them apart.
TRUNK = Plan(
    degrees=14.0,
    step=8.0,
    stages=(
        Stage(128, 12.0, 0, 36),
        Stage(128, 10.0, 3, 14),
        Stage(200, 7.0, 4, 7),
        Stage(320, 4.0, 4, 2),
        Stage(500, 2.0, 4, 1, still=True),
        Stage(900, 1.0, 3, 1, still=True),
    ),
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
    plan = TRUNK if trunks else HEAD
    still = moving.still(trunks)
    motions = _starts(moving, fixed, trunks, plan)
    for stage in plan.stages:
        used = np.flatnonzero(still if stage.still else np.ones(len(moving), bool))[: stage.points]
        points, normals = moving.points[used], moving.normals[used]
        for _ in range(stage.rounds):
            motions = _improved(motions, points, normals, fixed, stage.scale)
        if stage.keep < len(motions.turns):
            costs = _costs(motions, points, normals, fixed, stage.scale)
            motions = motions.take(np.argsort(costs, kind="stable")[: stage.keep])
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = motions.turns[0], motions.shifts[0]
    return result


def _starts(moving: Cloud, fixed: Cloud, trunks: bool, plan: Plan) -> _Starts:
    """Turned about each axis or not at all, the bodies' axes on each other, at several heights."""
    from scipy.spatial.transform import Rotation

    vectors = plan.degrees * np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    low, high = fixed.points[:, 2].min(), fixed.points[:, 2].max()
    pivot = np.array([*moving.middle(trunks), moving.points[:, 2].mean()])
    target = fixed.middle(trunks)
    turns, shifts = [], []
    for turn in Rotation.from_rotvec(vectors, degrees=True).as_matrix():
        heights = moving.points @ turn[2]
        across = target - (turn @ pivot)[:2]
        below, above = float(low - heights.min()), float(high - heights.max())
        count = min(MAX_STARTS_ALONG, 1 + int(np.ceil(abs(above - below) / plan.step)))
        turns += [turn] * count
        shifts += [[*across, height] for height in np.linspace(below, above, count)]
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
