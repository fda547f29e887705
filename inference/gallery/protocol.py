"""What every gallery offers: an index over the embeddings of one encoder version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from inference.types import FloatArray, PatientKey


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """One enrolled embedding. ``embedding_id`` is the ledger's row and unique in a gallery.

    ``quality`` serves calibration, where the entry is a probe too; a gallery does not keep it.
    """

    embedding_id: int
    patient: PatientKey
    study_uid: str
    vector: FloatArray
    modality: str = ""
    view: str = ""
    laterality: str = ""
    sex: str = ""
    birth_date: str = ""
    quality: float = 1.0


@dataclass(frozen=True, slots=True)
class GalleryFilter:
    """Narrows a search by trustworthy metadata. Empty fields do not narrow.

    ``exclude_studies`` keeps probe and gallery apart: a study is never searched against itself.
    An entry whose own value is empty (unknown sex, say) always stays in.
    ``patients`` asks for the scores of these patients only; None does not narrow.
    """

    exclude_studies: frozenset[str] = field(default_factory=frozenset)
    modality: str = ""
    view: str = ""
    laterality: str = ""
    sex: str = ""
    birth_year_between: tuple[int, int] | None = None
    patients: frozenset[PatientKey] | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The best entry of one patient for one probe. ``score`` is the raw inner product in [-1, 1]."""

    patient: PatientKey
    study_uid: str
    embedding_id: int
    score: float


@dataclass(frozen=True, slots=True)
class CandidateList:
    """Per probe: at most k patients, best first, and how many patients were searched (N after narrowing)."""

    candidates: tuple[Candidate, ...]
    searched: int


class Gallery(Protocol):
    """Exact search over L2-normalised embeddings of a single (encoder, version)."""

    encoder: str
    version: str

    def enrol(self, entries: Sequence[GalleryEntry]) -> None:
        """Adds entries; an entry whose ``embedding_id`` is present already replaces it.

        Raises
        ------
        GalleryError
            when a vector has another dimension, is not finite or not of unit length; then none is added.
        """
        ...

    def search(self, probes: FloatArray, k: int, where: GalleryFilter | None = None) -> Sequence[CandidateList]:
        """``probes`` is float32 (n, dimension); returns n lists with at most k distinct patients each.

        Raises
        ------
        GalleryError
            when the probes have another dimension, are not finite or not of unit length.
        """
        ...

    def forget(self, patient: PatientKey) -> int:
        """Removes every entry of a patient; returns how many there were."""
        ...

    def reassign(self, study_uid: str, patient: PatientKey) -> int:
        """Moves the entries of a study to another patient; returns how many there were."""
        ...

    def __len__(self) -> int: ...
