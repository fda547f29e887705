"""Failure to enrol: images that nothing could be compared of, and what they do to identification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from training.evaluation.bootstrap import Estimates, Statistic, Trials, weighted_mean
from training.evaluation.closed_set import ClosedSetStatistic
from training.evaluation.figures import Enrolment
from training.evaluation.open_set import FixedThresholdStatistic, OpenSetStatistic, open_set
from training.evaluation.options import Options
from training.evaluation.pairing import left_out
from training.evaluation.retrieval import Retrieval
from training.evaluation.table import Bools, Codes, Floats, Table
from training.evaluation.trial import Trial

# The rank of a mate that no search can find.
_NEVER = np.iinfo(np.int64).max // 2


class _FailureRate:
    """Share of images that failed."""

    def __init__(self, failed: Bools) -> None:
        self._failed = failed.astype(np.float64)
        self._all = np.ones(len(failed), bool)

    def exact(self) -> Mapping[str, float]:
        return {"rate": float(self._failed.mean())}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        return {"rate": weighted_mean(weights, self._failed, self._all)}


def enrolment(table: Table, failed: Bools, trial: Trial, thresholds: Floats, options: Options) -> Enrolment:
    """Failure to enrol by image and patient, and the generalised rates.

    Parameters
    ----------
    failed
        (N,) which images of the table failed; ``trial`` and ``thresholds`` are of the others.
    """
    enrolled = np.unique(table.patient[~failed])
    everybody = np.unique(table.patient)
    rate = Estimates(table.patient, {"failure": _FailureRate(failed)}, options)
    whole = _generalised(table, failed, trial, options)
    statistics: dict[str, Statistic] = {
        "closed": ClosedSetStatistic(whole, options),
        "open": OpenSetStatistic(whole, options),
        "fixed": FixedThresholdStatistic(whole, thresholds, options),
    }
    estimates = Estimates(whole.patient, statistics, options)
    mated, searches = Trials.among(whole.patient, whole.mated), int(whole.searched.sum())
    return Enrolment(
        images=len(table),
        failed_images=int(failed.sum()),
        patients=len(everybody),
        failed_patients=len(everybody) - len(enrolled),
        failure_rate=rate.figure("failure.rate", Trials(len(table), len(everybody)), rate=True),
        generalised=open_set(whole, thresholds, searches, estimates, options),
        generalised_rank={
            str(k): estimates.figure(f"closed.rank {k}", mated, rate=True, missing="no probe has a mate")
            for k in options.ranks
        },
    )


def _generalised(table: Table, failed: Bools, trial: Trial, options: Options) -> Trial:
    """The trial with every mated search that a failure made impossible, as a search that finds nothing."""
    probes = np.flatnonzero(table.probe)
    should = _has_mate(table, probes, options)
    worked = ~failed[probes]
    mate, rank = np.full(len(probes), np.nan), np.zeros(len(probes), np.int64)
    mate[worked], rank[worked] = trial.mate, trial.rank
    lost = should & np.isnan(mate)
    mate[lost], rank[lost] = -np.inf, _NEVER

    def spread(values: np.ndarray, empty: float) -> np.ndarray:
        result = np.full((len(probes), *values.shape[1:]), empty, values.dtype)
        result[worked] = values
        return result

    def images(values: Floats, missing: float) -> Floats:
        result: Floats = spread(values, np.nan)
        result[lost] = missing
        return result

    return Trial(
        patient=table.patient[probes],
        searched=spread(trial.searched, False),
        mate=mate,
        rank=rank,
        compared=spread(trial.compared, 0),
        best=spread(trial.best, -np.inf),
        over=spread(trial.over, 0),
        images=Retrieval(
            images(trial.images.average_precision, 0.0),
            images(trial.images.at_r, 0.0),
            images(trial.images.inverse_penalty, 0.0),
            images(trial.images.first, np.inf),
        ),
        counts=replace(trial.counts, each=spread(trial.counts.each, 0)),
    )


def _has_mate(table: Table, probes: Codes, options: Options) -> Bools:
    """(P,) whether a probe would have had a mate, had nothing failed."""
    gallery = np.flatnonzero(table.gallery)
    gallery = gallery[np.argsort(table.patient[gallery], kind="stable")]
    codes = table.patient[gallery]
    first, last = np.searchsorted(codes, table.patient[probes]), np.searchsorted(codes, table.patient[probes], "right")
    result = np.zeros(len(probes), bool)
    for number in range(len(probes)):
        images = gallery[first[number] : last[number]]
        result[number] = not left_out(table, probes[number : number + 1], images, options).all()
    return result
