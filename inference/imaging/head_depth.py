"""The two surfaces of one head CT as depth maps: its skin, and its bone.

A map of bone must not know the face that it is compared with. Its place and its zero are therefore found on bone alone,
never at the tip of the nose, which would say how far the nose stands out. Only which way the head looks may come from
the skin, where there is some; a dry skull is taken to look along the scanner's axes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from config.errors import ImagingError
from inference.imaging.depth import EXTENT_MM, FINE_MM, DepthMap, Face, Renderer, face_depth, find_face
from inference.imaging.grid import FieldOfView, Grid, Vector, View, bounds_of, resample
from inference.imaging.pose import FRONTAL_AXES, Pose
from inference.imaging.raycast import cast
from inference.imaging.rejections import refuse
from inference.imaging.skin import AIR_HU, COARSE_MM, MAX_VOXELS
from inference.types import LoadedSeries

__all__ = ["BONE_HU", "bone_depth", "find_skull", "skin_depth"]

BONE_HU = 250.0
# The least of bone that is a skull: a face without its vault.
MIN_BONE_ML = 60.0
# Why a head that has no face in view may still have a skull in it: a dry one lies in air, and has nothing like water.
_WITHOUT_FACE = frozenset({"NO_FACE", "FACE_CUT", "NO_SURFACE", "NOT_HOUNSFIELD"})
_AIR, _LEAST_AIR = -800.0, 0.3
# The facial skeleton lies within these millimetres behind its foremost point, of which so many percent are in front.
_FACE_MM, _FRONT_PERCENT = 70.0, 2.0
_REACH_MM, _FAR_MM = 150.0, 160.0
_ROUGH, _ROUNDS = 64, 4


def skin_depth(volume: LoadedSeries, size: int = 256, renderer: Renderer = "auto") -> DepthMap:
    """The face of a head CT in the head's own frame; raises what :func:`inference.imaging.depth.find_face` does."""
    return face_depth(volume, None, size, renderer=renderer)


def bone_depth(volume: LoadedSeries | Face, size: int = 256, renderer: Renderer = "auto") -> DepthMap:
    """The skull in a head CT (or one found before), seen from in front; depth 0 is near its foremost bone.

    Raises
    ------
    ImagingError
        see :func:`find_skull`.
    """
    skull = volume if isinstance(volume, Face) else find_skull(volume)
    return face_depth(skull, None, size, renderer=renderer)


def find_skull(volume: LoadedSeries) -> Face:
    """The skull of a head CT, with soft tissue or without: its threshold is that of bone, its pose stands on bone.

    Raises
    ------
    ImagingError
        ``NO_SURFACE`` where no bone as large as a skull is in view, or the volume is no CT; ``NO_FACE`` where the field
        of view is larger than any patient; ``NO_GEOMETRY`` for what is no volume.
    """
    if volume.kind == "volume" and volume.modality != "CT":
        raise refuse("NO_SURFACE", "bone is told from soft tissue by its Hounsfield units, which only CT has")
    try:
        face = find_face(volume)
    except ImagingError as error:
        if error.reason not in _WITHOUT_FACE or float((volume.pixels < _AIR).mean()) < _LEAST_AIR:
            raise
        grid, start = _around_bone(volume)
        return Face(grid, BONE_HU, _pose_of(grid, FRONTAL_AXES, start), FieldOfView.of(volume))
    return replace(face, threshold=BONE_HU, pose=_pose_of(face.grid, face.pose.axes, face.pose.tip))


def _around_bone(volume: LoadedSeries) -> tuple[Grid, Vector]:
    """A fine box around the front of the largest bone, and a point there."""
    from scipy.ndimage import label

    low, high = bounds_of(volume)
    if float(np.prod((high - low) / COARSE_MM)) > MAX_VOXELS:
        raise refuse("NO_FACE", "the field of view is larger than any patient")
    coarse = resample(volume, COARSE_MM, low, high, AIR_HU)
    labels, count = label(coarse.values >= BONE_HU)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    if sizes.max() * COARSE_MM**3 / 1000.0 < MIN_BONE_ML:
        raise refuse("NO_SURFACE", f"no bone as large as {MIN_BONE_ML:.0f} ml is above {BONE_HU:.0f} HU")
    points = coarse.point_of(np.argwhere(labels == int(sizes.argmax())).astype(np.float64))
    front = points[points[:, 1] < points[:, 1].min() + _FACE_MM]
    start = np.array([front[:, 0].mean(), front[:, 1].min(), front[:, 2].mean()])
    return resample(volume, FINE_MM, start - _REACH_MM, start + _REACH_MM, AIR_HU), start


def _pose_of(grid: Grid, axes: Vector, start: Vector) -> Pose:
    """Where the facial skeleton is: the mean of what is seen of it, moved until it stays, and its foremost bone."""
    pose = Pose(np.asarray(start, np.float64), axes)
    for _ in range(_ROUNDS):
        view = View(pose.tip, pose.axes, _ROUGH, EXTENT_MM, -_FAR_MM, _FAR_MM)
        depth, mask = cast(grid, BONE_HU, view)
        if not mask.any():
            raise refuse("NO_SURFACE", f"nothing above {BONE_HU:.0f} HU is in view")
        foremost = float(np.percentile(depth[mask], _FRONT_PERCENT))
        rows, columns = np.nonzero(mask & (depth < foremost + _FACE_MM))
        offsets = (np.arange(_ROUGH) + 0.5 - _ROUGH / 2) * EXTENT_MM / _ROUGH
        move = np.array([offsets[columns].mean(), -offsets[rows].mean(), -foremost])
        pose = replace(pose, tip=pose.tip + move @ pose.axes)
    return pose
