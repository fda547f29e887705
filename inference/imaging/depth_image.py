"""A face as an 8-bit depth image, from a camera at any turn: what networks of faces are trained on, and see.

The head is found and turned to its own frame (:mod:`inference.imaging.depth`), its skin rendered from there, and the
depth put on the grey scale of depth cameras: what is near is bright, what is no face is 0. What is face is decided in
the face's own frame, so that every camera sees the same piece of skin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.imaging.depth import (
    BEFORE_MM,
    BEHIND_MM,
    EDGE_MM,
    EXTENT_MM,
    FACE_HEIGHT_MM,
    FACE_WIDTH_MM,
    DepthMap,
    Face,
    Renderer,
    find_face,
)
from inference.imaging.grid import Vector, View
from inference.imaging.skin import SKIN_HU
from inference.types import FloatArray, LoadedSeries

__all__ = ["Camera", "DepthImage", "DepthSpec", "Separate", "Turn", "adjusted", "depth_image", "seen_share"]

# Keeps the skin of the face in a depth map: bool (size, size), True where it is face.
Separate = Callable[[DepthMap], NDArray[np.bool_]]

# Millimetres from the tip of the nose, towards the camera and away from it, that the greys cover. A face that is
# turned by 20 degrees comes 35 mm closer with its forehead or its chin.
_NEAR_MM, _FAR_MM = -60.0, 115.0
# The grey that is brightest after adjustment: that of the nearest pixels but these, which a tube may be.
_NEAREST_PERCENT = 0.5
# Where a face is seen that can be recognised, in millimetres from the tip of the nose: eyes to upper lip.
_HALF_WIDTH, _LOWEST, _HIGHEST = 50.0, -40.0, 60.0


class Turn(NamedTuple):
    """How a camera is turned from the face's own frame, in degrees (:meth:`inference.imaging.pose.Pose.turned`)."""

    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0

    @property
    def name(self) -> str:
        """Tenths of degrees in letters and digits, as file names and views have them: ``P150Y000R-56``."""
        return f"P{round(10 * self.pitch):03d}Y{round(10 * self.yaw):03d}R{round(10 * self.roll):03d}"


@dataclass(frozen=True, slots=True)
class DepthSpec:
    """How depth images are made; a change makes other images, and other embeddings.

    image
        edge in pixels.
    threshold
        Hounsfield units between air and skin, -400 to -300; MR has no units, and its threshold is found in it.
    floor
        grey below which there is nothing, theta in NX = 255 (SX - theta) / (max SX - theta).
    separate
        whether the network that knows a face (:mod:`inference.imaging.face_mask`) drops all that is none.
    """

    image: int = 256
    threshold: float = SKIN_HU
    floor: float = 0.0
    separate: bool = False

    def __post_init__(self) -> None:
        if not 32 <= self.image <= 1024:
            raise ValueError(f"image is {self.image}; it goes from 32 to 1024")
        if not -400 <= self.threshold <= -300:
            raise ValueError(f"threshold is {self.threshold:g} HU; skin begins between -400 and -300")
        if not 0 <= self.floor <= 128:
            raise ValueError(f"floor is {self.floor:g}; it goes from 0 to 128")


@dataclass(frozen=True, slots=True)
class DepthImage:
    """``pixels`` uint8 (image, image), 0 where there is no face; ``seen`` the share of its middle that there is."""

    pixels: NDArray[np.uint8]
    seen: float


class Camera:
    """Finds faces and takes depth images of them.

    Parameters
    ----------
    separate
        drops what is no face from a depth map (neck, hands, tubes); None keeps all that was rendered. :meth:`of` takes
        the one that ships.
    """

    def __init__(self, spec: DepthSpec, separate: Separate | None = None, renderer: Renderer = "auto") -> None:
        self.spec, self._separate, self._renderer = spec, separate, renderer

    @classmethod
    def of(cls, spec: DepthSpec) -> Camera:
        """A camera with the separator that ships, where the spec wants one.

        Raises
        ------
        EncoderError
            ``NO_FACE_MASK`` when there is none.
        """
        if not spec.separate:
            return cls(spec)
        from inference.imaging.face_mask import BUNDLE, shipped_separator

        separator = shipped_separator()
        if separator is None:
            raise EncoderError(f"there is no bundle {BUNDLE!r}, which separates faces; add it", reason="NO_FACE_MASK")
        return cls(spec, separator)

    def find(self, volume: LoadedSeries) -> Face:
        """The face of a head CT or MR; raises ImagingError as :func:`~inference.imaging.depth.find_face` does."""
        return find_face(volume, self.spec.threshold if volume.modality == "CT" else None)

    def take(self, face: Face, turns: Sequence[Turn]) -> Iterator[DepthImage]:
        """The face from cameras that are turned from its own frame, one after another."""
        for found in self._maps(face, turns):
            mask = found.mask if self._separate is None else found.mask & self._separate(found)
            yield DepthImage(depth_image(found.depth, mask, self.spec.floor), seen_share(mask, found.pixel_mm))

    def _maps(self, face: Face, turns: Sequence[Turn]) -> Iterator[DepthMap]:
        poses = [face.pose.turned(*turn) for turn in turns]
        views = [View(pose.tip, pose.axes, self.spec.image, EXTENT_MM, _NEAR_MM, _FAR_MM) for pose in poses]
        renderer, rendered = _rendered(face, views, self._renderer)
        for pose, view, (depth, mask) in zip(poses, views, rendered, strict=True):
            surface = view.pixel_points() - depth[..., None].astype(np.float64) * view.axes[2]
            shown = mask & _of_face(face, surface) & (face.field.margin(surface) > EDGE_MM)
            pixel = EXTENT_MM / self.spec.image
            yield DepthMap(np.where(shown, depth, np.float32(0.0)), shown, pixel, pose, renderer)


def _rendered(
    face: Face, views: Sequence[View], wanted: Renderer
) -> tuple[str, Iterator[tuple[FloatArray, NDArray[np.bool_]]]]:
    """Depth and mask of each view, and by what: VTK where it can render without a screen, else the ray caster."""
    from inference.imaging.isosurface import egl_available, renderings
    from inference.imaging.raycast import cast

    if wanted == "vtk" or (wanted == "auto" and egl_available()):
        return "vtk", renderings(face.grid, face.threshold, views)
    return "cpu", (cast(face.grid, face.threshold, view) for view in views)


def _of_face(face: Face, points: Vector) -> NDArray[np.bool_]:
    """Which of (..., 3) LPS points lie in the box of the face in its own frame, and in the region of its landmarks."""
    right, up, towards = np.moveaxis((points - face.pose.tip) @ face.pose.axes.T, -1, 0)
    inside = (np.abs(right) <= FACE_WIDTH_MM / 2) & (np.abs(up) <= FACE_HEIGHT_MM / 2)
    inside &= (towards <= BEFORE_MM) & (towards >= -BEHIND_MM)
    return np.asarray(inside if face.region is None else inside & face.region.contains(points))


def depth_image(depth: FloatArray, mask: NDArray[np.bool_], floor: float = 0.0) -> NDArray[np.uint8]:
    """uint8 (size, size) of millimetres from the tip of the nose: near is bright, 0 where ``mask`` is False.

    Adjusted in intensity above ``floor``.
    """
    grey = 255.0 * (_FAR_MM - depth.astype(np.float64)) / (_FAR_MM - _NEAR_MM)
    return adjusted(np.where(mask, np.clip(grey, 0.0, 255.0), 0.0), floor)


def adjusted(grey: NDArray[np.float64], floor: float) -> NDArray[np.uint8]:
    """NX = 255 (SX - theta) / (max SX - theta), where SX is above theta, else 0.

    CT depths fill a part of the range of a depth camera's; stretched, either kind of image looks like the other. The
    brightest is 255 wherever the head was, so that the distance to the camera says nothing.
    """
    shown = grey > floor
    if not shown.any():
        return np.zeros(grey.shape, np.uint8)
    most = float(np.percentile(grey[shown], 100.0 - _NEAREST_PERCENT))
    stretched = 255.0 * (grey - floor) / max(most - floor, 1e-6)
    # What is face is not 0, which means none.
    return np.where(shown, np.clip(np.rint(stretched), 1, 255), 0).astype(np.uint8)


def seen_share(mask: NDArray[np.bool_], pixel_mm: float) -> float:
    """The share of the middle of the face, eyes to upper lip, that a mask (size, size) around the nose shows."""
    offsets = (np.arange(len(mask)) + 0.5 - len(mask) / 2) * pixel_mm
    rows = (-offsets >= _LOWEST) & (-offsets <= _HIGHEST)
    columns = np.abs(offsets) <= _HALF_WIDTH
    return float(mask[np.ix_(rows, columns)].mean())
