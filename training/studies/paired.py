"""Several methods on the very same searches: figures of each, and what separates each from one of them.

An image that a method could not enrol scores below everything with everything: as probe it is a miss, as mate it is not
found. All methods so have the same trials, and differences can be drawn over the same patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError
from inference.types import FloatArray
from training.evaluation.bootstrap import Estimates, Statistic, Trials
from training.evaluation.closed_set import ClosedSetStatistic
from training.evaluation.figures import Figure, Measures
from training.evaluation.measures import measure
from training.evaluation.open_set import OpenSetStatistic
from training.evaluation.options import Options, Progress
from training.evaluation.pairing import find_mates
from training.evaluation.passes import Job, candidates_over, pass_over
from training.evaluation.report.cells import fnir_at
from training.evaluation.search import Gallery, Tile
from training.evaluation.sources import EmbeddingScores, ScoreSource
from training.evaluation.table import Bools, Codes, Floats, Table
from training.evaluation.trial import Trial

FPIR = 0.01
# Figures by which methods are compared; FNIR at FPIR 1 % and rank 1.
HEADLINE = ("rank-1", "mAP", "FNIR")
# Below every inner product of vectors of unit length, and of the metadata floor's, which are never negative.
_FAILED = -2.0


class ScoresOrMisses:
    """Inner products of embeddings (N, D); images of which there is none are all zeros, and score below all others."""

    def __init__(self, vectors: FloatArray) -> None:
        self._scores = EmbeddingScores(np.asarray(vectors, np.float32))
        self._failed = without_embedding(vectors)

    def block(self, probes: Codes, gallery: Codes) -> Floats:
        scores = self._scores.block(probes, gallery)
        scores[self._failed[probes]] = _FAILED
        scores[:, self._failed[gallery]] = _FAILED
        return scores


def without_embedding(vectors: FloatArray) -> Bools:
    """(N,) whose rows are all zeros."""
    return np.asarray(~vectors.any(axis=1), bool)


@dataclass(frozen=True, slots=True)
class Judged:
    """One method: its measures, and by name (:data:`HEADLINE`) how far it lies from the method it is compared with.

    ``failed`` images gave no embedding.
    """

    measures: Measures
    difference: Mapping[str, Figure]
    failed: int = 0

    def headline(self) -> dict[str, Figure]:
        """rank-1, mAP, and FNIR at FPIR 1 % and rank 1."""
        fnir = fnir_at(self.measures, FPIR)
        assert fnir is not None
        return {"rank-1": self.measures.closed_set.rank["1"], "mAP": self.measures.closed_set.map, "FNIR": fnir}


@dataclass(frozen=True, slots=True)
class Judgement:
    """All methods on one set of searches; ``chance`` is the rank-1 that guessing reaches."""

    images: int
    patients: int
    mated: int
    chance: float | None
    methods: Mapping[str, Judged]


def judge(table: Table, methods: Mapping[str, FloatArray], base: str, options: Options, tell: Progress) -> Judgement:
    """Measures every method, by its embeddings (N, D) of the table's images, and its difference to ``base``.

    ``options`` must ask for rank 1 and FPIR 1 %.

    Raises
    ------
    EvaluationError
        ``NO_PROBES`` or ``NO_GALLERY`` when nothing has that role; ``NO_MATES`` when no probe has a mate to be found.
    """
    trials = {name: _trial(table, ScoresOrMisses(vectors), options, tell) for name, vectors in methods.items()}
    first = next(iter(trials.values()))[0]
    if not first.mated.any():
        raise EvaluationError(
            "no probe has a mate in another study that it may be compared with; add patients with several studies",
            reason="NO_MATES",
        )
    judged = {}
    for number, (name, (trial, thresholds)) in enumerate(trials.items(), start=1):
        judged[name] = Judged(
            measures=measure(trial, thresholds, options),
            difference={} if name == base else _difference(trial, trials[base][0], options),
            failed=int(without_embedding(methods[name]).sum()),
        )
        tell("figures", number, len(trials))
    size = judged[base].measures.closed_set.mean_gallery
    return Judgement(
        images=len(table),
        patients=len(table.patients),
        mated=int(first.mated.sum()),
        chance=1 / size if size >= 1 else None,
        methods=judged,
    )


def side_by_side(parts: Mapping[str, FloatArray]) -> FloatArray:
    """Embeddings (N, sum of D) of several encoders, each image by the first that could enrol it.

    Images of different encoders have nothing in common: their inner product is 0.
    """
    sizes = [vectors.shape[1] for vectors in parts.values()]
    whole = np.zeros((len(next(iter(parts.values()))), sum(sizes)), np.float32)
    free = np.ones(len(whole), bool)
    for vectors, start in zip(parts.values(), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True):
        mine = free & vectors.any(axis=1)
        whole[mine, start : start + vectors.shape[1]] = vectors[mine]
        free &= ~mine
    return whole


def _trial(table: Table, source: ScoreSource, options: Options, tell: Progress) -> tuple[Trial, Floats]:
    probes, gallery = np.flatnonzero(table.probe), np.flatnonzero(table.gallery)
    for rows, role in ((probes, "PROBES"), (gallery, "GALLERY")):
        if not len(rows):
            raise EvaluationError(f"no image has the role of {role.lower()}; see the column role", reason=f"NO_{role}")
    job = Job(table, source, probes, options, tell)
    tiles = [Tile(np.arange(len(probes)), Gallery.of(table, gallery))]
    searched = pass_over(job, tiles, find_mates(table, source, probes, gallery, options, tell))
    trial = searched.trial()
    thresholds = OpenSetStatistic(trial, options).thresholds()
    return replace(trial, over=candidates_over(searched, thresholds)), thresholds


class Difference:
    """A statistic less another one of the same trials."""

    def __init__(self, ours: Statistic, theirs: Statistic) -> None:
        self._ours, self._theirs = ours, theirs

    def exact(self) -> Mapping[str, float]:
        theirs = self._theirs.exact()
        return {name: value - theirs[name] for name, value in self._ours.exact().items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        theirs = self._theirs.drawn(weights)
        return {name: values - theirs[name] for name, values in self._ours.drawn(weights).items()}


def _difference(ours: Trial, theirs: Trial, options: Options) -> dict[str, Figure]:
    estimates = Estimates(
        ours.patient,
        {
            "closed": Difference(ClosedSetStatistic(ours, options), ClosedSetStatistic(theirs, options)),
            "open": Difference(OpenSetStatistic(ours, options), OpenSetStatistic(theirs, options)),
        },
        options,
    )
    mated = Trials.among(ours.patient, ours.mated)
    names = {"rank-1": "closed.rank 1", "mAP": "closed.map", "FNIR": f"open.fnir {FPIR:g} 1"}
    found = {name: estimates.figure(key, mated) for name, key in names.items()}
    if FPIR * int(ours.searched.sum()) < 1:
        found["FNIR"] = Figure(None, note="not supported: too few non-mated searches")
    return found


def unit(vectors: NDArray[np.floating]) -> FloatArray:
    """Rows of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
