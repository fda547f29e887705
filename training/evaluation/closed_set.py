"""Closed-set identification: CMC, rank-k, percentile rank rate, and the averages over ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluation.bootstrap import Estimates, Trials, weighted_mean
from training.evaluation.figures import ClosedSet, Figure
from training.evaluation.options import Options
from training.evaluation.table import Bools, Floats
from training.evaluation.trial import Trial

_NO_MATES = "no probe has a mate in the gallery"
_CMC_POINTS = 200


class ClosedSetStatistic:
    """Means over mated probes, so that one product with the weights makes all of them.

    PRR(p) is the share of probes whose mate ranks within the best p % of the gallery: rank <= p / 100 * N, where N
    counts the probe's own patient (Neural Boneprint, ACM MM 2024; checked against its published figures).
    """

    def __init__(self, trial: Trial, options: Options) -> None:
        rank, gallery = trial.rank.astype(np.float64), trial.compared + 1.0
        with np.errstate(divide="ignore"):
            values: dict[str, Bools | Floats] = {f"rank {k}": rank <= k for k in options.ranks}
            # In percent on the left, so that 5 % of 20 is exactly 1.
            values |= {f"percentile {p:g}": 100 * rank <= p * gallery for p in options.percentiles}
            values |= {
                "mrr": 1 / rank,
                "map": trial.images.average_precision,
                "map at r": trial.images.at_r,
                "minp": trial.images.inverse_penalty,
                "image mrr": 1 / trial.images.first,
            }
        self._names = tuple(values)
        self._values = np.stack([np.asarray(column, np.float64) for column in values.values()], axis=1)
        self._mated = trial.mated

    def exact(self) -> Mapping[str, float]:
        return {name: float(value[0]) for name, value in self.drawn(np.ones((1, len(self._mated)))).items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        means = weighted_mean(weights, self._values, self._mated)
        return {name: means[:, i] for i, name in enumerate(self._names)}


def closed_set(trial: Trial, estimates: Estimates, options: Options, kind: str = "closed") -> ClosedSet:
    """The figures of a :class:`ClosedSetStatistic` that went by the name ``kind``."""
    mated = Trials.among(trial.patient, trial.mated)
    gallery = trial.compared[trial.mated] + 1

    def figure(name: str, rate: bool = False) -> Figure:
        return estimates.figure(f"{kind}.{name}", mated, rate=rate, missing=_NO_MATES)

    return ClosedSet(
        gallery=int(gallery.max(initial=0)),
        mean_gallery=float(gallery.mean()) if mated.n else 0.0,
        rank={str(k): figure(f"rank {k}", rate=True) for k in options.ranks},
        percentile_rank={f"{p:g}": figure(f"percentile {p:g}", rate=True) for p in options.percentiles},
        mrr=figure("mrr"),
        map=figure("map"),
        map_at_r=figure("map at r"),
        minp=figure("minp"),
        image_mrr=figure("image mrr"),
        cmc=_cmc(trial),
    )


def _cmc(trial: Trial) -> tuple[tuple[float, float], ...]:
    """CMC points at every rank up to 50, then at evenly spaced powers."""
    ranks = np.sort(trial.rank[trial.mated])
    if not len(ranks):
        return ()
    last = max(int(trial.compared.max()) + 1, 1)
    steps = np.unique(
        np.concatenate([np.arange(1, min(50, last) + 1), np.geomspace(1, last, _CMC_POINTS).round()]).astype(np.int64)
    )
    shares = np.searchsorted(ranks, steps, side="right") / len(ranks)
    return tuple(zip(steps.astype(float).tolist(), shares.tolist(), strict=True))
