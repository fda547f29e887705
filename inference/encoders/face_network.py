"""Faces in head CT and head MR by a network: the head is found and turned, and the depth image of its face is seen.

CT and MR meet in one space: a depth image knows no units. The bundle of such an encoder says ``network =
"face-network"``, and in ``[input]`` what :class:`FaceInput` holds; the rest is a trained bundle
(:mod:`inference.encoders.bundle`): ``[model]`` with the network and the modalities it takes, ``[serving]``, weights in
safetensors and their ONNX twin.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError, ImagingError
from inference.encoders.bundle import Bundle, Manifest
from inference.encoders.inputs import is_flat, require_pixels
from inference.encoders.runtime import Runtime, open_runtime
from inference.imaging.depth_image import Camera, DepthSpec, Turn
from inference.imaging.regions import part_of
from inference.imaging.skin import SKIN_HU
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader

NETWORK = "face-network"
# The frontal view, and those that may stand beside it; their mean is what serves where ``views`` is more than 1.
VIEWS = (Turn(), Turn(pitch=8.0), Turn(pitch=-8.0), Turn(roll=8.0), Turn(roll=-8.0))


@dataclass(frozen=True, slots=True)
class FaceInput:
    """How a head becomes what the network sees.

    size
        edge of the network's input in pixels: the middle of the depth image, which training cuts out at random.
    views
        how many of :data:`VIEWS` are taken and averaged; each costs a rendering and a pass.
    image, threshold, floor, separate
        see :class:`~inference.imaging.depth_image.DepthSpec`.
    """

    size: int = 224
    views: int = 1
    image: int = 256
    threshold: float = SKIN_HU
    floor: float = 0.0
    separate: bool = False

    def __post_init__(self) -> None:
        if not 32 <= self.size <= self.image:
            raise ValueError(f"size is {self.size}; it goes from 32 to image, which is {self.image}")
        if not 1 <= self.views <= len(VIEWS):
            raise ValueError(f"views is {self.views}; it goes from 1 to {len(VIEWS)}")
        self.depth()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FaceInput:
        """The input of a TOML table; what it leaves out has its default.

        Raises
        ------
        EncoderError
            ``INPUT_SPEC``, naming the key that is unknown or cannot be used.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise EncoderError(f"[input] has no key {', '.join(unknown)}", reason="INPUT_SPEC")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise EncoderError(f"[input] cannot be used: {error}", reason="INPUT_SPEC") from None

    def to_mapping(self) -> dict[str, Any]:
        """Plain numbers: what TOML holds, and :meth:`from_mapping` takes."""
        return asdict(self)

    def depth(self) -> DepthSpec:
        """How its depth images are made."""
        return DepthSpec(self.image, self.threshold, self.floor, self.separate)


def load(bundle: Bundle, device: str, batch_size: int) -> FaceNetworkEncoder:
    """Builds the encoder from its bundle. A head is one pass, of as many views as the bundle says.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` with what is wrong; ``NO_FACE_MASK`` when it needs a bundle that is not there.
    """
    del batch_size
    try:
        spec = FaceInput.from_mapping(bundle.manifest.input)
    except EncoderError as error:
        raise EncoderError(f"bundle {bundle.manifest.name!r}: {error}", reason="BUNDLE_DAMAGED") from None
    return FaceNetworkEncoder(bundle.manifest, spec, open_runtime(bundle, device), Camera.of(spec.depth()))


class FaceNetworkEncoder:
    """An :class:`~inference.encoders.protocol.Encoder`."""

    def __init__(self, manifest: Manifest, spec: FaceInput, runtime: Runtime, camera: Camera) -> None:
        self.name, self.version, self.dimension = manifest.name, manifest.version, manifest.dimension
        self.spec, self._runtime, self._camera = spec, runtime, camera
        self._modalities = manifest.model.modalities if manifest.model else ()
        self._views: Sequence[Turn] = VIEWS[: spec.views]
        self._lock = threading.Lock()

    def seen_from(self, turn: Turn) -> FaceNetworkEncoder:
        """The same encoder with another view in place of its own: for tests of what a pose changes, not to serve."""
        other = copy(self)
        other._views = (turn,)
        return other

    def accepts(self, series: SeriesHeader) -> bool:
        return series.modality in self._modalities

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol; a flat volume gives None.

        Raises
        ------
        ImagingError
            ``ENCODER_KIND`` for what is no volume of a modality that it was trained on; ``NOT_FINITE``, ``NO_PIXELS``;
            ``NO_FACE``, ``FACE_CUT``, ``NO_SURFACE`` and ``NO_GEOMETRY`` as the search for the face names them.
        """
        for image in images:
            self._check(image)
        return [None if is_flat(image) else self._encode(image) for image in images]

    def _check(self, image: LoadedSeries) -> None:
        if image.kind != "volume" or image.modality not in self._modalities:
            raise ImagingError(
                f"the encoder {self.name!r} takes volumes of {' and '.join(self._modalities) or 'nothing'}",
                reason="ENCODER_KIND",
            )
        require_pixels(image)

    def _encode(self, image: LoadedSeries) -> Encoding | None:
        face = self._camera.find(part_of(image, "head"))
        taken = list(self._camera.take(face, self._views))
        features = self._features(np.stack([middle(one.pixels, self.spec.size) for one in taken]))
        length = float(np.linalg.norm(features))
        if not length > 1e-9:
            return None
        return Encoding(
            encoder=self.name,
            version=self.version,
            study_uid=image.study_uid,
            series_uid=image.series_uid,
            vector=(features / length).astype(np.float32),
            quality=taken[0].seen,
            modality=image.modality,
        )

    def _features(self, views: NDArray[np.uint8]) -> FloatArray:
        """float32 (D,) of views (T, size, size): the network takes them for slices of one image, and their mean."""
        planes = np.broadcast_to(views[None, :, None], (1, len(views), 3, *views.shape[1:]))
        # One pass at a time: threads share the network, and its memory is bounded.
        with self._lock:
            found: FloatArray = self._runtime(np.ascontiguousarray(planes), np.zeros(1, np.int64))[0]
        return found


def middle(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The square of ``size`` pixels in the middle of a depth image."""
    edge = (len(pixels) - size) // 2
    return pixels[edge : edge + size, edge : edge + size]
