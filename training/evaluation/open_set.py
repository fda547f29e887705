"""Open-set identification: FPIR, FNIR(N, R, T) and selectivity (ISO/IEC 19795-1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluation.bootstrap import Estimates, Trials, weighted_mean
from training.evaluation.figures import Figure, OpenSet, OperatingPoint, Points
from training.evaluation.options import Options
from training.evaluation.table import Bools, Floats
from training.evaluation.trial import Trial

_CURVE_POINTS = 200
# An allowed number of errors that is whole must not be lost to rounding.
_SLACK = 1 + 1e-12


def hits(trial: Trial, rank: int | None) -> Bools:
    """(P,) whether the mate is within a rank, at whatever score."""
    return np.asarray((trial.rank > 0) & (trial.rank <= (rank or np.inf)))


class OpenSetStatistic:
    """FNIR at thresholds that the (drawn) non-mated searches themselves set: FPIR is at most what was asked for."""

    def __init__(self, trial: Trial, options: Options) -> None:
        searched, mated = np.flatnonzero(trial.searched), np.flatnonzero(trial.mated)
        self._searched = searched[np.argsort(-trial.best[searched], kind="stable")]
        self._mated = mated[np.argsort(-trial.mate[mated], kind="stable")]
        self._best, self._mate = trial.best[self._searched], trial.mate[self._mated]
        self._hits = {rank: hits(trial, rank)[self._mated] for rank in options.fnir_ranks}
        self._over = trial.over
        self._fpirs, self._probes = options.fpirs, len(trial)

    def thresholds(self) -> Floats:
        """(F,) the score that a candidate must exceed, for each FPIR; NaN without a non-mated search."""
        return np.array(
            [float(self._threshold(self._cumulated(np.ones((1, self._probes))), f)[0]) for f in self._fpirs]
        )

    def exact(self) -> Mapping[str, float]:
        return {name: float(value[0]) for name, value in self.drawn(np.ones((1, self._probes))).items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        searches = self._cumulated(weights)
        found = {rank: self._sums(weights[:, self._mated] * hit) for rank, hit in self._hits.items()}
        mated = weights[:, self._mated].sum(axis=1)
        values: dict[str, Floats] = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for fpir in self._fpirs:
                threshold = self._threshold(searches, fpir)
                above = np.searchsorted(-self._best, -threshold, side="left")
                values[f"observed {fpir:g}"] = np.where(
                    np.isnan(threshold), np.nan, _at(searches, above) / searches[:, -1]
                )
                accepted = np.searchsorted(-self._mate, -threshold, side="left")
                for rank, sums in found.items():
                    missed = 1 - _at(sums, accepted) / mated
                    values[f"fnir {fpir:g} {rank}"] = np.where(np.isnan(threshold), np.nan, missed)
        return values

    def _cumulated(self, weights: Floats) -> Floats:
        """(b, S + 1) weight of the best 0, 1, 2, ... non-mated searches."""
        return self._sums(weights[:, self._searched])

    @staticmethod
    def _sums(weights: Floats) -> Floats:
        return np.hstack([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)])

    def _threshold(self, searches: Floats, fpir: float) -> Floats:
        """(b,) the best score of the first search that would be one false positive too many."""
        total = searches[:, -1]
        place = (searches[:, 1:] <= (fpir * _SLACK * total)[:, None]).sum(axis=1)
        usable = total > 0
        return np.where(usable, np.append(self._best, -np.inf)[np.where(usable, place, -1)], np.nan)


def _at(sums: Floats, places: np.ndarray) -> Floats:
    return np.asarray(sums[np.arange(len(sums)), places])


class FixedThresholdStatistic:
    """FPIR, FNIR and selectivity of some searches at thresholds that were set elsewhere."""

    def __init__(self, trial: Trial, thresholds: Floats, options: Options) -> None:
        self._mated, self._searched = trial.mated, trial.searched
        fnir, fpir = {}, {}
        for place, rate in enumerate(options.fpirs):
            fpir[f"observed {rate:g}"] = trial.best > thresholds[place]
            fpir[f"selectivity {rate:g}"] = trial.over[:, place]
            for rank in options.fnir_ranks:
                fnir[f"fnir {rate:g} {rank}"] = ~(hits(trial, rank) & (trial.mate > thresholds[place]))
        self._defined = np.isfinite(thresholds).any()
        self._names = (tuple(fnir), tuple(fpir))
        self._values = tuple(
            np.stack([np.asarray(column, np.float64) for column in part.values()], axis=1) for part in (fnir, fpir)
        )

    def exact(self) -> Mapping[str, float]:
        return {name: float(value[0]) for name, value in self.drawn(np.ones((1, len(self._mated)))).items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        fnir = weighted_mean(weights, self._values[0], self._mated)
        fpir = weighted_mean(weights, self._values[1], self._searched)
        values = {name: fnir[:, i] for i, name in enumerate(self._names[0])}
        values |= {name: fpir[:, i] for i, name in enumerate(self._names[1])}
        return values if self._defined else {name: np.full(len(weights), np.nan) for name in values}


def open_set(trial: Trial, thresholds: Floats, supported: int, estimates: Estimates, options: Options) -> OpenSet:
    """The figures of the statistics that went by the names "open" (if any) and "fixed".

    Parameters
    ----------
    thresholds
        (F,) for each FPIR asked for.
    supported
        how many non-mated searches set these thresholds.
    """
    mated, searches = (Trials.among(trial.patient, some) for some in (trial.mated, trial.searched))
    kind = "open" if any(name.startswith("open.") for name in estimates.exact) else "fixed"
    no_mates = "no probe has a mate in the gallery"
    points = []
    for rate, threshold in zip(options.fpirs, thresholds.tolist(), strict=True):
        names = {"any" if rank is None else str(rank): f"fnir {rate:g} {rank}" for rank in options.fnir_ranks}
        if rate * supported < 1:
            need = int(np.ceil(1 / rate))
            empty = Figure(
                None,
                n=supported,
                note=f"not supported: {need} non-mated searches are needed, there are {supported}",
            )
            points.append(OperatingPoint(rate, None, empty, empty, dict.fromkeys(names, empty)))
            continue
        fnir = {
            rank: estimates.figure(f"{kind}.{name}", mated, rate=True, missing=no_mates) for rank, name in names.items()
        }
        observed = estimates.figure(f"fixed.observed {rate:g}", searches, rate=True)
        selectivity = estimates.figure(f"fixed.selectivity {rate:g}", searches)
        points.append(OperatingPoint(rate, threshold, observed, selectivity, fnir))
    return OpenSet(mated.n, searches.n, tuple(points), _det(trial))


def _det(trial: Trial) -> Points:
    """(FPIR, FNIR) over thresholds, evenly spaced in the logarithm of the number of false positives."""
    best = np.sort(trial.best[trial.searched])[::-1]
    mate = np.sort(trial.mate[trial.mated])
    if not len(best) or not len(mate):
        return ()
    places = np.unique(np.append(0, np.geomspace(1, len(best), _CURVE_POINTS).astype(np.int64))).clip(0, len(best) - 1)
    missed = np.searchsorted(mate, best[places], side="right") / len(mate)
    alarms = (len(best) - np.searchsorted(best[::-1], best[places], side="right")) / len(best)
    return tuple(dict.fromkeys(zip(alarms.tolist(), missed.tolist(), strict=True)))
