"""Verification: error rates of comparisons, EER, AUC, FNMR at a given FMR, and Cllr at its least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.evaluation import roc
from training.evaluation.bootstrap import Estimates, Trials
from training.evaluation.figures import Figure, Points, Verification
from training.evaluation.options import Options
from training.evaluation.table import Codes, Floats
from training.evaluation.trial import Counts, Trial

_CURVE_POINTS = 300


class VerificationStatistic:
    """Mated scores against counts of impostor scores at thresholds.

    Exact figures use every threshold; drawn ones use those that were kept for each probe, moved by the (small)
    difference between both on the whole of the data.

    Parameters
    ----------
    mate
        (P,) mated scores, NaN where there is none.
    compared
        (P,) how many impostor scores each probe has.
    fmrs
        at which to take the FNMR.
    least_cllr
        whether the least Cllr is wanted.
    """

    def __init__(
        self, mate: Floats, compared: Codes, counts: Counts, fmrs: Sequence[float] = (), *, least_cllr: bool = False
    ) -> None:
        self._mated = np.flatnonzero(~np.isnan(mate))
        self._order = self._mated[np.argsort(mate[self._mated], kind="stable")]
        self._compared, self._counts = compared.astype(np.float64), counts
        self._fmrs, self._least_cllr = fmrs, least_cllr
        self._below = np.searchsorted(mate[self._order], counts.thresholds, side="left")
        self._shift: Mapping[str, float] | None = None

    @property
    def defined(self) -> bool:
        return bool(len(self._mated)) and bool(self._compared.sum())

    def curve(self) -> tuple[Floats, Floats]:
        """(1, T + 2) FMR and FNMR of all the data, with both ends."""
        fmr = self._counts.total[None, :] / self._compared.sum()
        fnmr = self._below[None, :] / len(self._order)
        return roc.closed_curve(fmr, fnmr)

    def exact(self) -> Mapping[str, float]:
        if not self.defined:
            return dict.fromkeys(self._names(), np.nan)
        return {name: float(value[0]) for name, value in self._figures(*self.curve()).items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        if not self.defined:
            return {name: np.full(len(weights), np.nan) for name in self._names()}
        if self._shift is None:
            whole = self._on_kept(np.ones((1, weights.shape[1])))
            exact = self.exact()
            self._shift = {name: exact[name] - float(value[0]) for name, value in whole.items()}
        shift = self._shift
        return {name: values + shift[name] for name, values in self._on_kept(weights).items()}

    def _on_kept(self, weights: Floats) -> Mapping[str, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            # Single precision holds the counts exactly and their weighted sums to 1e-6, far below any interval.
            sums = (weights.astype(np.float32) @ self._counts.each).astype(np.float64)
            fmr = sums / (weights @ self._compared)[:, None]
            reached = np.cumsum(weights[:, self._order], axis=1)
            reached = np.hstack([np.zeros((len(weights), 1)), reached])
            fnmr = reached[:, self._below[self._counts.kept]] / reached[:, -1:]
        usable = np.isfinite(fmr.sum(axis=1) + fnmr.sum(axis=1))
        values = self._figures(*roc.closed_curve(np.nan_to_num(fmr, nan=0.5), np.nan_to_num(fnmr, nan=0.5)))
        return {name: np.where(usable, one, np.nan) for name, one in values.items()}

    def _names(self) -> list[str]:
        return ["eer", "auc", *(f"fnmr {rate:g}" for rate in self._fmrs), *(["min cllr"] * self._least_cllr)]

    def _figures(self, fmr: Floats, fnmr: Floats) -> Mapping[str, Floats]:
        values = {"eer": roc.equal_error_rate(fmr, fnmr), "auc": roc.area_under_curve(fmr, fnmr)}
        values |= {f"fnmr {rate:g}": roc.fnmr_at_fmr(fmr, fnmr, rate) for rate in self._fmrs}
        if self._least_cllr:
            values["min cllr"] = roc.min_cllr(fmr, fnmr)
        return values


def verification(
    statistic: VerificationStatistic, trial: Trial, estimates: Estimates, options: Options
) -> Verification:
    """The figures of a statistic that went by the name "verification"."""
    mated, nonmated = Trials.among(trial.patient, trial.mated), int(trial.compared.sum())
    missing = "there are no mated comparisons" if not mated.n else "there are no non-mated comparisons"

    def figure(name: str, rate: bool = False) -> Figure:
        return estimates.figure(f"verification.{name}", mated, rate=rate, missing=missing)

    fnmr = {}
    for rate in options.fmrs:
        one = figure(f"fnmr {rate:g}", rate=True)
        if one.value is not None and rate * nonmated < 1:
            need = int(np.ceil(1 / rate))
            note = f"not supported: {need} non-mated comparisons are needed, there are {nonmated}"
            one = Figure(None, n=mated.n, patients=mated.patients, note=note)
        fnmr[f"{rate:g}"] = one
    return Verification(
        mated.n, nonmated, figure("eer"), figure("auc"), fnmr, _points(statistic) if statistic.defined else ()
    )


def _points(statistic: VerificationStatistic) -> Points:
    """Points of the ROC, denser at small FMR."""
    fmr, fnmr = (rates[0] for rates in statistic.curve())
    wanted = np.concatenate([[0], np.geomspace(max(fmr[fmr > 0].min(), 1e-12), 1, _CURVE_POINTS)])
    by_fmr = np.searchsorted(-fmr, -wanted)
    by_fnmr = np.searchsorted(fnmr, np.linspace(0, 1, _CURVE_POINTS)).clip(0, len(fnmr) - 1)
    kept = np.unique(np.concatenate([by_fmr, by_fnmr, [0, len(fmr) - 1]]))
    return tuple(zip(fmr[kept].tolist(), fnmr[kept].tolist(), strict=True))
