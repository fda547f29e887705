"""The evaluation of one source of scores on one table of images, from the first comparison to the last interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from config.errors import EvaluationError
from training.evaluation.candidates import Candidates, candidate_lists
from training.evaluation.distractors import GrowingGalleries, gallery_sizes
from training.evaluation.enrolment import enrolment
from training.evaluation.figures import Enrolment, GallerySize, Measures, Sizes, Stratum, to_json
from training.evaluation.growth import distractor_curve
from training.evaluation.likelihood import DrawnScores, Evidence, LikelihoodRatios, calibrated, cross_fitted
from training.evaluation.measures import measure
from training.evaluation.normalisation import Cohort, NormalisedScores, item_statistics
from training.evaluation.open_set import OpenSetStatistic
from training.evaluation.options import Options, Progress
from training.evaluation.pairing import Mates, find_mates
from training.evaluation.passes import ALL, Job, Searched, candidates_over, pass_over
from training.evaluation.search import Gallery, Tile
from training.evaluation.sources import ScoreSource
from training.evaluation.strata import Grouping, impostor_tiles, interval_groups, probe_groups, stratum
from training.evaluation.table import Bools, Floats, Table
from training.evaluation.trial import Trial

# Each random draw has its own stream, so that asking for one thing more changes nothing else.
_DRAWN, _FOLDS, _GALLERIES = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured. ``notes`` say what could not be, and why; ``candidates`` stay out of the JSON."""

    options: Options
    sizes: Sizes
    measures: Measures
    distractors: tuple[GallerySize, ...]
    strata: Mapping[str, Stratum]
    normalised: Mapping[str, Measures]
    enrolment: Enrolment | None
    notes: tuple[str, ...]
    candidates: Candidates = field(metadata={"json": False})

    def to_json(self) -> dict[str, Any]:
        """Plain values: keys as text, numbers, text, lists, None for what is undefined or infinite."""
        result: dict[str, Any] = to_json(self)
        return result


def evaluate(
    table: Table,
    source: ScoreSource,
    options: Options | None = None,
    *,
    lrs: LikelihoodRatios | None = None,
    cohort: Cohort | None = None,
    failures: Bools | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures recognition: closed set, verification, open set, likelihood ratios, strata; intervals over patients.

    Parameters
    ----------
    table, source
        the images, and scores of them against each other.
    lrs
        the calibration to judge. Without one, LRs come from logistic maps cross-fitted over disjoint patients.
    cohort
        held-out patients for score normalisation; without one nothing is normalised.
    failures
        (N,) bool: images that nothing can be compared of. They take part in no search, but count as failures to enrol.
    progress
        called now and then, in this thread.

    Raises
    ------
    EvaluationError
        ``NO_PROBES`` or ``NO_GALLERY`` when nothing has that role; ``NOT_FINITE`` for NaN or infinite scores;
        ``COHORT`` for a cohort that shares patients with the table.
    """
    chosen = options or Options()
    tell = progress or (lambda stage, done, total: None)
    works = np.ones(len(table), bool) if failures is None else ~np.asarray(failures, bool)
    if works.shape != (len(table),):
        raise EvaluationError("failures are one truth value for each image of the table", reason="SHAPE")
    probes, gallery = np.flatnonzero(table.probe & works), np.flatnonzero(table.gallery & works)
    if not len(probes):
        raise EvaluationError("no image may be a probe; set the column role to probe or both", reason="NO_PROBES")
    if not len(gallery):
        raise EvaluationError("the gallery is empty; set the column role to gallery or both", reason="NO_GALLERY")
    if cohort is not None:
        cohort.check(table)
    job = Job(table, source, probes, chosen, tell)
    return _Evaluator(job, Gallery.of(table, gallery)).run(lrs, cohort, ~works)


class _Evaluator:
    def __init__(self, job: Job, gallery: Gallery) -> None:
        self.job, self.gallery, self.options = job, gallery, job.options
        self.everything = [Tile(np.arange(len(job.probes)), gallery)]
        self.notes: list[str] = []

    def run(self, lrs: LikelihoodRatios | None, cohort: Cohort | None, failed: Bools) -> Evaluation:
        job, options = self.job, self.options
        mates = self._mates(job)
        intervals = interval_groups(mates, options)
        groups = probe_groups(job.table, job.probes, options)
        drawn = DrawnScores(len(job.probes), len(self.gallery.patients), options.lr_comparisons, self._seed(_DRAWN))
        sizes = gallery_sizes(len(self.gallery.patients), options.gallery_sizes)
        mated = mates.best()[0]
        growing = GrowingGalleries(mated, sizes[-1], sizes[:-1], options.draws, self._seed(_GALLERIES))
        searched = pass_over(
            job,
            self.everything,
            mates,
            variants=intervals,
            groups={name: grouping.codes for name, grouping in groups.items()},
            extras=(drawn, growing),
        )
        growing.galleries()
        trial, thresholds = _with_thresholds(searched)
        evidence = self._evidence(lrs, trial, drawn)
        measures = measure(trial, thresholds, options, evidence=evidence)
        strata = self._strata(searched, trial, thresholds, groups, intervals, evidence)
        return Evaluation(
            options=options,
            sizes=self._sizes(trial, mates),
            measures=measures,
            distractors=distractor_curve(trial, growing, sizes, options, job.progress),
            strata=strata,
            normalised=self._normalised(cohort),
            enrolment=enrolment(job.table, failed, trial, thresholds, options) if failed.any() else None,
            notes=tuple(self.notes),
            candidates=self._candidates(searched, trial),
        )

    def _seed(self, stream: int) -> int:
        return int(np.random.SeedSequence([self.options.seed, stream]).generate_state(1)[0])

    def _mates(self, job: Job) -> Mates:
        return find_mates(job.table, job.source, job.probes, self.gallery.images, job.options, job.progress)

    def _evidence(self, lrs: LikelihoodRatios | None, trial: Trial, drawn: DrawnScores) -> Evidence | None:
        if lrs is not None:
            return calibrated(lrs, self.job.table, self.job.probes, trial.mate, drawn, trial.compared)
        found = cross_fitted(
            trial.patient, self.gallery.patients, trial.mate, drawn, trial.compared, self._seed(_FOLDS)
        )
        if found is None:
            self.notes.append("too few people with mates to fit likelihood ratios on some and judge them on others")
        return found

    def _strata(
        self,
        searched: Searched,
        trial: Trial,
        thresholds: Floats,
        groups: Mapping[str, Grouping],
        intervals: Mapping[str, Bools],
        evidence: Evidence | None,
    ) -> dict[str, Stratum]:
        options, totals = self.options, searched.exceedances.totals
        found: dict[str, Stratum] = {}
        steps = len(groups) + 2
        for number, (name, grouping) in enumerate(groups.items()):
            measured = {}
            for code in np.unique(grouping.codes).tolist():
                some = grouping.codes == code
                part = trial.among(some, totals[name][code])
                measured[grouping.names[code]] = measure(
                    part,
                    thresholds,
                    options,
                    evidence=evidence and evidence.among(some),
                    supported=int(trial.searched.sum()),
                )
            found[name] = stratum(name, measured)
            self.job.progress("strata", number + 1, steps)
        if intervals:
            measured = {}
            for variant in intervals:
                part = replace(searched.trial(variant), over=trial.over)
                if part.mated.any():
                    measured[variant] = measure(part, thresholds, options, supported=int(trial.searched.sum()))
            found["interval"] = stratum("interval", measured)
        self.job.progress("strata", steps - 1, steps)
        if impostors := self._impostors(searched.mates):
            found["impostors"] = stratum("impostors", impostors)
        self.job.progress("strata", steps, steps)
        return found

    def _impostors(self, mates: Mates) -> dict[str, Measures]:
        """Mates are compared as ever, but strangers only where they share the probe's device, or more."""
        measured = {}
        tiles = impostor_tiles(self.job.table, self.job.probes, self.gallery.images, self.options)
        for name, some in tiles.items():
            if not some:
                continue
            trial, thresholds = _with_thresholds(pass_over(self.job, some, mates, stage=f"impostors of the {name}"))
            # Without a stranger to be mistaken for, a probe has nothing to say here.
            kept = trial.searched
            if kept.any():
                measured[name] = measure(trial.among(kept, trial.counts.total), thresholds, self.options)
        return measured

    def _normalised(self, cohort: Cohort | None) -> dict[str, Measures]:
        if cohort is None:
            return {}
        statistics = item_statistics(self.job, cohort, self.gallery.images)
        measured: dict[str, Measures] = {}
        for kind in self.options.normalisations:
            job = replace(self.job, source=NormalisedScores(self.job.source, statistics, kind))
            searched = pass_over(job, self.everything, self._mates(job), stage=f"searches, {kind}-norm")
            measured[kind] = measure(*_with_thresholds(searched), self.options)
        return measured

    def _sizes(self, trial: Trial, mates: Mates) -> Sizes:
        return Sizes(
            images=len(self.job.table),
            patients=len(self.job.table.patients),
            probes=len(self.job.probes),
            gallery_images=len(self.gallery.images),
            gallery_patients=len(self.gallery.patients),
            mated_searches=int(trial.mated.sum()),
            nonmated_searches=int(trial.searched.sum()),
            mated_image_pairs=len(mates.probe),
            nonmated_comparisons=int(trial.compared.sum()),
        )

    def _candidates(self, searched: Searched, trial: Trial) -> Candidates:
        scores, images = searched.best[ALL]
        lists = candidate_lists(
            searched.others, self.job.probes, self.gallery.patients, trial.patient, scores, images, trial.rank
        )
        k = self.options.candidates
        return replace(lists, images=lists.images[:, :k], patients=lists.patients[:, :k], scores=lists.scores[:, :k])


def _with_thresholds(searched: Searched) -> tuple[Trial, Floats]:
    trial = searched.trial()
    thresholds = OpenSetStatistic(trial, searched.job.options).thresholds()
    return replace(trial, over=candidates_over(searched, thresholds)), thresholds
