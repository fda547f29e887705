"""Figures of the distractor curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from training.evaluation.bootstrap import Estimates, Trials
from training.evaluation.closed_set import ClosedSetStatistic
from training.evaluation.distractors import GrowingGalleries
from training.evaluation.figures import Figure, GallerySize
from training.evaluation.open_set import OpenSetStatistic
from training.evaluation.options import Options, Progress
from training.evaluation.table import Floats
from training.evaluation.trial import Trial


class _MeanOverDraws:
    """The mean of one statistic over several random galleries, with the same patients drawn in all."""

    def __init__(self, trials: Sequence[Trial], options: Options) -> None:
        closed = replace(options, percentiles=())
        at_first = replace(options, fnir_ranks=(1,))
        self._ranks = [ClosedSetStatistic(trial, closed) for trial in trials]
        self._open = [OpenSetStatistic(trial, at_first) for trial in trials]

    def exact(self) -> Mapping[str, float]:
        found = [{**rank.exact(), **one.exact()} for rank, one in zip(self._ranks, self._open, strict=True)]
        return {name: float(np.mean([values[name] for values in found])) for name in found[0]}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        found = [
            {**rank.drawn(weights), **one.drawn(weights)} for rank, one in zip(self._ranks, self._open, strict=True)
        ]
        return {name: np.mean([values[name] for values in found], axis=0) for name in found[0]}


def distractor_curve(
    trial: Trial, growing: GrowingGalleries, sizes: Sequence[int], options: Options, progress: Progress
) -> tuple[GallerySize, ...]:
    """Rank-k and FNIR at rank 1 for each gallery size; the last is the full gallery, of which there is one."""
    points = []
    for place, size in enumerate(sizes):
        full = place == len(sizes) - 1
        trials = [trial] if full else [_in(trial, growing, draw, place, size) for draw in range(options.draws)]
        estimates = Estimates(trial.patient, {"mean": _MeanOverDraws(trials, options)}, options)
        points.append(_point(size, len(trials), trial, estimates, options))
        progress("distractor curve", place + 1, len(sizes))
    return tuple(points)


def _in(trial: Trial, growing: GrowingGalleries, draw: int, place: int, size: int) -> Trial:
    return replace(
        trial,
        rank=np.where(trial.rank > 0, growing.above[draw, place] + 1, 0),
        best=growing.best[draw, place],
        compared=np.full(len(trial), size),
    )


def _point(size: int, draws: int, trial: Trial, estimates: Estimates, options: Options) -> GallerySize:
    mated, searches = Trials.among(trial.patient, trial.mated), int(trial.searched.sum())

    def figure(name: str) -> Figure:
        return estimates.figure(f"mean.{name}", mated, rate=True, missing="no probe has a mate in the gallery")

    fnir = {}
    for rate in options.fpirs:
        note = f"not supported by {searches} non-mated searches"
        supported = rate * searches >= 1
        fnir[f"{rate:g}"] = (
            figure(f"fnir {rate:g} 1") if supported else Figure(None, n=mated.n, patients=mated.patients, note=note)
        )
    return GallerySize(size, draws, {str(k): figure(f"rank {k}") for k in options.ranks}, fnir)
