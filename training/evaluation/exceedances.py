"""How many impostor scores reach each of many thresholds, exactly, without sorting the scores.

The mated scores are the only thresholds at which any error rate of verification can change on the mated side, so that
counts at them (and just above them) hold the ROC, the AUC, the equal error rate and the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluation.search import Block, Collector
from training.evaluation.table import Codes, Floats

# Bins of the grid for each threshold, and the fewest and the most: a table of the latter still fits a core's cache.
_BINS_EACH, _FEWEST_BINS, _MOST_BINS = 64, 1 << 8, 1 << 18
# Entries of the table (probes that are searched together) x (thresholds).
_ENTRIES = 1 << 24
# Entries of the counts that are kept per probe, for the bootstrap; and of one probe.
_KEPT, _KEPT_EACH = 1 << 25, 1024


def thresholds_of(scores: Floats) -> Floats:
    """Each distinct score, and the next number above it: counts at both tell how many scores equal it. Ascending."""
    distinct = np.unique(scores[~np.isnan(scores)])
    return np.unique(np.concatenate([distinct, np.nextafter(distinct, np.inf)]))


class Ladder:
    """Finds for numbers how many of ``thresholds`` ((T,) ascending, distinct) they reach.

    A uniform grid of bins answers for all numbers but those that share a bin with a threshold; only these are searched.
    That is exact because the bin is a monotone function of the number, rounding included.
    """

    def __init__(self, thresholds: Floats) -> None:
        self.thresholds = thresholds
        if not len(thresholds):
            return
        self._count = int(np.clip(_BINS_EACH * len(thresholds), _FEWEST_BINS, _MOST_BINS))
        low, reach = float(thresholds[0]), float(thresholds[-1]) / 2 - float(thresholds[0]) / 2
        # Any scale is right; one that spreads the thresholds is fast. Numbers too near or too far apart get a safe one.
        fine = 1e-290 < reach < 1e290
        self._low, self._scale = (low, (self._count - 3) / (2 * reach)) if fine else (0.0, 2.0**-1000)
        bins = self._bins(thresholds[None, :].copy())[0]
        self._reached = np.searchsorted(bins, np.arange(self._count), side="left").astype(np.int32)
        self._reached[bins] = -1

    def reached(self, scores: Floats) -> Codes:
        """Numbers of any shape, -inf among them, to how many thresholds are at most as large; int64, same shape."""
        if not len(self.thresholds):
            return np.zeros(scores.shape, np.int64)
        found = self._reached[self._bins(scores)].astype(np.int64)
        unsure = found < 0
        found[unsure] = np.searchsorted(self.thresholds, scores[unsure], side="right")
        return found

    def _bins(self, scores: Floats) -> Codes:
        # Far beyond the thresholds everything is in the first bin or the last one.
        with np.errstate(over="ignore", under="ignore"):
            scaled = scores - self._low
            np.multiply(scaled, self._scale, out=scaled)
        np.add(scaled, 1.0, out=scaled)
        np.clip(scaled, 0.0, self._count - 1.0, out=scaled)
        return np.asarray(scaled, np.float64).astype(np.int64)


def kept_thresholds(thresholds: Floats, mated: Floats, probes: int) -> Codes:
    """Which thresholds to keep counts of for each probe: all, or evenly spaced quantiles of ``mated`` and its low end.

    Returns indices into ``thresholds``, ascending.
    """
    distinct = np.unique(mated[~np.isnan(mated)])
    most = min(_KEPT_EACH, max(64, _KEPT // max(1, probes))) // 2
    if len(distinct) > most:
        low, rest = distinct[: most // 4], distinct[most // 4 :]
        even = np.linspace(0, len(rest) - 1, most - len(low)).astype(np.int64)
        distinct = np.concatenate([low, rest[even]])
    return np.unique(np.searchsorted(thresholds, thresholds_of(distinct)))


class Exceedances(Collector):
    """Collects counts of other patients' scores at least as large as each threshold.

    thresholds
        (T,) ascending.
    own
        for each variant of the mated scores (P,), NaN without a mate: ``above[variant]`` (P,) will count the patients
        who score at least as much. Every such score has to be among the thresholds.
    groups
        for each property (P,) codes of the probes' groups: ``totals[property]`` (groups, T) will hold counts over all
        probes of a group.
    kept
        (K,) indices of thresholds: ``each`` (P, K) float32 will hold the counts of each probe.
    """

    def __init__(
        self,
        thresholds: Floats,
        own: Mapping[str, Floats],
        groups: Mapping[str, Codes],
        kept: Codes,
    ) -> None:
        self.thresholds = thresholds
        self.kept = kept
        self.groups = groups
        self.above = {name: np.zeros(len(scores), np.int64) for name, scores in own.items()}
        self.totals = {
            name: np.zeros((int(codes.max(initial=-1)) + 1, len(thresholds)), np.int64)
            for name, codes in groups.items()
        }
        probes = len(next(iter(own.values())))
        self.each = np.zeros((probes, len(kept)), np.float32)
        self._own = {name: np.searchsorted(thresholds, scores) for name, scores in own.items()}
        self._mated = {name: ~np.isnan(scores) for name, scores in own.items()}
        self._ladder = Ladder(thresholds)
        self._counts = np.zeros((0, len(thresholds) + 1), np.int32)
        self._probes = np.empty(0, np.int64)

    @property
    def most_probes(self) -> int:
        return max(1, _ENTRIES // (len(self.thresholds) + 1))

    def start(self, probes: Codes) -> None:
        self._probes = probes
        self._counts = np.zeros((len(probes), len(self.thresholds) + 1), np.int32)

    def add(self, block: Block) -> None:
        steps = len(self.thresholds) + 1
        codes = self._ladder.reached(block.patients)
        codes += (np.arange(len(codes)) * steps)[:, None]
        found = np.bincount(codes.ravel(), minlength=len(codes) * steps).reshape(-1, steps)
        self._counts[block.rows] += found.astype(np.int32)

    def finish(self) -> None:
        # Scores that reach j thresholds reach the j-th: sums from the right are "at least".
        probes = self._probes
        reach = np.cumsum(self._counts[:, :0:-1], axis=1, dtype=np.int64)[:, ::-1]
        self.each[probes] = reach[:, self.kept]
        for name, own in self._own.items():
            mated = np.flatnonzero(self._mated[name][probes])
            self.above[name][probes[mated]] = reach[mated, own[probes[mated]]]
        for name, codes in self.groups.items():
            for code in np.unique(codes[probes]).tolist():
                self.totals[name][code] += reach[codes[probes] == code].sum(axis=0)
