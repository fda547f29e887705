"""What several encoders make of the images of a manifest: each image is loaded once for all of them, and never again.

Embeddings are kept block by block in a folder, under a key that changes with the image, with what its row says and with
the encoder, so that a study that was stopped goes on, and an encoder that joins later is the only one to be run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError, ImagingError
from inference.encoders.bundle import BUNDLE_FILE
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader
from inference.whole_file import whole_file
from training.evaluation.enrolling import FLOOR_SIZE, Enrolled, Scratch, enrol
from training.evaluation.floors import metadata_vectors
from training.learning.catalogue import Image, Tell
from training.learning.store import key_of
from training.manifests.files import Manifest
from training.manifests.schema import Row

BLOCK = 128
_FLOORS = "floors"
# A new layout of the files makes new keys.
_LAYOUT = "medreid study embeddings 1"

Words = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An encoder that may not be loaded yet; ``key`` changes whenever an embedding of it would."""

    key: str
    load: Callable[[], Encoder]


def bundled(registry: Registry, name: str) -> Candidate:
    """The encoder of a bundle.

    Raises
    ------
    EncoderError
        ``ENCODER_UNKNOWN`` or ``BUNDLE_DAMAGED``.
    """
    content = (registry.bundle(name).folder / BUNDLE_FILE).read_bytes()
    return Candidate(hashlib.sha256(content).hexdigest(), lambda: registry.get(name))


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """N images as some encoders, and the floors, see them; in the order of ``rows``.

    vectors
        by encoder float32 (N, D), L2-normalised; zeros where the encoder could not enrol the image.
    pixels
        (N, P) float32, the pictures of :attr:`training.evaluation.enrolling.Enrolled.pixels`.
    metadata
        (N, W) float32, see :func:`training.evaluation.floors.metadata_vectors`; inner products are larger by 1.
    """

    rows: Sequence[Row]
    vectors: Mapping[str, FloatArray]
    pixels: FloatArray
    metadata: FloatArray


def embed(
    manifest: Manifest, rows: Sequence[Row], candidates: Mapping[str, Candidate], folder: Path, tell: Tell
) -> Embedded:
    """Embeds ``rows`` with every candidate, by name; ``folder`` keeps what was made.

    Raises
    ------
    StorageError, EncoderError
        when the folder cannot be written, or an encoder cannot be loaded.
    """
    loaded: dict[str, Encoder] = {}
    blocks = [list(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    parts: list[_Part] = []
    for number, block in enumerate(blocks):
        part = _Part(folder, manifest, block)
        missing = [name for name, one in candidates.items() if not part.has(one.key)]
        for name in missing:
            loaded.setdefault(name, candidates[name].load())
        if missing or not part.has(_FLOORS):
            encoders = {candidates[name].key: loaded[name] for name in missing}
            part.make(encoders, _counted(tell, number * BLOCK, len(rows)))
        parts.append(part)
    pixels = np.concatenate([part.read(_FLOORS)["pixels"] for part in parts])
    words = [_words(one) for part in parts for one in json.loads(str(part.read(_FLOORS)["words"]))]
    return Embedded(
        rows=rows,
        vectors={
            name: np.concatenate([part.read(one.key)["vectors"] for part in parts]) for name, one in candidates.items()
        },
        pixels=pixels,
        metadata=np.hstack([metadata_vectors(_described(rows, words, pixels)), _nothing_known(rows)]),
    )


def _counted(tell: Tell, done: int, total: int) -> Callable[[int], None]:
    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        tell("embeddings", done, total)

    return advance


class _Part:
    """A block of rows and the files that keep what is known of it."""

    def __init__(self, folder: Path, manifest: Manifest, rows: Sequence[Row]) -> None:
        self._folder, self._manifest, self._rows = folder, manifest, rows
        self._keys = [key_of(Image(0, manifest, row)) for row in rows]

    def _path(self, key: str) -> Path:
        whole = hashlib.sha256("\n".join((_LAYOUT, key, *self._keys)).encode()).hexdigest()
        return self._folder / f"{whole[:32]}.npz"

    def has(self, key: str) -> bool:
        return self._path(key).is_file()

    def read(self, key: str) -> dict[str, NDArray[Any]]:
        with np.load(self._path(key)) as found:
            return {name: found[name] for name in found.files}

    def make(self, encoders: Mapping[str, Encoder], tell: Callable[[int], None]) -> None:
        choir = _Choir(list(encoders.values()))
        with Scratch() as scratch:
            found = _enrolled(self._manifest, self._rows, choir, scratch, tell)
            self._write(_FLOORS, pixels=np.array(found.pixels), words=np.array(json.dumps(found.words)))
            start = 0
            for key, encoder in encoders.items():
                self._write(key, vectors=np.array(found.vectors[:, start : start + encoder.dimension]))
                start += encoder.dimension

    def _write(self, key: str, **arrays: NDArray[Any]) -> None:
        with whole_file(self._path(key)) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


class _Choir:
    """Several encoders as one, whose embedding is theirs side by side; zeros for those that cannot take the image."""

    name, version = "choir", "1"

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = encoders
        self.dimension = max(1, sum(encoder.dimension for encoder in encoders))

    def accepts(self, series: SeriesHeader) -> bool:
        return any(encoder.accepts(series) for encoder in self._encoders)

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        return [self._encode(image) for image in images]

    def _encode(self, image: LoadedSeries) -> Encoding:
        vectors = [_vector(encoder, image) for encoder in self._encoders] or [np.zeros(1, np.float32)]
        return Encoding(self.name, self.version, image.study_uid, image.series_uid, np.concatenate(vectors), 1.0)


def _vector(encoder: Encoder, image: LoadedSeries) -> FloatArray:
    try:
        found = encoder.encode([image])[0]
    except ImagingError:
        found = None
    return np.zeros(encoder.dimension, np.float32) if found is None else np.asarray(found.vector, np.float32)


def _enrolled(
    manifest: Manifest, rows: Sequence[Row], choir: _Choir, scratch: Scratch, tell: Callable[[int], None]
) -> Enrolled:
    try:
        return enrol(manifest, rows, choir, scratch, crop=False, tell=tell)
    except EvaluationError as error:
        # Of a whole block no image can be read: for a study these are failures like any others.
        if error.reason != "NOTHING_ENROLLED":
            raise
        nothing = np.zeros((len(rows), choir.dimension), np.float32)
        pixels = np.zeros((len(rows), 3 * FLOOR_SIZE**2), np.float32)
        return _described(rows, [()] * len(rows), pixels, nothing)


def _nothing_known(rows: Sequence[Row]) -> FloatArray:
    """A column that all images have in common: to know nothing of one is no failure to enrol it."""
    return np.ones((len(rows), 1), np.float32)


def _described(
    rows: Sequence[Row], words: Sequence[Words], pixels: FloatArray, vectors: FloatArray | None = None
) -> Enrolled:
    """What floors ask of an enrolment, and nothing else."""
    empty = np.zeros((len(rows), 0), np.float32)
    return Enrolled(
        rows=rows,
        vectors=empty if vectors is None else vectors,
        cropped=None,
        pixels=pixels,
        details=empty.astype(np.float16),
        words=words,
        study_uids=[""] * len(rows),
        failed=np.zeros(len(rows), bool),
        reasons={},
    )


def _words(found: Sequence[Sequence[str]]) -> Words:
    return tuple((name, value) for name, value in found)
