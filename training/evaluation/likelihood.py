"""Likelihood ratios: drawn comparisons, where LRs come from, and what they are worth.

Cllr: N. Brümmer, J. du Preez, "Application-independent evaluation of speaker detection" (2006).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from config.errors import EvaluationError
from training.evaluation.crossfit import cross_fit
from training.evaluation.exceedances import Ladder, kept_thresholds, thresholds_of
from training.evaluation.search import Block, Collector
from training.evaluation.table import Bools, Codes, Floats, Table
from training.evaluation.trial import Counts
from training.evaluation.verification import VerificationStatistic

BINS = 10


class LikelihoodRatios(Protocol):
    """A stored calibration, such as :class:`inference.calibration.Calibration`."""

    def log10_lr(self, scores: ArrayLike, modality: str = "", view: str = "") -> Floats: ...


class DrawnScores(Collector):
    """Collects the scores of patients that were drawn at random for each probe; of all when there are few.

    ``places`` (P, m) ascending places in the gallery; ``scores`` (P, m) float64, -inf where none was compared, which is
    always so for the probe's own patient.
    """

    def __init__(self, probes: int, patients: int, comparisons: int, seed: int) -> None:
        each = max(1, comparisons // max(1, probes))
        if each >= patients:
            self.places = np.broadcast_to(np.arange(patients), (probes, patients))
        else:
            rng = np.random.default_rng(seed)
            drawn = [np.sort(rng.choice(patients, each, replace=False, shuffle=False)) for _ in range(probes)]
            self.places = np.stack(drawn) if drawn else np.empty((0, each), np.int64)
        self.scores = np.full(self.places.shape, -np.inf)

    def add(self, block: Block) -> None:
        first, last = block.part.first, block.part.last
        for row, probe in zip(block.patients, block.probes.tolist(), strict=True):
            places = self.places[probe]
            here = slice(*np.searchsorted(places, (first, last)).tolist())
            self.scores[probe, here] = row[places[here] - first]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """log10 LRs of one comparison with the mate, (P,), NaN without one, and of drawn ones with others, (P, m), NaN
    where there is none. ``compared`` (P,) counts the comparisons from which these were drawn."""

    method: str
    mated: Floats
    nonmated: Floats
    compared: Codes

    def among(self, probes: Bools) -> Evidence:
        return Evidence(self.method, self.mated[probes], self.nonmated[probes], self.compared[probes])


def calibrated(
    lrs: LikelihoodRatios, table: Table, probes: Codes, mate: Floats, drawn: DrawnScores, compared: Codes
) -> Evidence:
    """LRs of a stored calibration, asked for by the modality and view of the probe.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` when the calibration answers with NaN or infinite values.
    """
    modality, view = table.columns["modality"], table.columns["view"]
    mated, nonmated = np.full(len(probes), np.nan), np.full(drawn.scores.shape, np.nan)
    kinds, kind = np.unique(np.stack([modality.codes, view.codes], axis=1)[probes], axis=0, return_inverse=True)
    for number, (first, second) in enumerate(kinds.tolist()):
        rows = kind == number
        words = modality.word(first), view.word(second)
        have = rows & ~np.isnan(mate)
        mated[have] = lrs.log10_lr(mate[have], *words)
        cells = rows[:, None] & (drawn.scores != -np.inf)
        nonmated[cells] = lrs.log10_lr(drawn.scores[cells], *words)
    broken = int((~np.isfinite(mated[~np.isnan(mate)])).sum() + (~np.isfinite(nonmated[drawn.scores != -np.inf])).sum())
    if broken:
        raise EvaluationError(f"the calibration gives {broken} LRs that are NaN or infinite", reason="NOT_FINITE")
    return Evidence("stored calibration", mated, nonmated, compared)


def cross_fitted(
    patients: Codes, gallery: Codes, mate: Floats, drawn: DrawnScores, compared: Codes, seed: int
) -> Evidence | None:
    """LRs of an affine logistic map that never saw the people whom it judges; None when there are too few people.

    Parameters
    ----------
    patients
        (P,) patient codes of the probes.
    gallery
        (N,) patient codes of the gallery in the order of the search.
    """
    others = gallery[drawn.places] if len(gallery) else drawn.places
    made = cross_fit(patients, others, mate, drawn.scores, seed)
    if made is None:
        return None
    return Evidence("affine logistic map, cross-fitted over disjoint patients", *made, compared)


class LikelihoodStatistic:
    """Cllr, its least value, the difference of both, and the expected calibration error at a prior of one half."""

    def __init__(self, evidence: Evidence) -> None:
        there = ~np.isnan(evidence.nonmated)
        filled = np.where(there, evidence.nonmated, 0.0)
        self._mated = ~np.isnan(evidence.mated)
        lrs = np.where(self._mated, evidence.mated, 0.0)
        self._sums = np.stack(
            [
                self._mated.astype(np.float64),
                np.where(self._mated, log2_1p(-lrs), 0.0),
                there.sum(axis=1).astype(np.float64),
                np.where(there, log2_1p(filled), 0.0).sum(axis=1),
            ],
            axis=1,
        )
        self._bins = np.stack([*_binned(lrs[:, None], self._mated[:, None]), *_binned(filled, there)], axis=1)
        least = np.where(there, evidence.nonmated, -np.inf)
        self.order = VerificationStatistic(
            evidence.mated, there.sum(axis=1), _counts(evidence.mated, least), least_cllr=True
        )

    def exact(self) -> Mapping[str, float]:
        return self._figures(
            np.ones((1, len(self._mated))), {k: np.array([v]) for k, v in self.order.exact().items()}, 0
        )

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        return self._all(weights, self.order.drawn(weights)["min cllr"])

    def _figures(self, weights: Floats, least: Mapping[str, Floats], row: int) -> Mapping[str, float]:
        return {name: float(value[row]) for name, value in self._all(weights, least["min cllr"]).items()}

    def _all(self, weights: Floats, least: Floats) -> Mapping[str, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            mated, mated_cost, other, other_cost = (weights @ self._sums).T
            cost = (mated_cost / mated + other_cost / other) / 2
            masses = self.bins(weights)
            ece = np.abs(masses[0] - masses[1]).sum(axis=1)
        return {"cllr": cost, "min cllr": least, "loss": cost - least, "ece": ece}

    def bins(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """(b, BINS) each: mass of mates, sum of posteriors, mass of all, with both classes weighing one half."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mated, other = (weights @ self._sums[:, [0, 2]]).T
            counts, posteriors, other_counts, other_posteriors = (weights @ self._bins[:, place] for place in range(4))
            share = counts / (2 * mated[:, None])
            mass = share + other_counts / (2 * other[:, None])
            posterior = posteriors / (2 * mated[:, None]) + other_posteriors / (2 * other[:, None])
        return share, posterior, mass


def log2_1p(log10_values: Floats) -> Floats:
    """log2(1 + 10^x) without overflow."""
    return np.asarray(np.logaddexp(0.0, log10_values * np.log(10)) / np.log(2))


def _binned(log10_lrs: Floats, there: Bools) -> tuple[Floats, Floats]:
    """(P, BINS) counts and sums of the posteriors at even prior odds."""
    posterior = np.exp(-np.logaddexp(0.0, -log10_lrs * np.log(10)))
    bins = np.minimum((posterior * BINS).astype(np.int64), BINS - 1)
    cells = (np.arange(len(bins))[:, None] * BINS + bins)[there]
    shape = (len(bins), BINS)
    counts = np.bincount(cells, minlength=len(bins) * BINS).reshape(shape).astype(np.float64)
    sums = np.bincount(cells, weights=posterior[there], minlength=len(bins) * BINS).reshape(shape)
    return counts, np.asarray(sums, np.float64)


def _counts(mated: Floats, others: Floats) -> Counts:
    """Counts of drawn scores at the mated ones, as the search makes them of all."""
    thresholds = thresholds_of(mated)
    kept = kept_thresholds(thresholds, mated, len(mated))
    reached = np.bincount(Ladder(thresholds).reached(others).ravel(), minlength=len(thresholds) + 1)
    steps = len(kept) + 1
    codes = Ladder(thresholds[kept]).reached(others) + (np.arange(len(others)) * steps)[:, None]
    each = np.bincount(codes.ravel(), minlength=len(others) * steps).reshape(-1, steps).astype(np.float32)
    return Counts(
        thresholds, np.cumsum(reached[:0:-1])[::-1], kept, np.cumsum(each[:, :0:-1], axis=1, dtype=np.float32)[:, ::-1]
    )
