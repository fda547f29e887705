"""The neural boneprint: chest radiographs and volume-rendered CT in one space, by the bones both show.

A radiograph is cut to its chest; so is a rendering, whether a workstation made it or it was rendered here of a CT
series. The bundle's network (:mod:`inference.networks`, ``boneprint-*``) is told on which side each picture is.
Encodings of CT series and of renderings are of one kind, ``CT-VR``, because they show the same.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from config.errors import EncoderError, ImagingError
from inference.encoders.bundle import Bundle, Manifest
from inference.encoders.common import encoding_of
from inference.encoders.families import canonical_modality, canonical_view
from inference.encoders.inputs import InputSpec, is_flat, prepare, require_pixels
from inference.encoders.runtime import Runtime, open_runtime
from inference.imaging.bone_view import SIZE, Renderer, bone_view
from inference.imaging.regions import part_of
from inference.networks.boneprint_sides import SIDES, Side
from inference.types import Encoding, LoadedSeries, SeriesHeader

# What each canonical modality is to the network.
_SIDE_OF: dict[str, Side] = {"DX": "radiograph", "CT": "rendering", "CT-VR": "rendering"}


def load(bundle: Bundle, device: str, batch_size: int) -> BoneprintEncoder:
    """Builds the encoder from its bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` with what is wrong.
    """
    try:
        spec = InputSpec.from_mapping(bundle.manifest.input)
    except EncoderError as error:
        raise EncoderError(f"bundle {bundle.manifest.name!r}: {error}", reason="BUNDLE_DAMAGED") from None
    return BoneprintEncoder(bundle.manifest, spec, open_runtime(bundle, device), batch_size)


class BoneprintEncoder:
    """An :class:`~inference.encoders.protocol.Encoder` of frontal chest radiographs, chest CT and renderings of it."""

    def __init__(
        self, manifest: Manifest, spec: InputSpec, runtime: Runtime, batch_size: int, renderer: Renderer = "auto"
    ) -> None:
        self.name, self.version, self.dimension = manifest.name, manifest.version, manifest.dimension
        self.spec, self._runtime, self._batch_size = spec, runtime, batch_size
        self._renderer: Renderer = renderer
        self._lock = threading.Lock()

    def accepts(self, series: SeriesHeader) -> bool:
        from inference.imaging.series import kind_of

        if not series.instances:
            return False
        kind = kind_of(series.instances[0])
        # Whether a capture is a radiograph is seen in its pixels alone.
        return kind == "capture" or canonical_modality(series.modality, kind or "") in _SIDE_OF

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol; reasons are ``ENCODER_KIND`` (no chest radiograph, CT or rendering of CT),
        ``NOT_FRONTAL`` (a lateral film), those of :func:`~inference.imaging.bone_view.bone_view`, ``NOT_FINITE`` and
        ``NO_PIXELS``. A flat image gives None.
        """
        sides = [self._side(image) for image in images]
        for image in images:
            require_pixels(image)
        encodings: list[Encoding | None] = [None] * len(images)
        seen = [n for n, image in enumerate(images) if not is_flat(image)]
        for start in range(0, len(seen), self._batch_size):
            places = seen[start : start + self._batch_size]
            pictures = [self.picture(images[n]) for n in places]
            stack = np.stack([prepare(picture, self.spec) for picture in pictures])
            numbers = np.array([SIDES.index(sides[n]) for n in places], np.int64)
            # One pass at a time: threads share the network, and its memory is bounded by the batch.
            with self._lock:
                vectors = self._runtime(stack, numbers)
            for n, picture, vector in zip(places, pictures, vectors, strict=True):
                encodings[n] = encoding_of(picture, self.name, self.version, vector)
        return encodings

    def picture(self, image: LoadedSeries) -> LoadedSeries:
        """The picture of the chest that the network sees of an image: a radiograph, or a ``photograph`` of bones."""
        from inference.imaging.chest_picture import chest_picture

        if image.kind != "volume":
            return chest_picture(image)
        view = bone_view(part_of(image, "chest"), max(SIZE, self.spec.size), self._renderer)
        shown = replace(image, kind="photograph", pixels=view.pixels, affine=None, spacing=(float("nan"),) * 2)
        # Framed like a workstation's rendering of it, which has no vertebrae to go by.
        return chest_picture(shown)

    def _side(self, image: LoadedSeries) -> Side:
        side = _SIDE_OF.get(canonical_modality(image.modality, image.kind))
        if side is None:
            raise ImagingError(
                f"the encoder {self.name!r} takes chest radiographs, chest CT and renderings of it",
                reason="ENCODER_KIND",
            )
        if canonical_view(image.view) == "LATERAL":
            raise ImagingError(f"the encoder {self.name!r} takes frontal radiographs", reason="NOT_FRONTAL")
        return side
