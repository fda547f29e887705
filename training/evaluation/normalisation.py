"""Score normalisation by a cohort of held-out patients: z, t, s and adaptive s.

R. Auckenthaler, M. Carey, H. Lloyd-Thomas, "Score normalization for text-independent speaker verification systems"
(2000); P. Matějka et al., "Analysis of score normalization in multilingual speaker recognition" (2017): AS-norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from config.errors import EvaluationError
from training.evaluation.options import Normalisation
from training.evaluation.passes import Job
from training.evaluation.sources import EmbeddingScores, ScoreSource
from training.evaluation.table import Codes, Floats, Table

_BATCH = 1024
_LEAST_COHORT = 2


class CohortScores(Protocol):
    """Scores of the table's images against those of a cohort."""

    def __call__(self, images: Codes) -> Floats:
        """(n, C) float64 of the images at these table rows, as probe and as gallery entry alike."""
        ...


@dataclass(frozen=True, slots=True)
class Cohort:
    """Images of people who are neither probe nor gallery: their (issuer, patient id), and scores against them."""

    patients: Sequence[tuple[str, str]]
    scores: CohortScores

    @classmethod
    def of_embeddings(cls, patients: Sequence[tuple[str, str]], cohort: ArrayLike, vectors: ArrayLike) -> Cohort:
        """Inner products of ``vectors`` (N, D), those of the table, with ``cohort`` (C, D)."""
        both = EmbeddingScores(np.concatenate([np.asarray(vectors), np.asarray(cohort)]))
        first = len(np.asarray(vectors))
        members = np.arange(first, first + len(np.asarray(cohort)))
        return cls(patients, lambda images: both.block(images, members))

    def check(self, table: Table) -> None:
        """Raises EvaluationError (``COHORT``) when the cohort shares patients with the table, or is too small."""
        shared = len(set(self.patients) & set(table.patients))
        if shared:
            raise EvaluationError(
                f"{shared} patients of the cohort are also evaluated; normalise by people who are held out",
                reason="COHORT",
            )
        if len(self.patients) < _LEAST_COHORT:
            raise EvaluationError("a cohort needs at least two images", reason="COHORT")


@dataclass(frozen=True, slots=True, eq=False)
class ItemStatistics:
    """Mean and standard deviation of every image's cohort scores, (N,), NaN for images that were not asked for; of all
    cohort scores, and of the closest."""

    mean: Floats
    deviation: Floats
    closest_mean: Floats
    closest_deviation: Floats


def item_statistics(job: Job, cohort: Cohort, gallery: Codes) -> ItemStatistics:
    """Of every probe and gallery image.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` for NaN or infinite cohort scores; ``COHORT`` when all scores of some image are the same, so that
        there is nothing to normalise by.
    """
    rows = np.union1d(job.probes, gallery)
    columns = np.full((4, len(job.table)), np.nan)
    for begin in range(0, len(rows), _BATCH):
        some = rows[begin : begin + _BATCH]
        scores = np.asarray(cohort.scores(some), np.float64)
        if not np.isfinite(scores).all():
            broken = int((~np.isfinite(scores)).sum())
            raise EvaluationError(f"{broken} cohort scores are NaN or infinite", reason="NOT_FINITE")
        closest = min(max(job.options.closest, _LEAST_COHORT), scores.shape[1])
        near = np.partition(scores, -closest, axis=1)[:, -closest:]
        columns[:, some] = scores.mean(axis=1), scores.std(axis=1), near.mean(axis=1), near.std(axis=1)
        job.progress("cohort", min(begin + _BATCH, len(rows)), len(rows))
    # Equal scores leave rounding alone in their deviation.
    flat = int((columns[[1, 3]][:, rows] <= 1e-12 * np.abs(columns[[0, 2]][:, rows])).any(axis=0).sum())
    if flat:
        raise EvaluationError(f"{flat} images score the same with the whole cohort (or its closest)", reason="COHORT")
    return ItemStatistics(*columns)


class NormalisedScores:
    """A source seen through a normalisation.

    With mu and sd the mean and deviation of an image's cohort scores: z = (s - mu_gallery) / sd_gallery,
    t = (s - mu_probe) / sd_probe, s = (z + t) / 2; as is s with the closest cohort scores of either image.
    """

    def __init__(self, source: ScoreSource, statistics: ItemStatistics, kind: Normalisation) -> None:
        self._source, self._kind = source, kind
        self._mean, self._deviation = (
            (statistics.closest_mean, statistics.closest_deviation)
            if kind == "as"
            else (statistics.mean, statistics.deviation)
        )

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        scores = self._source.block(probes, gallery)
        by_gallery = 1 / self._deviation[gallery][None, :]
        by_probe = 1 / self._deviation[probes][:, None]
        shift_gallery, shift_probe = self._mean[gallery][None, :] * by_gallery, self._mean[probes][:, None] * by_probe
        if self._kind == "z":
            return scores * by_gallery - shift_gallery
        if self._kind == "t":
            return scores * by_probe - shift_probe
        return (scores * (by_gallery + by_probe) - (shift_gallery + shift_probe)) / 2
