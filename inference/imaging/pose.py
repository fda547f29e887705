"""Which way a head looks: a frame at the tip of the nose that turns with the head.

Everything is found on the outer skin near the nose, by measures that do not depend on how the head lay: the tip by an
integral invariant (the share of body in a ball around it; Manay et al. 2006), roll and yaw by the plane that mirrors
the surface onto itself best, pitch by the plane through the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import FieldOfView, Grid, Vector
from inference.imaging.rejections import refuse
from inference.imaging.skin import MAX_SIDE, MIN_SIDE, NOSE_HALF_WIDTH, Skin
from inference.types import FloatArray

# Rows: the picture's right (the patient's left), up (superior), towards the viewer (anterior), in LPS.
FRONTAL_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

# Radius around the tip of the nose within which the face is nearly rigid and nearly always in the field of view.
FACE_RADIUS = 65.0
# How far the tip may be from where the nose was seen first, and the ball that tells it from what is around it.
TIP_RADIUS, BALL_MM = 32.0, 9.0
# Skin closer than this to the edge of the field of view may be the edge itself.
EDGE_MM = 3.0
_MARGIN_MM = 20.0
_CLOSING, _OPENING = 3, 2
_MIN_POINTS = 200
# The tip is where the few foremost points around the first guess are, once it is known which way the face looks.
TIP_SLACK, _FOREMOST, _ROUNDS = 15.0, 12, 2
# Search for the plane of symmetry: degrees, probed points, and the distance beyond which one is an outlier.
_YAWS, _ROLLS = np.arange(-30.0, 31.0, 6.0), np.arange(-25.0, 26.0, 6.25)
_PROBES, _OUTLIER_MM = 500, 6.0
# How far around the tip, and around what is compared with it, the height of a nose is taken, in millimetres.
_NOSE_REACH = 8.0


@dataclass(frozen=True, slots=True)
class Pose:
    """A head's own frame: ``tip`` of the nose in LPS millimetres; ``axes`` rows are right, up, towards the viewer."""

    tip: Vector
    axes: NDArray[np.float64]

    def turned(self, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> Pose:
        """The pose seen from a camera turned by degrees about right (pitch), up (yaw) and viewing axis (roll)."""
        from scipy.spatial.transform import Rotation

        turn = Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).as_matrix()
        return Pose(self.tip, turn @ self.axes)


def angle_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Degrees of the rotation between two frames."""
    cosine = (np.trace(first @ second.T) - 1.0) / 2.0
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def head_pose(skin: Skin, field: FieldOfView, nose: Vector, axes: NDArray[np.float64] | None = None) -> Pose:
    """The pose of a head whose nose was seen near ``nose`` (LPS millimetres).

    ``axes`` is about how the head lies (as in :class:`Pose`); None is a head that looks roughly to anterior.
    """
    points, shares = _outer_skin(skin, nose)
    sound = field.margin(points) > EDGE_MM
    points, shares = points[sound], shares[sound]
    if axes is None:
        return _refined(points, shares, nose)
    # Laid straight, a head in any position is one that looks to anterior.
    turn = FRONTAL_AXES.T @ axes
    straight = _refined((points - nose) @ turn.T, shares, np.zeros(3))
    return Pose(turn.T @ straight.tip + nose, straight.axes @ turn)


def _refined(points: Vector, shares: FloatArray, nose: Vector) -> Pose:
    near = np.linalg.norm(points - nose, axis=1) < TIP_RADIUS
    if not near.any():
        return Pose(nose, FRONTAL_AXES)
    # The mean of the most protruding few is steadier than the single one.
    pose = Pose(points[near][np.argsort(shares[near])[:_FOREMOST]].mean(axis=0), FRONTAL_AXES)
    for _ in range(_ROUNDS):
        pose = _frame_of(points, pose.tip)
    _check_nose(points, pose)
    return pose


def _check_nose(points: Vector, pose: Pose) -> None:
    """Raises ``NO_FACE`` when what stood out, seen from the front, does not when seen from before its own face."""
    right, up, forward = ((points - pose.tip) @ pose.axes.T).T
    at_tip = forward[np.hypot(right, up) < _NOSE_REACH]
    level = (np.abs(up) < _NOSE_REACH) & (forward > -MAX_SIDE)
    for side in (-NOSE_HALF_WIDTH, NOSE_HALF_WIDTH):
        beside = forward[level & (np.abs(right - side) < _NOSE_REACH / 2)]
        if len(at_tip) and len(beside) and float(at_tip.max() - np.median(beside)) < MIN_SIDE:
            raise refuse("NO_FACE", "what stands out of the skin does not do so as a nose in a face")


def _outer_skin(skin: Skin, nose: Vector) -> tuple[Vector, FloatArray]:
    """(N, 3) LPS points of the skin around the nose, nostrils and mouth closed and tubes removed, and for each the
    share of body in a ball (a Gaussian one) around it: one half on a plane, less on what protrudes."""
    from scipy.ndimage import (
        binary_closing,
        binary_opening,
        gaussian_filter,
        generate_binary_structure,
        map_coordinates,
    )
    from skimage import measure

    marching_cubes: Any = measure.marching_cubes  # typed only in part

    reach = FACE_RADIUS + TIP_RADIUS + _MARGIN_MM
    mask, box = _crop(skin, nose, reach)
    ball = generate_binary_structure(3, 2)
    padded = np.pad(mask, _CLOSING, mode="edge")
    closed = binary_closing(padded, ball, iterations=_CLOSING)
    solid = binary_opening(closed, ball, iterations=_OPENING)
    solid = solid[_CLOSING:-_CLOSING, _CLOSING:-_CLOSING, _CLOSING:-_CLOSING].astype(np.float32)
    smooth = gaussian_filter(solid, 1.0)
    if not smooth.min() < 0.5 < smooth.max():
        return np.empty((0, 3)), np.empty(0, dtype=np.float32)
    vertices = np.asarray(marching_cubes(smooth, 0.5)[0], dtype=np.float64)
    shares = map_coordinates(gaussian_filter(solid, BALL_MM / skin.grid.spacing), vertices.T, order=1)
    return box.point_of(vertices), shares


def _crop(skin: Skin, centre: Vector, reach: float) -> tuple[NDArray[np.bool_], Grid]:
    index = skin.grid.index_of(centre)
    count = int(reach / skin.grid.spacing)
    low = np.maximum(np.rint(index).astype(int) - count, 0)
    high = np.minimum(np.rint(index).astype(int) + count + 1, skin.mask.shape)
    part = tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return skin.mask[part], Grid(skin.grid.values[part], skin.grid.point_of(low), skin.grid.spacing)


def _frame_of(points: Vector, tip: Vector) -> Pose:
    """The pose of a face from the skin around the tip of its nose."""
    face = points[np.linalg.norm(points - tip, axis=1) < FACE_RADIUS]
    if len(face) < _MIN_POINTS:
        return Pose(tip, FRONTAL_AXES)
    right, offset = _symmetry_plane(face, tip)
    toward = np.linalg.eigh(np.cov(face.T))[1][:, 0]
    toward = toward * np.sign(toward @ FRONTAL_AXES[2])
    toward = toward - (toward @ right) * right
    toward = toward / np.linalg.norm(toward)
    around = points[np.linalg.norm(points - tip, axis=1) < TIP_SLACK]
    foremost = around[np.argsort(around @ toward)[-_FOREMOST:]].mean(axis=0)
    return Pose(foremost - (foremost @ right - offset) * right, np.array([right, np.cross(toward, right), toward]))


def _symmetry_plane(points: Vector, tip: Vector) -> tuple[Vector, float]:
    """(normal, offset) of the plane near the tip about which the points are most symmetric, normal to the left.

    A face is round, and a plane turned about its vertical axis mirrors most of it onto itself as well: descent alone
    stops anywhere, so a coarse search over all turns comes first.
    """
    from scipy.optimize import minimize
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    probes = points[:: max(1, len(points) // _PROBES)]

    def asymmetry(turn: NDArray[np.float64]) -> float:
        normal = _turned_left(turn[0], turn[1])
        mirrored = probes - 2.0 * ((probes - tip) @ normal - turn[2])[:, None] * normal
        distance = tree.query(mirrored, distance_upper_bound=_OUTLIER_MM)[0]
        return float(np.minimum(distance, _OUTLIER_MM).mean())

    turns = [np.array([yaw, roll, 0.0]) for yaw in _YAWS for roll in _ROLLS]
    start = min(turns, key=asymmetry)
    simplex = start + np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    best = minimize(
        asymmetry, start, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 120, "xatol": 0.05}
    ).x
    normal = _turned_left(best[0], best[1])
    return normal, float(tip @ normal + best[2])


def _turned_left(yaw: float, roll: float) -> Vector:
    """The patient's left, turned by degrees about the vertical and the viewing axis."""
    first, second = np.radians(yaw), np.radians(roll)
    return np.array([np.cos(first) * np.cos(second), np.sin(first) * np.cos(second), np.sin(second)])
