"""What kind of image is this, by its pixels alone: for headers that are silent, or that the pixels contradict.

The bundle is called ``modality`` and holds a network ``modality-classifier``; without one, headers are all there is.
Its ``[input]`` is ``plain``: what a header says may not colour the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.encoders.bundle import Bundle
from inference.encoders.inputs import InputSpec, prepare
from inference.encoders.registry import Registry
from inference.encoders.runtime import Runtime, open_runtime
from inference.types import LoadedSeries

BUNDLE: Final = "modality"
NETWORK: Final = "modality-classifier"
# What the router can make use of. ``other`` is what a network that has to choose needs: a way not to.
CLASSES = ("CT", "MR", "radiograph", "fundus", "dermoscopy", "microscopy", "other")

Probabilities = Mapping[str, float]


def load_classifier(registry: Registry, device: str, batch_size: int) -> ModalityClassifier | None:
    """The classifier of the bundle ``modality``; None where there is no such bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when there is one that cannot be used.
    """
    return ModalityClassifier(registry.bundle(BUNDLE), device, batch_size) if BUNDLE in registry.names() else None


class ModalityClassifier:
    """Says of images what they show.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when the bundle holds no classifier, or one whose input or classes cannot be right.
    """

    def __init__(self, bundle: Bundle, device: str, batch_size: int) -> None:
        model, name = bundle.manifest.model, bundle.manifest.name
        if model is None or model.name != NETWORK:
            raise EncoderError(f"bundle {name!r} holds no network {NETWORK!r}; remove it", reason="BUNDLE_DAMAGED")
        self.classes: tuple[str, ...] = tuple(model.settings.get("classes", CLASSES))
        self._spec = InputSpec.from_mapping(bundle.manifest.input)
        if len(self.classes) != bundle.manifest.dimension or not self._spec.plain:
            raise EncoderError(
                f"bundle {name!r}: a classifier has one dimension for each class and takes plain input; train it again",
                reason="BUNDLE_DAMAGED",
            )
        self._runtime: Runtime = open_runtime(bundle, device)
        self._batch_size = batch_size
        self._lock = threading.Lock()

    def classify(self, images: Sequence[LoadedSeries | NDArray[np.uint8]]) -> list[Probabilities]:
        """For each image the probability of every class; together they are 1.

        ``images`` are loaded series, or uint8 pictures (rows, columns) and (rows, columns, 3). Of a volume its central
        slices are looked at.

        Raises
        ------
        ImagingError
            ``NOT_FINITE`` or ``NO_PIXELS``, see :func:`~inference.encoders.inputs.prepare`.
        """
        found: list[Probabilities] = []
        for planes in self._batches([_loaded(image) for image in images]):
            with self._lock:
                logits = self._runtime(planes, np.zeros(len(planes), np.int64))
            found += [dict(zip(self.classes, map(float, row), strict=True)) for row in _softmax(logits)]
        return found

    def _batches(self, images: Sequence[LoadedSeries]) -> list[NDArray[np.uint8]]:
        """Neighbours with as many slices are stacked; the order stays."""
        stacks: list[list[NDArray[np.uint8]]] = []
        for planes in (prepare(image, self._spec) for image in images):
            fits = stacks and len(stacks[-1][0]) == len(planes)
            if fits and (len(stacks[-1]) + 1) * len(planes) <= self._batch_size:
                stacks[-1].append(planes)
            else:
                stacks.append([planes])
        return [np.stack(stack) for stack in stacks]


def _loaded(image: LoadedSeries | NDArray[Any]) -> LoadedSeries:
    if isinstance(image, LoadedSeries):
        return image
    kind: Any = "photograph" if image.ndim == 3 else "radiograph"
    return LoadedSeries("", "", (), "", kind, image, (float("nan"), float("nan")))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = np.exp(np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)
