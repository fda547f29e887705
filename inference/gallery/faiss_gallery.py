"""Exact search in one process: FAISS inner product over flat float32 vectors.

Exactness keeps the calibration valid, and at 100,000 vectors of 512 numbers a search costs some 15 ms on two cores.
The vectors' home is the ledger; the file is a cache that is rebuilt whenever it is missing, torn or of another state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import GalleryError
from inference.gallery.cache import CacheStamp, CacheUnusableError, read_cache, write_cache
from inference.gallery.protocol import Candidate, CandidateList, GalleryEntry, GalleryFilter
from inference.gallery.table import EntryTable
from inference.types import FloatArray, PatientKey

# How far a vector's length may be from 1: bf16 encoders and fp16 storage stay well inside.
LENGTH_TOLERANCE = 1e-2
_REBUILD_BATCH = 4096


class FaissGallery:
    """A :class:`~inference.gallery.protocol.Gallery` in memory. Safe to share between threads.

    Parameters
    ----------
    encoder, version
        whose embeddings these are; a gallery never holds two versions.
    dimension
        length of every vector.
    """

    def __init__(self, encoder: str, version: str, dimension: int) -> None:
        self.encoder, self.version, self.dimension = encoder, version, dimension
        # Row i of the index is row i of the table.
        self._index = _faiss().IndexFlatIP(dimension)
        self._table = EntryTable()
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        path: Path,
        encoder: str,
        version: str,
        dimension: int,
        rebuild: Callable[[], Iterable[GalleryEntry]],
        watermark: str = "",
    ) -> FaissGallery:
        """The gallery in the file ``path`` or, where that is of no use, one rebuilt from ``rebuild()`` and saved.

        ``watermark`` is any text that changes whenever the ledger's embeddings do; a file with another one is stale.
        """
        try:
            return cls.load(path, encoder, version, dimension, watermark)
        except CacheUnusableError:
            gallery = cls(encoder, version, dimension)
            batch: list[GalleryEntry] = []
            for entry in rebuild():
                batch.append(entry)
                if len(batch) == _REBUILD_BATCH:
                    gallery.enrol(batch)
                    batch.clear()
            gallery.enrol(batch)
            gallery.save(path, watermark)
            return gallery

    @classmethod
    def load(cls, path: Path, encoder: str, version: str, dimension: int, watermark: str = "") -> FaissGallery:
        """Reads what :meth:`save` wrote; CacheUnusableError when it is missing, torn, foreign or stale."""
        gallery = cls(encoder, version, dimension)
        entries = read_cache(path, CacheStamp(encoder, version, dimension, watermark))
        try:
            gallery.enrol(entries)
        except GalleryError as error:
            raise CacheUnusableError(f"gallery file {path.name}: {error}") from None
        return gallery

    def save(self, path: Path, watermark: str = "") -> None:
        """Writes the file whole or not at all, readable by its owner only: it holds biometric data."""
        with self._lock:
            vectors = self._index.reconstruct_n(0, len(self._table)) if len(self._table) else ()
            entries = [self._table.entry(row, vector) for row, vector in enumerate(vectors)]
        write_cache(path, CacheStamp(self.encoder, self.version, self.dimension, watermark), entries)

    def __len__(self) -> int:
        return len(self._table)

    def enrol(self, entries: Sequence[GalleryEntry]) -> None:
        # The last of several entries with one id wins, as if they had come one by one.
        fresh = {entry.embedding_id: entry for entry in entries}
        if not fresh:
            return
        if not all(0 <= number < 2**63 for number in fresh):
            raise GalleryError("an embedding id is no 63-bit number")
        vectors = self._checked(np.stack([_vector(entry, self.dimension) for entry in fresh.values()]), "an entry")
        with self._lock:
            self._remove(np.isin(self._table.ids, np.fromiter(fresh, np.int64, len(fresh))))
            self._index.add(vectors)
            self._table.append(list(fresh.values()))

    def search(self, probes: FloatArray, k: int, where: GalleryFilter | None = None) -> Sequence[CandidateList]:
        if k < 1:
            raise GalleryError(f"a candidate list of {k} patients cannot be; ask for at least one")
        queries = self._checked(np.asarray(probes, np.float32), "a probe")
        with self._lock:
            eligible = self._table.eligible(where)
            searched = len(np.unique(self._table.patient.codes[eligible]))
            return [self._search_one(query, k, searched, eligible) for query in queries]

    def remove(self, embedding_ids: Sequence[int]) -> int:
        """Removes single entries, as when another process took them away; returns how many were there."""
        with self._lock:
            return self._remove(np.isin(self._table.ids, np.asarray(embedding_ids, np.int64)))

    def forget(self, patient: PatientKey) -> int:
        with self._lock:
            return self._remove(self._table.patient.among((patient,)))

    def reassign(self, study_uid: str, patient: PatientKey) -> int:
        with self._lock:
            rows = self._table.text["study_uid"].among((study_uid,))
            if rows.any():
                self._table.patient.assign(rows, patient)
        return int(rows.sum())

    def _search_one(self, query: FloatArray, k: int, searched: int, eligible: NDArray[np.bool_]) -> CandidateList:
        """Asks for ever more entries until k distinct patients are among them: exact however many each has."""
        wanted, entries = min(k, searched), int(eligible.sum())
        depth = min(4 * k, entries)
        while True:
            scores, rows = self._ask(query, depth, eligible)
            best = self._best_per_patient(scores, rows)
            # Entries beyond these may tie with the last score, so a full list must end above that score.
            if depth == entries or (len(best) >= wanted and best[wanted - 1].score > float(scores[-1])):
                return CandidateList(tuple(best[:wanted]), searched)
            depth = min(2 * depth, entries)

    def _ask(self, query: FloatArray, depth: int, eligible: NDArray[np.bool_]) -> tuple[FloatArray, NDArray[np.int64]]:
        if depth == 0:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        parameters = None
        if not eligible.all():
            selector = _faiss().IDSelectorBitmap(np.packbits(eligible, bitorder="little"))
            parameters = _faiss().SearchParameters(sel=selector)
        scores, rows = self._index.search(query[None], depth, params=parameters)
        return scores[0], rows[0]

    def _best_per_patient(self, scores: FloatArray, rows: NDArray[np.int64]) -> list[Candidate]:
        table, best = self._table, dict[PatientKey, Candidate]()
        # Ties go to the older embedding, so that two runs give one list.
        for row, score in sorted(
            zip(rows.tolist(), scores.tolist(), strict=True), key=lambda hit: (-hit[1], table.ids[hit[0]])
        ):
            patient = table.patient[row]
            if patient not in best:
                bounded = min(1.0, max(-1.0, score))
                best[patient] = Candidate(patient, table.text["study_uid"][row], int(table.ids[row]), bounded)
        return list(best.values())

    def _remove(self, rows: NDArray[np.bool_]) -> int:
        if rows.any():
            self._index.remove_ids(np.flatnonzero(rows))
            self._table.keep(~rows)
        return int(rows.sum())

    def _checked(self, vectors: FloatArray, what: str) -> FloatArray:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise GalleryError(
                f"{what} of shape {vectors.shape} does not fit {self.encoder} {self.version} of dimension "
                f"{self.dimension}; search with embeddings of that very version",
                reason="GALLERY_DIMENSION",
            )
        # A NaN compares as false, so the test asks for what is right.
        if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) <= LENGTH_TOLERANCE).all():
            raise GalleryError(f"{what} is not a finite vector of length 1", reason="GALLERY_NOT_NORMALISED")
        return np.ascontiguousarray(vectors, dtype=np.float32)


def _faiss() -> Any:
    import faiss  # late: it is heavy, and its stubs know nothing of its own Python wrappers

    return faiss


def _vector(entry: GalleryEntry, dimension: int) -> FloatArray:
    vector = np.asarray(entry.vector, np.float32)
    if vector.shape != (dimension,):
        raise GalleryError(
            f"embedding {entry.embedding_id} has shape {vector.shape}, the gallery needs ({dimension},); "
            "it was made by another encoder version",
            reason="GALLERY_DIMENSION",
        )
    return vector
