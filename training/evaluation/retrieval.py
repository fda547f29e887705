"""Ranks of single images: what average precision and its kin are made of.

mAP and CMC as in person re-identification (torchreid, fast-reid), MAP@R as in Musgrave et al., "A Metric Learning
Reality Check" (2020), mINP as in Ye et al., "Deep Learning for Person Re-identification" (2021); images of the probe's
own study are taken out where these take out images of the same camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluation.pairing import Mates
from training.evaluation.search import Block, Collector
from training.evaluation.table import Codes, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Per probe, (P,), NaN without a mate: average precision, its value at R, inverse negative penalty, rank from 1 of
    the first mate's image."""

    average_precision: Floats
    at_r: Floats
    inverse_penalty: Floats
    first: Floats


class ImageRanks(Collector):
    """Collects, for every mated pair, how many images of other patients score at least as much: ``above`` (M,)."""

    def __init__(self, mates: Mates) -> None:
        self.above = np.zeros(len(mates.probe), np.int64)
        self._mates = mates

    def add(self, block: Block) -> None:
        offsets = self._mates.offsets
        for row, probe in zip(block.images, block.probes.tolist(), strict=True):
            for pair in range(offsets[probe], offsets[probe + 1]):
                self.above[pair] += np.count_nonzero(row >= self._mates.score[pair])


def retrieval(mates: Mates, above: Codes) -> Retrieval:
    """Figures of every probe from the ranks of its mates.

    Parameters
    ----------
    above
        (M,) of every pair of ``mates``: other patients' images that score at least as much.
    """
    probes = len(mates.offsets) - 1
    order = np.lexsort((-mates.score, mates.probe))
    others = above[order]
    number = np.arange(len(order)) - mates.offsets[mates.probe] + 1
    position = others + number
    count = np.diff(mates.offsets)
    share = number / position
    found = np.maximum(count, 1)
    within = position <= count[mates.probe]
    precision = np.bincount(mates.probe, weights=share, minlength=probes) / found
    at_r = np.bincount(mates.probe, weights=share * within, minlength=probes) / found
    last = np.full(probes, np.nan)
    np.fmax.at(last, mates.probe, position.astype(np.float64))
    first = np.full(probes, np.nan)
    np.fmin.at(first, mates.probe, position.astype(np.float64))
    mated = count > 0
    return Retrieval(
        average_precision=np.where(mated, precision, np.nan),
        at_r=np.where(mated, at_r, np.nan),
        inverse_penalty=count / last,
        first=first,
    )
