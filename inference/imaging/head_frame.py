"""Where a face is in a head CT or MR, and which way it looks: from landmarks that a network finds at any turn.

The skin's outline alone tells a face that looks roughly to the front (:func:`inference.imaging.skin.find_nose`).
Where a header lies about how a patient lay, and in heads that are turned far, a network that knows eyes, nose and mouth
from any side gives the pose to start from, and the region that is face. Without its bundle the outline is all there is.

CT and MR come in one form: a silhouette, and a brightness inside it that says little more than dark, middle, bright.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.imaging.grid import Vector
from inference.imaging.pose import Pose
from inference.imaging.skin import Skin
from inference.types import FloatArray

if TYPE_CHECKING:
    from inference.encoders.bundle import Bundle

LANDMARKS = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")
BUNDLE, NETWORK = "face-landmarks", "landmarks-3d"

# Landmarks below this confidence are guesses; a face is believed when all of its landmarks are above.
CONFIDENT = 0.35
# What distances between landmarks a face can have, in millimetres: from a small child's to any adult's.
_EYES, _MOUTH, _EYES_TO_MOUTH, _NOSE_STANDS_OUT = (35.0, 90.0), (20.0, 85.0), (35.0, 95.0), (3.0, 65.0)
# Sideways the middles of eyes and mouth, and the nose, are not further apart.
_ASIDE = 20.0
# Eyes lie deeper than the corners of the mouth: degrees by which the plane through both leans, on average (phantoms).
_LEAN = 14.0
# The facial region, in distances between eyes and mouth below the mouth and above the eyes, and between the eyes aside.
_BELOW, _ABOVE, _BESIDE = 0.9, 1.5, 1.35
# A window is moved on by this share of its edge; whatever is longer than so many windows is no patient.
_STRIDE, _MOST_WINDOWS = 0.5, 24
_CLOSING = 2
_BRIGHTEST = 95


@dataclass(frozen=True, slots=True)
class Landmarks:
    """``points`` (5, 3) LPS millimetres in the order of :data:`LANDMARKS`; ``confidence`` (5,) in [0, 1]."""

    points: Vector
    confidence: NDArray[np.float64]


class Finder(Protocol):
    """What finds landmarks."""

    def find(self, skin: Skin) -> Landmarks: ...


@dataclass(frozen=True, slots=True)
class FacialRegion:
    """A box in a frame: ``low`` and ``high`` (3,) millimetres to the patient's left, up and forwards of the tip."""

    pose: Pose
    low: Vector
    high: Vector

    def contains(self, points: Vector) -> NDArray[np.bool_]:
        """bool (...) of LPS points (..., 3)."""
        own = (points - self.pose.tip) @ self.pose.axes.T
        return np.asarray(((own >= self.low) & (own <= self.high)).all(axis=-1))


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """A face that landmarks agree on: the pose to start from, with the tip of the nose, and the region of the face."""

    landmarks: Landmarks
    pose: Pose
    region: FacialRegion


@dataclass(frozen=True, slots=True)
class Form:
    """The form that CT and MR share: uint8 ``planes`` (2, z, y, x), silhouette and brightness from 0 to 255.

    ``origin`` and ``spacing`` as in :class:`inference.imaging.grid.Grid`.
    """

    planes: NDArray[np.uint8]
    origin: Vector
    spacing: float

    @property
    def bounds(self) -> tuple[Vector, Vector]:
        """Lowest and highest LPS corner of the silhouette."""
        inside = np.argwhere(self.planes[0] > 127)
        low, high = inside.min(axis=0)[::-1], inside.max(axis=0)[::-1]
        return self.origin + low * self.spacing, self.origin + high * self.spacing


def form_of(skin: Skin) -> Form:
    """The shared form of a body.

    The silhouette has neither sinuses nor, in MR, the dark skull left open; brightness runs from the threshold to the
    95th percentile of the body, where CT has bone and MR fat.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes, gaussian_filter

    padded = np.pad(skin.mask, _CLOSING)
    solid = binary_fill_holes(binary_closing(padded, iterations=_CLOSING))
    inner = (slice(_CLOSING, -_CLOSING),) * 3
    silhouette = gaussian_filter(solid[inner].astype(np.float32), 0.6)
    top = float(np.percentile(skin.grid.values[skin.mask], _BRIGHTEST))
    bright = np.clip((skin.grid.values - skin.threshold) / max(top - skin.threshold, 1e-3), 0.0, 1.0)
    planes = np.stack([silhouette, bright])
    return Form(np.rint(planes * 255.0).astype(np.uint8), skin.grid.origin, skin.grid.spacing)


@dataclass(frozen=True, slots=True)
class Window:
    """A cube of ``edge`` voxels of ``spacing`` millimetres around ``middle`` (LPS), turned by ``axes``.

    ``axes`` rows are the LPS directions in which columns, rows and slices of the cube grow.
    """

    middle: Vector
    edge: int
    spacing: float
    axes: NDArray[np.float64]

    def points_of(self, voxels: Vector) -> Vector:
        """LPS of (..., 3) voxels (z, y, x)."""
        offsets = (np.asarray(voxels, np.float64)[..., ::-1] - (self.edge - 1) / 2) * self.spacing
        return np.asarray(self.middle + offsets @ self.axes)

    def voxels_of(self, points: Vector) -> Vector:
        """Voxels (..., 3) (z, y, x) of LPS points."""
        offsets = (points - self.middle) @ self.axes.T / self.spacing
        return np.asarray(offsets[..., ::-1] + (self.edge - 1) / 2)

    def of(self, form: Form) -> FloatArray:
        """float32 (2, edge, edge, edge) in [0, 1]: what the window shows; nothing outside of the form."""
        from scipy.ndimage import affine_transform

        # From (z, y, x) of the window to (z, y, x) of the form.
        matrix = (self.axes.T * self.spacing / form.spacing)[::-1, ::-1]
        corner = (self.points_of(np.zeros(3)) - form.origin)[::-1] / form.spacing
        shape = (self.edge,) * 3
        shown = [
            affine_transform(plane, matrix, corner, shape, output=np.float32, order=1, mode="constant", cval=0.0)
            for plane in form.planes
        ]
        return np.asarray(np.stack(shown) / np.float32(255.0), np.float32)


class LandmarkFinder:
    """Finds landmarks with a network of the name ``landmarks-3d``; a :class:`Finder`.

    Parameters
    ----------
    edge, spacing
        of its input, in voxels and millimetres.
    """

    def __init__(self, network: Any, edge: int, spacing: float, device: str = "cpu") -> None:
        from inference.encoders.device import choose_device

        self._device = choose_device(device)
        self._network = network.to(self._device).eval()
        self.edge, self.spacing = edge, spacing

    def find(self, skin: Skin) -> Landmarks:
        """The landmarks in the window that shows them best, whatever they are worth."""
        return self.find_in(form_of(skin))

    def find_in(self, form: Form) -> Landmarks:
        """As :meth:`find`, in a body that has its form already."""
        found = [self._look(form, middle) for middle in window_middles(form, self.edge * self.spacing)]
        best = max(found, key=lambda one: float(one.confidence.mean()))
        # What lies at the edge of a window is seen better from its middle.
        near = float(np.abs(best.points - np.median(best.points, axis=0)).max())
        if len(found) > 1 and near < self.edge * self.spacing / 2:
            best = max(best, self._look(form, best.points.mean(axis=0)), key=lambda one: float(one.confidence.mean()))
        return best

    def _look(self, form: Form, middle: Vector) -> Landmarks:
        import torch

        from inference.encoders.device import inference_pass
        from inference.networks.landmarks import peaks

        window = Window(middle, self.edge, self.spacing, np.eye(3))
        with inference_pass(self._device):
            maps = self._network(torch.from_numpy(window.of(form))[None].to(self._device))
            places, confidence = (part[0].float().cpu().numpy() for part in peaks(maps.float()))
        return Landmarks(window.points_of(places), confidence.astype(np.float64))


def window_middles(form: Form, extent: float) -> list[Vector]:
    """LPS middles of windows of ``extent`` millimetres that cover a body along its longest axis."""
    low, high = form.bounds
    size = high - low
    axis = int(size.argmax())
    if size[axis] <= extent:
        return [np.asarray((low + high) / 2)]
    count = min(_MOST_WINDOWS, int(np.ceil((size[axis] - extent) / (_STRIDE * extent))) + 1)
    places = np.linspace(low[axis] + extent / 2, high[axis] - extent / 2, count)
    inside = form.origin + np.argwhere(form.planes[0] > 127)[:, ::-1] * form.spacing
    middles = []
    for place in places:
        part = inside[np.abs(inside[:, axis] - place) <= extent / 2]
        if len(part):
            middle = part.mean(axis=0)
            middle[axis] = place
            middles.append(middle)
    return middles


def head_frame(landmarks: Landmarks) -> HeadFrame | None:
    """The frame of a face; None where the landmarks are guesses, or lie as in no face."""
    if float(landmarks.confidence.min()) < CONFIDENT:
        return None
    left_eye, right_eye, tip, left_corner, right_corner = landmarks.points
    eyes, mouth = (left_eye + right_eye) / 2, (left_corner + right_corner) / 2
    right = _unit(_unit(left_eye - right_eye) + _unit(left_corner - right_corner))
    upward = (eyes - mouth) - ((eyes - mouth) @ right) * right
    distances = (
        (float(np.linalg.norm(left_eye - right_eye)), _EYES),
        (float(np.linalg.norm(left_corner - right_corner)), _MOUTH),
        (float(np.linalg.norm(upward)), _EYES_TO_MOUTH),
        (float((tip - (eyes + mouth) / 2) @ np.cross(right, _unit(upward))), _NOSE_STANDS_OUT),
    )
    aside = max(abs(float((tip - eyes) @ right)), abs(float((tip - mouth) @ right)))
    if aside > _ASIDE or not all(low <= value <= high for value, (low, high) in distances):
        return None
    pose = Pose(tip, _upright(right, _unit(upward)))
    own = (landmarks.points - tip) @ pose.axes.T
    down, up = own[3:, 1].mean(), own[:2, 1].mean()
    wide, long = distances[0][0], up - down
    low = np.array([-_BESIDE * wide, down - _BELOW * long, -np.inf])
    return HeadFrame(landmarks, pose, FacialRegion(pose, low, np.array([_BESIDE * wide, up + _ABOVE * long, np.inf])))


def load_finder(folder: Path, device: str = "cpu") -> LandmarkFinder:
    """The finder of a bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when it cannot be used, or holds another network.
    """
    from inference.encoders.bundle import Bundle
    from inference.encoders.runtime import load_network

    bundle = Bundle.read(folder)
    edge, spacing = _input_of(bundle)
    return LandmarkFinder(load_network(bundle), edge, spacing, device)


@cache
def shipped_finder() -> LandmarkFinder | None:
    """The finder of the bundle that ships with MedReID; None where there is none."""
    folder = imaging_bundles() / BUNDLE
    return load_finder(folder) if folder.is_dir() else None


def imaging_bundles() -> Path:
    """The folder of bundles that find things in images. They embed nothing: no registry of encoders lists them."""
    return Path(str(resources.files("inference.imaging"))) / "bundles"


def _input_of(bundle: Bundle) -> tuple[int, float]:
    manifest = bundle.manifest
    edge, spacing = manifest.input.get("edge"), manifest.input.get("spacing")
    sound = isinstance(edge, int) and 16 <= edge <= 256 and isinstance(spacing, float) and 1.0 <= spacing <= 16.0
    if manifest.model is None or manifest.model.name != NETWORK or manifest.dimension != len(LANDMARKS) or not sound:
        raise EncoderError(
            f"bundle {manifest.name!r} holds no network {NETWORK!r} of {len(LANDMARKS)} landmarks with its edge and "
            "spacing; remove it",
            reason="BUNDLE_DAMAGED",
        )
    assert isinstance(edge, int) and isinstance(spacing, float)
    return edge, spacing


def _upright(right: Vector, up: Vector) -> NDArray[np.float64]:
    """Axes of the head, from the plane through eyes and mouth, which leans."""
    forward, lean = np.cross(right, up), np.radians(_LEAN)
    return np.array(
        [right, np.cos(lean) * up + np.sin(lean) * forward, np.cos(lean) * forward - np.sin(lean) * up],
    )


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
