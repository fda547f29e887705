"""A skull against all faces of a folder: embeddings made once, candidates in order, what chance alone would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from config.errors import CommandError, ImagingError
from dicom_node.skulls.cache import Cache
from dicom_node.skulls.faces import Face, Refused, load_face
from inference.calibration import Calibration
from inference.encoders.skull_face import SkullFaceEncoder, confidence, log10_lr
from inference.encoders.skull_pictures import Picture, kind_of_picture, picture
from inference.types import FloatArray, LoadedSeries

Tell = Callable[[str, int, int], None]
WORDS = "Investigative lead, no identification."
_BATCH = 8
# Embeddings that are closer are of one picture, stored twice in two forms.
_SAME = 2e-3
# Faces compared with all others at a time.
_ROWS = 1024


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


@dataclass(frozen=True, slots=True, eq=False)
class Skull:
    """What is asked about: its kind of picture, the picture uint8 (3, S, S) and its embedding (D,)."""

    kind: str
    shown: Picture
    vector: FloatArray


def skull_of(encoder: SkullFaceEncoder, image: LoadedSeries) -> Skull:
    """The skull in an image.

    Raises
    ------
    ImagingError
        when no skull can be seen in it; ``CONSTANT_IMAGE`` when the network has nothing to say of it.
    """
    shown = picture(image, "skull", encoder.size("skull"), encoder.kinds("skull"))
    (vector,) = encoder.embed([shown], "skull")
    if not np.any(vector):
        raise ImagingError("the skull branch finds nothing in the query", reason="CONSTANT_IMAGE")
    return Skull(kind_of_picture(image, "skull"), shown, np.asarray(vector, np.float32))


def face_vectors(
    encoder: SkullFaceEncoder, faces: Sequence[Face], cache: Cache, tell: Tell
) -> tuple[dict[str, FloatArray], list[Refused]]:
    """Embeddings by hash, from the cache or made now and kept; and the faces that give none."""
    found = {face.digest: known for face in faces if (known := cache.vector(face.digest)) is not None}
    missing = list({face.digest: face for face in faces if face.digest not in found}.values())
    refused: list[Refused] = []
    for batch in _drawn(encoder, missing, refused):
        vectors = encoder.embed([one.shown for one in batch], "face")
        for one, vector in zip(batch, vectors, strict=True):
            if np.any(vector):
                cache.put(one.face.digest, vector, one.shown if one.of_ct else None)
                found[one.face.digest] = vector
            else:
                refused.append(Refused(one.face.name, "CONSTANT_IMAGE"))
        tell("faces", sum(face.digest in found for face in missing) + len(refused), len(missing))
    return found, refused


def search(
    encoder: SkullFaceEncoder,
    skull: Skull,
    faces: Sequence[Face],
    vectors: dict[str, FloatArray],
    calibration: Calibration | None,
    top: int,
    refused: Sequence[Refused] = (),
) -> Leads:
    """The ``top`` faces nearest to a skull.

    Raises
    ------
    CommandError
        ``GALLERY_EMPTY`` when there is no face to search.
    """
    groups = _distinct([face for face in faces if face.digest in vectors], vectors)
    if not groups:
        reasons = ", ".join(sorted({one.reason for one in refused})) or "it holds no file"
        raise CommandError(f"the gallery has no face that can be searched: {reasons}", reason="GALLERY_EMPTY")
    gallery = np.stack([vectors[group[0].digest] for group in groups])
    sure = confidence(skull.vector, gallery)
    worth = None if calibration is None else log10_lr(calibration, skull.vector, gallery)
    order = np.argsort(-sure, kind="stable")[:top].tolist()
    leads = [
        Lead(
            rank, groups[place][0].name, tuple(one.name for one in groups[place][1:]), float(sure[place]),
            None if worth is None else float(worth[place]), groups[place][0],
        )
        for rank, place in enumerate(order, start=1)
    ]  # fmt: skip
    twice = tuple(tuple(one.name for one in group) for group in groups if len(group) > 1)
    return Leads(encoder.name, encoder.version, skull.kind, len(groups), tuple(leads), tuple(refused), twice)


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    face: Face
    shown: Picture
    of_ct: bool


def _drawn(encoder: SkullFaceEncoder, faces: Sequence[Face], refused: list[Refused]) -> Iterator[list[_Drawn]]:
    """Batches of faces as the network sees them; those that cannot be drawn go to ``refused``."""
    batch: list[_Drawn] = []
    for face in faces:
        try:
            image = load_face(face)
            shown = picture(image, "face", encoder.size("face"), encoder.kinds("face"))
            batch.append(_Drawn(face, shown, image.kind == "volume"))
        except ImagingError as error:
            refused.append(Refused(face.name, error.reason))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _distinct(faces: Sequence[Face], vectors: dict[str, FloatArray]) -> list[list[Face]]:
    """The faces, those of one content or one embedding together, in their order."""
    groups: dict[str, list[Face]] = {}
    for face in faces:
        groups.setdefault(face.digest, []).append(face)
    digests = list(groups)
    if not digests:
        return []
    gallery = np.stack([vectors[digest] for digest in digests])
    kept: dict[int, list[Face]] = {}
    for start in range(0, len(digests), _ROWS):
        alike = gallery[start : start + _ROWS] @ gallery.T >= 1 - _SAME**2 / 2
        # Every face is like itself, so that the first one alike is its own or an earlier one.
        for place, first in enumerate(alike.argmax(axis=1).tolist(), start):
            kept.setdefault(min(first, place), []).extend(groups[digests[place]])
    return list(kept.values())
