"""Encoders that a recipe trained: the bundle says which network, which input, and what serves it.

The same :func:`~inference.encoders.inputs.prepare` that made the images of training makes those of serving.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from config.errors import EncoderError, ImagingError
from inference.encoders.bundle import Bundle, Manifest
from inference.encoders.common import encoding_of
from inference.encoders.families import canonical_modality
from inference.encoders.inputs import InputSpec, is_flat, prepare, require_pixels
from inference.encoders.runtime import Runtime, open_runtime
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader


def load(bundle: Bundle, device: str, batch_size: int) -> TrainedEncoder:
    """Builds the encoder from its bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED``, or ``INPUT_SPEC``, with what is wrong.
    """
    try:
        spec = InputSpec.from_mapping(bundle.manifest.input)
    except EncoderError as error:
        raise EncoderError(f"bundle {bundle.manifest.name!r}: {error}", reason="BUNDLE_DAMAGED") from None
    return TrainedEncoder(bundle.manifest, spec, open_runtime(bundle, device), batch_size)


def modality_number(manifest: Manifest, image: LoadedSeries) -> int:
    """The place of the image's modality in the bundle's list, 0 where it has none: what its network is told.

    Raises
    ------
    ImagingError
        ``ENCODER_KIND`` for a modality that the bundle was not trained on.
    """
    known = manifest.model.modalities if manifest.model else ()
    modality = canonical_modality(image.modality, image.kind)
    if known and modality not in known:
        raise ImagingError(
            f"the encoder {manifest.name!r} takes {', '.join(known)}, not {modality or 'unknown'}",
            reason="ENCODER_KIND",
        )
    return known.index(modality) if known else 0


class TrainedEncoder:
    """An :class:`~inference.encoders.protocol.Encoder`."""

    def __init__(self, manifest: Manifest, spec: InputSpec, runtime: Runtime, batch_size: int) -> None:
        self.name, self.version, self.dimension = manifest.name, manifest.version, manifest.dimension
        self.spec, self._runtime, self._batch_size = spec, runtime, batch_size
        self._manifest = manifest
        self._modalities = manifest.model.modalities if manifest.model else ()
        self._lock = threading.Lock()

    def accepts(self, series: SeriesHeader) -> bool:
        from inference.imaging.series import kind_of

        if not series.instances:
            return False
        kind = kind_of(series.instances[0])
        if kind is None or not self._modalities:
            return kind is not None
        # Whether a capture is a radiograph or a photograph is seen in its pixels alone.
        names = ("DX", "OP", series.modality) if kind == "capture" else (canonical_modality(series.modality, kind),)
        return any(name in self._modalities for name in names)

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol; reasons are ``ENCODER_KIND`` (a modality it was not trained on), ``NOT_FINITE`` and
        ``NO_PIXELS``. A flat image gives None.
        """
        numbers = [modality_number(self._manifest, image) for image in images]
        for image in images:
            require_pixels(image)
        encodings: list[Encoding | None] = [None] * len(images)
        for places in self._batches(images):
            stack = np.stack([prepare(images[n], self.spec) for n in places])
            for n, features in zip(places, self._features(stack, [numbers[n] for n in places]), strict=True):
                encodings[n] = encoding_of(images[n], self.name, self.version, features)
        return encodings

    def _batches(self, images: Sequence[LoadedSeries]) -> Iterator[list[int]]:
        """Places of images that can be stacked, no more slices at a time than the batch size (but one volume)."""
        alike: dict[bool, list[int]] = defaultdict(list)
        for n, image in enumerate(images):
            if not is_flat(image):
                alike[image.kind == "volume"].append(n)
        for volumes, places in alike.items():
            step = max(1, self._batch_size // self.spec.slices) if volumes else self._batch_size
            yield from (places[start : start + step] for start in range(0, len(places), step))

    def _features(self, stack: np.ndarray, numbers: list[int]) -> FloatArray:
        # One pass at a time: threads share the network, and its memory is bounded by the batch.
        with self._lock:
            return self._runtime(stack, np.asarray(numbers, np.int64))
