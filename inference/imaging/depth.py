"""The face in a head CT or MR as a depth map and as points: what the ``ct-face`` encoder sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.imaging.grid import FieldOfView, Grid, Vector, View, resample
from inference.imaging.head_frame import FacialRegion, Finder, head_frame, shipped_finder
from inference.imaging.pose import FRONTAL_AXES, Pose, head_pose
from inference.imaging.raycast import cast
from inference.imaging.skin import Skin, check_field_of_view, check_hounsfield, find_nose, find_skin
from inference.types import FloatArray, LoadedSeries

__all__ = ["DepthMap", "Face", "Pose", "canonical_pose", "face_depth", "find_face", "frontal_pose"]

Renderer = Literal["auto", "vtk", "cpu"]

FINE_MM = 1.5
# The picture is a square of this many millimetres around the tip of the nose; of it the box of the face is kept.
EXTENT_MM = 200.0
FACE_WIDTH_MM, FACE_HEIGHT_MM = 160.0, 200.0
# Skin that lies further behind the tip, or in front of it, is neck, chest, ear or tube.
BEHIND_MM, BEFORE_MM = 95.0, 15.0
_FAR_MM = 160.0
# Surface closer than this to the edge of the field of view is the edge.
EDGE_MM = 1.5
# Half an edge of the box that is resampled finely: it holds the picture at any turn.
_REACH_MM = 150.0


@dataclass(frozen=True, slots=True)
class Face:
    """A head prepared for views of its face: skin on a fine grid, the threshold between air and skin, and its pose.

    ``region`` bounds the face where landmarks were found; None where its outline alone was seen.
    """

    grid: Grid
    threshold: float
    pose: Pose
    field: FieldOfView
    region: FacialRegion | None = None


@dataclass(frozen=True, slots=True)
class DepthMap:
    """A face seen by an orthographic camera.

    depth
        float32 (size, size): millimetres behind the tip of the nose (negative: before it); 0 where ``mask`` is False.
    mask
        bool (size, size): where there is a face.
    pixel_mm
        edge of a pixel in millimetres. Row 0 is the top; columns grow to the patient's left.
    """

    depth: FloatArray
    mask: NDArray[np.bool_]
    pixel_mm: float
    pose: Pose
    renderer: str

    def points(self) -> Vector:
        """(N, 3) surface points in the head's own frame, millimetres from the tip: right, up, towards the viewer."""
        size = self.mask.shape[0]
        offsets = (np.arange(size) + 0.5 - size / 2) * self.pixel_mm
        rows, columns = np.nonzero(self.mask)
        return np.stack([offsets[columns], -offsets[rows], -self.depth[rows, columns].astype(np.float64)], axis=1)


def find_face(volume: LoadedSeries, threshold: float | None = None, finder: Finder | None = None) -> Face:
    """Finds the face of a head: body, landmarks or nose, and the canonical pose.

    How the slices were acquired does not matter, only the patient coordinate system does; where landmarks are found,
    not even that.

    Parameters
    ----------
    threshold
        lies between air and skin, in the volume's units; None takes -350 HU for CT and Otsu's for MR.
    finder
        of landmarks; None is the one that ships, where one does. Where it finds no face, the nose is sought by the
        outline of a head that looks roughly to anterior.

    Raises
    ------
    ImagingError
        ``NO_SURFACE``, ``NO_FACE``, ``FACE_CUT`` or ``FACE_CUT_AT_BROW``; ``NOT_HOUNSFIELD`` for a CT in other units;
        ``NO_GEOMETRY`` for what is no volume.
    """
    field = FieldOfView.of(volume)
    if volume.modality == "CT":
        check_hounsfield(volume)
    skin = find_skin(volume, threshold)
    finder = finder or shipped_finder()
    frame = None if finder is None else head_frame(finder.find(skin))
    if frame is None:
        pose = head_pose(skin, field, find_nose(skin, field))
        check_field_of_view(field, pose.tip)
        return Face(_fine_grid(volume, skin, pose.tip), skin.threshold, pose, field)
    check_field_of_view(field, frame.pose.tip, frame.pose.axes[1], frame.pose.axes[2])
    pose = head_pose(skin, field, frame.pose.tip, frame.pose.axes)
    return Face(_fine_grid(volume, skin, pose.tip), skin.threshold, pose, field, frame.region)


def canonical_pose(volume: LoadedSeries, threshold: float | None = None) -> Pose:
    """The head's own frame: the same for one head however it was tilted. Raises like :func:`find_face`."""
    return find_face(volume, threshold).pose


def frontal_pose(face: Face) -> Pose:
    """The scanner's axes at the tip of the nose: the face as it lay."""
    return Pose(face.pose.tip, FRONTAL_AXES)


def face_depth(
    volume: LoadedSeries | Face,
    pose: Pose | None = None,
    size: int = 256,
    threshold: float | None = None,
    renderer: Renderer = "auto",
) -> DepthMap:
    """Depth map of the face in a head CT or MR (or of a :class:`Face` found before).

    ``pose`` is where the camera looks from; None is the canonical pose, in which maps of one head match at any tilt.
    ``auto`` takes VTK where it can render without a screen, and otherwise the CPU ray caster with the same result.

    Raises
    ------
    ImagingError
        see :func:`find_face`.
    """
    face = volume if isinstance(volume, Face) else find_face(volume, threshold)
    pose = pose or face.pose
    view = View(pose.tip, pose.axes, size, EXTENT_MM, -_FAR_MM, _FAR_MM)
    chosen = _renderer(renderer)
    if chosen == "vtk":
        from inference.imaging.isosurface import render

        depth, mask = render(face.grid, face.threshold, view)
    else:
        depth, mask = cast(face.grid, face.threshold, view)
    mask = mask & _face_region(view) & (depth <= BEHIND_MM) & (depth >= -BEFORE_MM)
    surface = view.pixel_points() - depth[..., None].astype(np.float64) * view.axes[2]
    mask &= face.field.margin(surface) > EDGE_MM
    if face.region is not None:
        mask &= face.region.contains(surface)
    return DepthMap(np.where(mask, depth, np.float32(0.0)), mask, EXTENT_MM / size, pose, chosen)


def _face_region(view: View) -> NDArray[np.bool_]:
    offsets = np.abs((np.arange(view.size) + 0.5) / view.size - 0.5) * view.extent
    return np.asarray((offsets <= FACE_HEIGHT_MM / 2)[:, None] & (offsets <= FACE_WIDTH_MM / 2)[None, :])


def _fine_grid(volume: LoadedSeries, skin: Skin, tip: Vector) -> Grid:
    """A box around the face with everything that is not near the body set to air."""
    from scipy.ndimage import binary_dilation

    fill = float(skin.grid.values.min())
    fine = resample(volume, FINE_MM, tip - _REACH_MM, tip + _REACH_MM, fill)
    near = _at_voxels_of(fine, skin.grid, binary_dilation(skin.mask, iterations=2))
    return replace(fine, values=np.where(near, fine.values, np.float32(fill)))


def _at_voxels_of(fine: Grid, coarse: Grid, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask on the coarse grid, at the voxels of the fine one; False outside. Both grids have the same axes."""
    indices = []
    for axis, count in enumerate(fine.values.shape):
        start = (fine.origin - coarse.origin)[2 - axis]
        indices.append(np.rint((start + np.arange(count) * fine.spacing) / coarse.spacing).astype(int) + 1)
    padded = np.pad(mask, 1)
    clipped = [np.clip(index, 0, size - 1) for index, size in zip(indices, padded.shape, strict=True)]
    return np.asarray(padded[np.ix_(*clipped)])


@cache
def _vtk_works() -> bool:
    from inference.imaging.isosurface import EGL_PACKAGES, egl_available

    if egl_available():
        return True
    structlog.get_logger(__name__).info(
        "VTK finds no EGL; depth maps come from the CPU ray caster", hint=f"apt-get install {EGL_PACKAGES}"
    )
    return False


def _renderer(wanted: Renderer) -> Literal["vtk", "cpu"]:
    if wanted == "auto":
        return "vtk" if _vtk_works() else "cpu"
    return wanted
