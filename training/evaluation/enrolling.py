"""Every image of a manifest, once: its embedding, and the simple pictures of it that floors and audits look at."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from config.errors import DiskFullError, EvaluationError, ImagingError
from inference.encoders.protocol import Encoder
from inference.types import LoadedSeries
from training.manifests.files import Manifest
from training.manifests.images import load_row
from training.manifests.schema import Row

FLOOR_SIZE = 32
DETAIL_SIZE = 48
CROP = 0.08
# What a picture says of its machine without showing anybody.
_HEADER_WORDS = (
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "ConvolutionKernel",
    "KVP",
    "PhotometricInterpretation",
    "BitsStored",
)
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Enrolled:
    """What is known of N images, in the order of ``rows``; arrays are (N, ...), memory-mapped from a scratch folder.

    vectors
        (N, D) float32 embeddings; zeros where ``failed``.
    cropped
        the embeddings of the same pictures with 8 % cut off every edge; None for volumes or when not asked for.
    pixels
        (N, P) float32, 32x32 pictures of zero mean and unit length (of a volume, its three mean projections).
    details
        (N, 48 * 48) float16, fine structure of the picture, of zero mean and unit length.
    words
        per image what its header says of the machine.
    study_uids
        per image the Study Instance UID of its DICOM header, "" where it has none.
    failed
        (N,) bool; ``reasons`` counts why.
    """

    rows: Sequence[Row]
    vectors: NDArray[np.float32]
    cropped: NDArray[np.float32] | None
    pixels: NDArray[np.float32]
    details: NDArray[np.float16]
    words: Sequence[tuple[tuple[str, str], ...]]
    study_uids: Sequence[str]
    failed: NDArray[np.bool_]
    reasons: Mapping[str, int]


class Scratch:
    """A folder for arrays that memory should not hold; gone afterwards."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="medreid-evaluate-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def array(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Zeros, backed by a file.

        Raises
        ------
        DiskFullError
            when there is no room for it; a sparse file would only fail later, in the middle of the work.
        """
        path = Path(self._folder.name) / f"{name}.npy"
        made: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            with path.open("r+b") as file:
                _reserve(file.fileno(), path.stat().st_size)
        except OSError as error:
            raise DiskFullError(
                f"no room for {made.nbytes >> 20} MiB of scratch below {path.parent.parent} ({error.strerror}); free "
                "space, or set TMPDIR to another folder"
            ) from None
        return made


def enrol(
    manifest: Manifest, rows: Sequence[Row], encoder: Encoder, scratch: Scratch, *, crop: bool = True, tell: Tell
) -> Enrolled:
    """Loads and encodes every image; ``tell`` is called with 1 after each. What cannot be used is a failure to enrol.

    Raises
    ------
    EvaluationError
        ``NOTHING_ENROLLED`` when not one image gave an embedding, with the reasons.
    DiskFullError
        when there is no room for the scratch arrays.
    """
    count = len(rows)
    vectors = scratch.array("vectors", (count, encoder.dimension), np.float32)
    cropped = scratch.array("cropped", (count, encoder.dimension), np.float32) if crop else None
    pixels = scratch.array("pixels", (count, 3 * FLOOR_SIZE**2), np.float32)
    details = scratch.array("details", (count, DETAIL_SIZE**2), np.float16)
    words: list[tuple[tuple[str, str], ...]] = []
    study_uids: list[str] = []
    failed = np.ones(count, bool)
    reasons: Counter[str] = Counter()
    whole = True
    for number, row in enumerate(rows):
        loaded = load_row(manifest, row)
        image = loaded.images[0] if loaded.images else None
        words.append(_words(image) if image is not None else ())
        study_uids.append(_study_uid(image, row))
        if image is None:
            reasons[loaded.rejections[0].reason if loaded.rejections else "NO_IMAGE"] += 1
        else:
            vector, reason = _encode(encoder, image)
            failed[number] = vector is None
            if vector is None:
                reasons[reason] += 1
            else:
                vectors[number] = vector
            picture = flat(image)
            pixels[number, : picture[0].size] = picture[0]
            details[number] = picture[1]
            if cropped is not None and vector is not None:
                part = _encode(encoder, _cut(image))[0] if image.kind != "volume" else None
                whole = whole and part is None
                cropped[number] = vector if part is None else part
        tell(1)
    if failed.all():
        why = ", ".join(f"{name} {n}" for name, n in reasons.most_common())
        raise EvaluationError(
            f"not one of {count} images gave an embedding of {encoder.name!r}: {why}; is it the encoder for them?",
            reason="NOTHING_ENROLLED",
        )
    return Enrolled(
        rows, vectors, None if whole else cropped, pixels, details, words, study_uids, failed, dict(reasons)
    )


def flat(image: LoadedSeries) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """A picture as floors see it ((1024,) or, for a volume, (3072,)) and its fine structure ((2304,)).

    All are of zero mean and unit length, so that an inner product is a correlation; a constant picture is all zeros.
    """
    import cv2

    pictures = _pictures(image)
    small = [_unit(cv2.resize(p, (FLOOR_SIZE, FLOOR_SIZE), interpolation=cv2.INTER_AREA)) for p in pictures]
    coarse = np.concatenate(small) / np.float32(np.sqrt(len(small)))
    fine = cv2.resize(pictures[0], (DETAIL_SIZE, DETAIL_SIZE), interpolation=cv2.INTER_AREA)
    fine = fine - cv2.GaussianBlur(fine, (0, 0), 3.0)
    return coarse.astype(np.float32), _unit(fine).astype(np.float16)


def thumbnail(image: LoadedSeries, size: int = 112) -> NDArray[np.uint8]:
    """(size, size) grey or (size, size, 3) RGB for a person: the picture, or the middle of a volume, on black."""
    import cv2

    if image.kind in ("fundus", "photograph"):
        picture = np.asarray(image.pixels, np.uint8)
    else:
        grey = _middle(image) if image.kind == "volume" else np.asarray(image.pixels, np.float32)
        low, high = np.percentile(grey, (1.0, 99.0))
        picture = (np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    scale = size / max(picture.shape[:2])
    shape = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((size, size, *small.shape[2:]), np.uint8)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def _pictures(image: LoadedSeries) -> list[NDArray[np.float32]]:
    if image.kind == "volume":
        # Air outside the body and metal inside it would drown the rest.
        pixels = np.asarray(image.pixels, np.float32)
        clipped = np.clip(pixels, -200.0, 800.0) if image.modality == "CT" else pixels
        return [np.ascontiguousarray(clipped.mean(axis=axis)) for axis in (1, 2, 0)]
    if image.kind in ("fundus", "photograph"):
        return [np.ascontiguousarray(np.asarray(image.pixels, np.float32).mean(axis=-1))]
    return [np.ascontiguousarray(image.pixels, np.float32)]


def _middle(image: LoadedSeries) -> NDArray[np.float32]:
    """The coronal slice through the middle, upright and with square pixels."""
    import cv2

    volume = image.pixels
    plane = np.asarray(volume[::-1, volume.shape[1] // 2], np.float32)
    if image.modality == "CT":
        plane = np.clip(plane, -200.0, 800.0)
    height = max(1, round(plane.shape[0] * image.spacing[0] / image.spacing[2]))
    return np.asarray(cv2.resize(plane, (plane.shape[1], height), interpolation=cv2.INTER_LINEAR), np.float32)


def _unit(picture: NDArray[Any]) -> NDArray[np.float32]:
    centred = picture.ravel() - picture.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-6 else np.zeros_like(centred), np.float32)


def _cut(image: LoadedSeries) -> LoadedSeries:
    rows, columns = (round(n * CROP) for n in image.pixels.shape[:2])
    return replace(image, pixels=image.pixels[rows : image.pixels.shape[0] - rows, columns : -columns or None])


def _encode(encoder: Encoder, image: LoadedSeries) -> tuple[NDArray[np.float32] | None, str]:
    try:
        found = encoder.encode([image])[0]
    except ImagingError as error:
        return None, error.reason
    return (None, "NOTHING_TO_ENCODE") if found is None else (found.vector, "")


def _words(image: LoadedSeries) -> tuple[tuple[str, str], ...]:
    said = [(name, str(image.attributes.get(name) or "")) for name in _HEADER_WORDS]
    said.append(
        ("matrix", "x".join(map(str, image.pixels.shape[-2:] if image.kind == "volume" else image.pixels.shape[:2])))
    )
    if np.isfinite(image.spacing).all():
        said.append(("spacing", "x".join(f"{value:.3g}" for value in image.spacing)))
    return tuple((name, value) for name, value in said if value)


def _study_uid(image: LoadedSeries | None, row: Row) -> str:
    if image is None or image.study_uid == row.study:
        return ""
    return image.study_uid


def _reserve(descriptor: int, size: int) -> None:
    import os

    os.posix_fallocate(descriptor, 0, size)
