"""Scores of known studies, as searches would have made them: what calibrations are fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from config.errors import CalibrationError
from inference.calibration import OVERALL, Pair, Side
from inference.gallery.protocol import GalleryEntry

# Bounds time and memory at a large site: probes are drawn so that no more scores than this are made.
MAX_SCORES = 4_000_000

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StudyScores:
    """One row per probe study, patient and kind of pair, all arrays (n,).

    ``study`` and ``owner`` say which probe study and whose, ``patient`` whom it was compared with, ``search`` which
    rows one source of evidence found together. ``pair`` numbers ``pairs``, the pairs' names with the probe's band.
    """

    study: Numbers
    owner: Numbers
    patient: Numbers
    search: Numbers
    score: NDArray[np.float64]
    pair: Numbers
    pairs: tuple[str, ...]
    patients: int
    studies: int

    @property
    def mated(self) -> NDArray[np.bool_]:
        return np.asarray(self.owner == self.patient)

    def names(self) -> NDArray[np.str_]:
        """(n,) the name of each row's pair."""
        return np.asarray(self.pairs)[self.pair]

    def of_level(self, level: str) -> NDArray[np.bool_]:
        """(n,) which rows belong to the stratum of that name."""
        inside = np.asarray([level in Pair.of_name(name).levels() for name in self.pairs])
        return np.asarray(inside[self.pair])

    def where(self, rows: NDArray[np.bool_]) -> StudyScores:
        """Only these rows."""
        names = ("study", "owner", "patient", "search", "score", "pair")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def among(self, chosen: NDArray[np.bool_]) -> StudyScores:
        """Only pairs of probes and patients of whom both are ``chosen`` ((patients,) bool)."""
        return replace(self.where(chosen[self.owner] & chosen[self.patient]), patients=int(chosen.sum()))


def study_scores(entries: Iterable[GalleryEntry], seed: int = 0, max_scores: int = MAX_SCORES) -> StudyScores:
    """Searches every study among all others and keeps, per patient, the best score over series and enrolled studies.

    Probe and reference never share a study. Images of one kind are compared exactly as
    :func:`inference.evidence.search_filter` asks for; images of two kinds give rows of a pair of their own.

    Raises
    ------
    CalibrationError
        ``CALIBRATION_TOO_LITTLE_DATA`` when there are no entries.
    """
    table = _Table.of(list(entries))
    kinds = len(set(table.sides))
    drawn = np.random.default_rng(seed).permutation(table.studies)
    probes = np.sort(drawn[: max(2, max_scores // (table.patients * kinds))])
    found = [row for number in probes for row in _searches(table, int(number))]
    names = sorted({str(name) for one in found for name in np.unique(one.names)})
    numbers = {name: index for index, name in enumerate(names)}
    sizes = [len(one.patients) for one in found]
    return StudyScores(
        study=np.repeat(np.asarray([one.study for one in found], np.int64), sizes),
        owner=np.repeat(np.asarray([one.owner for one in found], np.int64), sizes),
        patient=np.concatenate([np.empty(0, np.int64), *(one.patients for one in found)]),
        search=np.repeat(np.arange(len(found)), sizes),
        score=np.concatenate([np.empty(0), *(one.scores for one in found)]),
        pair=np.asarray([numbers[str(name)] for one in found for name in one.names], np.int64),
        pairs=tuple(names),
        patients=table.patients,
        studies=table.studies,
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Entries as columns (rows,), with patients and studies numbered."""

    vectors: NDArray[np.float32]
    patient: Numbers
    study: Numbers
    sides: tuple[Side, ...]
    quality: tuple[float, ...]
    patients: int
    studies: int

    @classmethod
    def of(cls, rows: Sequence[GalleryEntry]) -> _Table:
        if not rows:
            raise CalibrationError("there are no embeddings to calibrate on", reason="CALIBRATION_TOO_LITTLE_DATA")
        names, patient = np.unique([f"{row.patient.issuer}\x00{row.patient.id}" for row in rows], return_inverse=True)
        studies, study = np.unique([row.study_uid for row in rows], return_inverse=True)
        return cls(
            vectors=np.stack([np.asarray(row.vector, np.float32) for row in rows]),
            patient=patient,
            study=study,
            sides=tuple(Side(row.modality, row.view) for row in rows),
            quality=tuple(row.quality for row in rows),
            patients=len(names),
            studies=len(studies),
        )

    def like(self, side: Side) -> NDArray[np.bool_]:
        """Rows that a search for this kind finds: equal to it, or unknown."""
        same = [
            (not side.modality or own.modality in (side.modality, ""))
            and (not side.view or own.view in (side.view, ""))
            for own in self.sides
        ]
        return np.asarray(same, bool)


@dataclass(frozen=True, slots=True)
class _Search:
    """What one source found for one study: patients with their best score, and the name of the pair that made it."""

    study: int
    owner: int
    patients: Numbers
    scores: NDArray[np.float64]
    names: NDArray[np.str_]


def _searches(table: _Table, number: int) -> Iterator[_Search]:
    own_rows = np.flatnonzero(table.study == number)
    owner = int(table.patient[own_rows[0]])
    for side in sorted({table.sides[row] for row in own_rows}):
        probes = [int(row) for row in own_rows if table.sides[row] == side]
        for other in sorted(set(table.sides)):
            if other != side and not Pair(side, other).foreign:
                continue  # an unknown view among known ones is found with them
            compared = (table.study != number) & table.like(other)
            found = _best(table, probes, compared, Pair(side, other))
            if found is not None:
                yield _Search(number, owner, *found)


def _best(
    table: _Table, probes: Sequence[int], compared: NDArray[np.bool_], pair: Pair
) -> tuple[Numbers, NDArray[np.float64], NDArray[np.str_]] | None:
    best = np.full(table.patients, -np.inf)
    names = np.full(table.patients, "", dtype=object)
    for own in probes:
        scores = np.full(table.patients, -np.inf)
        np.maximum.at(scores, table.patient[compared], table.vectors[compared] @ table.vectors[own])
        names[scores > best] = pair.with_quality(table.quality[own]).name
        np.maximum(best, scores, out=best)
    patients = np.flatnonzero(np.isfinite(best))
    return (patients, best[patients], names[patients].astype(str)) if len(patients) else None


def kinds_of(scores: StudyScores) -> tuple[str, ...]:
    """The kinds of pairs among the scores, without bands."""
    return tuple(sorted({Pair.of_name(name).kind for name in scores.pairs}))


def alike(scores: StudyScores) -> StudyScores:
    """Only comparisons of images of one kind."""
    return scores.where(scores.of_level(OVERALL))
