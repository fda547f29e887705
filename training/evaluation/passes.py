"""One streamed pass over the scores of some tiles, and the trials that it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.candidates import BestOthers
from training.evaluation.exceedances import Exceedances, kept_thresholds, thresholds_of
from training.evaluation.options import Options, Progress
from training.evaluation.pairing import Mates
from training.evaluation.retrieval import ImageRanks, retrieval
from training.evaluation.search import Collector, Tile, search
from training.evaluation.sources import ScoreSource
from training.evaluation.table import Bools, Codes, Floats, Table
from training.evaluation.trial import Counts, Trial

# Shorter lists would often be too short to count the candidates above a threshold.
_LEAST_CANDIDATES = 50
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What is searched: a table, its scores, which rows are probes."""

    table: Table
    source: ScoreSource
    probes: Codes
    options: Options
    progress: Progress

    def search(self, tiles: Sequence[Tile], collectors: Sequence[Collector], stage: str, most_probes: int) -> None:
        search(
            self.table,
            self.source,
            self.probes,
            tiles,
            collectors,
            self.options,
            self.progress,
            stage=stage,
            most_probes=most_probes,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """What a pass has kept. ``best`` by variant of the mates: (P,) scores and images."""

    job: Job
    tiles: Sequence[Tile]
    mates: Mates
    best: Mapping[str, tuple[Floats, Codes]]
    chosen: Mapping[str, Bools]
    others: BestOthers
    exceedances: Exceedances
    images: ImageRanks

    def trial(self, variant: str = ALL) -> Trial:
        """The searches with all mates, or with those of a variant; without counts over thresholds (``over``)."""
        scores = self.best[variant][0]
        kept = self.chosen[variant]
        patient = self.job.table.patient[self.job.probes]
        everybody = np.zeros(len(patient), bool)
        for tile in self.tiles:
            everybody[tile.probes] = True
        return Trial(
            patient=patient,
            searched=everybody & (self.others.compared > 0),
            mate=np.where(everybody, scores, np.nan),
            rank=np.where(np.isnan(scores), 0, self.exceedances.above[variant] + 1),
            compared=self.others.compared,
            best=self.others.best,
            over=np.zeros((len(patient), len(self.job.options.fpirs)), np.int64),
            images=retrieval(self.mates.among(kept), self.images.above[kept]),
            counts=Counts(
                self.exceedances.thresholds,
                self.exceedances.totals[ALL][0],
                self.exceedances.kept,
                self.exceedances.each,
            ),
        )


def pass_over(
    job: Job,
    tiles: Sequence[Tile],
    mates: Mates,
    *,
    variants: Mapping[str, Bools] | None = None,
    groups: Mapping[str, Codes] | None = None,
    extras: Sequence[Collector] = (),
    stage: str = "searches",
) -> Searched:
    """Searches the tiles once.

    Parameters
    ----------
    variants
        (M,) which mated pairs count, by name, beside all of them.
    groups
        (P,) codes of groups of probes, by property, for which impostor scores are counted apart.
    extras
        further collectors.
    """
    chosen = {ALL: np.ones(len(mates.probe), bool)} | dict(variants or {})
    best = {name: mates.among(kept).best() for name, kept in chosen.items()}
    thresholds = thresholds_of(np.concatenate([scores for scores, _ in best.values()]))
    probes = len(job.probes)
    exceedances = Exceedances(
        thresholds,
        {name: scores for name, (scores, _) in best.items()},
        {ALL: np.zeros(probes, np.int64)} | dict(groups or {}),
        kept_thresholds(thresholds, best[ALL][0], probes),
    )
    others = BestOthers(probes, max(job.options.candidates, _LEAST_CANDIDATES))
    images = ImageRanks(mates)
    job.search(tiles, [others, exceedances, images, *extras], stage, exceedances.most_probes)
    return Searched(job, tiles, mates, best, chosen, others, exceedances, images)


def candidates_over(searched: Searched, thresholds: Floats) -> Codes:
    """(P, F) other patients that score above each threshold, exactly.

    Read off the candidate lists, except where a list is full of such candidates: those probes are searched again.
    """
    lists = searched.others.scores
    over = (lists[:, :, None] > thresholds[None, None, :]).sum(axis=1)
    full = np.flatnonzero((over == lists.shape[1]).any(axis=1))
    if len(full):
        steps = np.unique(np.nextafter(thresholds[~np.isnan(thresholds)], np.inf))
        places = np.searchsorted(steps, np.nextafter(thresholds, np.inf)).clip(0, len(steps) - 1)
        none = np.full(len(lists), np.nan)
        counting = Exceedances(steps, {ALL: none}, {}, np.arange(len(steps)))
        tiles = [Tile(np.intersect1d(tile.probes, full), tile.gallery) for tile in searched.tiles]
        tiles = [tile for tile in tiles if len(tile.probes)]
        searched.job.search(tiles, [counting], "candidates above thresholds", counting.most_probes)
        over[full] = counting.each[full][:, places].astype(np.int64)
    return np.asarray(over, np.int64)
