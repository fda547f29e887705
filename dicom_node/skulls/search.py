"""A skull against all faces of a folder: embeddings made once, candidates in order, what chance alone would do."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import CommandError, ImagingError, StorageError
from dicom_node.skulls.faces import Face, Refused, load_face
from inference.calibration import Calibration
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.skull_face import SkullFaceEncoder, confidence, log10_lr
from inference.encoders.skull_pictures import Picture, picture
from inference.types import FloatArray, LoadedSeries
from inference.whole_file import whole_file

Tell = Callable[[str, int, int], None]
WORDS = "Investigative lead, no identification."
_BATCH = 8
# Embeddings that are closer are of one picture, stored twice in two forms.
_SAME = 1e-3


@dataclass(frozen=True, slots=True)
class Lead:
    """One candidate. ``confidence`` is exp(-d^2), ``log10_lr`` what it is worth where the encoder is calibrated."""

    rank: int
    name: str
    also: tuple[str, ...]
    confidence: float
    log10_lr: float | None
    face: Face


@dataclass(frozen=True, slots=True)
class Leads:
    """A candidate list. ``searched`` counts faces, each once; ``refused`` those that could not be searched.

    ``twice`` are names of one and the same face.
    """

    encoder: str
    version: str
    kind: str
    searched: int
    leads: tuple[Lead, ...]
    refused: tuple[Refused, ...]
    twice: tuple[tuple[str, ...], ...]

    @property
    def chance(self) -> float:
        """How often the right face, if it is there at all, is on a list of this length in a random order."""
        return len(self.leads) / self.searched


class Cache:
    """Embeddings of faces by their contents' hash, apart for every state of the model; of mode 0600, being biometric.

    Parameters
    ----------
    folder
        where it is, or will be.
    bundle
        of the encoder: a bundle that differs in anything has embeddings of its own.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        manifest = bundle.manifest
        state = hashlib.sha256((bundle.folder / BUNDLE_FILE).read_bytes()).hexdigest()[:16]
        self._folder = folder / f"{manifest.name}-{manifest.version}-{state}"
        self._dimension = manifest.dimension

    def get(self, digest: str) -> FloatArray | None:
        """The embedding (D,); None where there is none that can be used."""
        try:
            found = np.load(io.BytesIO((self._folder / f"{digest}.npy").read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if found.shape != (self._dimension,) or found.dtype != np.float32 or not np.isfinite(found).all():
            return None
        return np.asarray(found, np.float32)

    def put(self, digest: str, vector: FloatArray) -> None:
        """Raises StorageError when the folder cannot be written."""
        try:
            with whole_file(self._folder / f"{digest}.npy") as file:
                np.save(file, np.asarray(vector, np.float32))
        except OSError as error:
            raise StorageError(
                f"the cache {self._folder.parent} cannot be written ({error.strerror}); choose another with --cache"
            ) from None


def skull_vector(encoder: SkullFaceEncoder, image: LoadedSeries) -> FloatArray:
    """The embedding (D,) of the skull that is asked about.

    Raises
    ------
    ImagingError
        when no skull can be seen in it; ``CONSTANT_IMAGE`` when the network has nothing to say of it.
    """
    shown = picture(image, "skull", encoder.size("skull"), encoder.kinds("skull"))
    (vector,) = encoder.embed([shown], "skull")
    if not np.any(vector):
        raise ImagingError("the skull branch finds nothing in the query", reason="CONSTANT_IMAGE")
    return np.asarray(vector, np.float32)


def face_vectors(
    encoder: SkullFaceEncoder, faces: Sequence[Face], cache: Cache, tell: Tell
) -> tuple[dict[str, FloatArray], list[Refused]]:
    """Embeddings by hash, from the cache or made now and kept; and the faces that give none."""
    found = {face.digest: known for face in faces if (known := cache.get(face.digest)) is not None}
    missing = list({face.digest: face for face in faces if face.digest not in found}.values())
    refused: list[Refused] = []
    done = 0
    for batch in _drawn(encoder, missing, refused):
        vectors = encoder.embed([shown for _, shown in batch], "face")
        for (face, _), vector in zip(batch, vectors, strict=True):
            if np.any(vector):
                cache.put(face.digest, vector)
                found[face.digest] = vector
            else:
                refused.append(Refused(face.name, "CONSTANT_IMAGE"))
        done += len(batch)
        tell("faces", done + len(refused), len(missing))
    return found, refused


def search(
    encoder: SkullFaceEncoder,
    skull: tuple[str, FloatArray],
    faces: Sequence[Face],
    vectors: dict[str, FloatArray],
    calibration: Calibration | None,
    top: int,
    refused: Sequence[Refused] = (),
) -> Leads:
    """The ``top`` faces nearest to a skull (its kind of picture, and its embedding).

    Raises
    ------
    CommandError
        ``GALLERY_EMPTY`` when there is no face to search.
    """
    groups = _distinct([face for face in faces if face.digest in vectors], vectors)
    if not groups:
        reasons = ", ".join(sorted({one.reason for one in refused})) or "it holds no file"
        raise CommandError(f"the gallery has no face that can be searched: {reasons}", reason="GALLERY_EMPTY")
    kind, vector = skull
    gallery = np.stack([vectors[group[0].digest] for group in groups])
    sure = confidence(vector, gallery)
    worth = None if calibration is None else log10_lr(calibration, vector, gallery)
    order = np.argsort(-sure, kind="stable")[:top].tolist()
    leads = [
        Lead(
            rank, groups[place][0].name, tuple(one.name for one in groups[place][1:]), float(sure[place]),
            None if worth is None else float(worth[place]), groups[place][0],
        )
        for rank, place in enumerate(order, start=1)
    ]  # fmt: skip
    twice = tuple(tuple(one.name for one in group) for group in groups if len(group) > 1)
    return Leads(encoder.name, encoder.version, kind, len(groups), tuple(leads), tuple(refused), twice)


def _drawn(
    encoder: SkullFaceEncoder, faces: Sequence[Face], refused: list[Refused]
) -> Iterator[list[tuple[Face, Picture]]]:
    """Batches of faces as the network sees them; those that cannot be drawn go to ``refused``."""
    batch: list[tuple[Face, Picture]] = []
    for face in faces:
        try:
            batch.append((face, picture(load_face(face), "face", encoder.size("face"), encoder.kinds("face"))))
        except ImagingError as error:
            refused.append(Refused(face.name, error.reason))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _distinct(faces: Sequence[Face], vectors: dict[str, FloatArray]) -> list[list[Face]]:
    """The faces, those of one content or one embedding together."""
    groups: dict[str, list[Face]] = {}
    for face in faces:
        groups.setdefault(face.digest, []).append(face)
    kept: list[list[Face]] = []
    for group in groups.values():
        own = vectors[group[0].digest]
        twin = next((one for one in kept if np.linalg.norm(vectors[one[0].digest] - own) < _SAME), None)
        if twin is None:
            kept.append(list(group))
        else:
            twin.extend(group)
    return kept
