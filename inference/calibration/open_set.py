"""What a search among N patients returns when none of them is the right one, and how that grows with N.

The false positive identification rate (ISO/IEC 19795-1) of a threshold t is the share of non-mated searches whose best
candidate scores t or more. It is not 1 - (1 - FMR)^N: all comparisons of a search share the probe, and some probes
resemble everybody. So every probe keeps a distribution of its own,

    FPIR(t, N) = mean over probes p of  1 - (1 - S_p(z))^N,        z = Fisher's z of t.

S_p is counted up to a high threshold of the probe. Beyond it all probes share one tail, in units of the probe's mean
excess (as far as its scores can tell): counted while there are many, then generalised Pareto (J. Pickands, "Statistical
inference using extreme order statistics", 1975; J. Hosking, J. Wallis, "Parameter and quantile estimation for the
generalized Pareto distribution", 1987). Within the sizes that were searched this is what nested galleries show; beyond
them thresholds go on with ln N as extreme values do.

Other people's probes are not those of the fit: a share a among n people is reported as (n a + 1/2) / (n + 1), half a
person more, and never as less than the 1 / (n + 1) of a conformal test. (A whole person more was too careful: on fresh
phantoms half as many false positives as asked for.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import CalibrationError
from inference.calibration.maps import fisher_z

Floats = NDArray[np.float64]

# Fewer people or shorter searches than these say nothing of rates near one in a hundred.
MIN_PERSONS, MIN_COMPARED = 20, 20
# Rates and gallery sizes whose thresholds are kept; between them thresholds are interpolated.
RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
SIZES = tuple(4**n for n in range(12))
# The share of a probe's scores that make its tail, and how many at least.
_TAIL_SHARE, _LEAST_TAIL = 0.1, 10
# The share of all probes' excesses that the tail beyond all counting is fitted on, and how many at least.
_RARE_SHARE, _LEAST_RARE = 0.02, 50
# Between a bounded tail and one heavier than exponential; cosines in Fisher's z lie near 0.
_SHAPES = (-0.5, 0.25)
_DIGITS, _GRID = 5, 1024


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Thresholds (in Fisher's z) of non-mated searches.

    thresholds
        ``thresholds[i][j]`` is exceeded by the share ``rates[i]`` of searches among ``sizes[j]`` patients.
    persons
        how many people the probes were of: no rate below 1 / (persons + 1) is ever promised.
    compared
        patients of the largest search that was fitted on; larger galleries are extrapolated.
    """

    rates: tuple[float, ...]
    sizes: tuple[int, ...]
    thresholds: tuple[tuple[float, ...], ...]
    persons: int
    searches: int
    compared: int

    @property
    def least_rate(self) -> float:
        """The smallest false positive identification rate that the data can vouch for."""
        return 1 / (self.persons + 1)

    def p_value(self, score: float, searched: int) -> float:
        """Share of non-mated searches among ``searched`` patients that bring a candidate of this score or better."""
        if not math.isfinite(score):
            raise CalibrationError("a score is NaN or infinite and is refused", reason="NOT_FINITE")
        z = float(fisher_z(np.asarray([score]))[0])
        column = self._column(searched)
        if z <= column[0]:
            return 1.0  # so common a score tells nothing apart
        # Between rates in log rate, as the tail is nearly exponential.
        share = 10 ** float(np.interp(z, column, np.log10(self.rates)))
        return max((self.persons * share + 0.5) / (self.persons + 1), self.least_rate)

    def threshold(self, rate: float, searched: int) -> float:
        """The raw score that at most the share ``rate`` of non-mated searches reaches; inf where none can be promised.

        ``rate`` above the largest one kept is taken as that.
        """
        share = (rate * (self.persons + 1) - 0.5) / self.persons
        if rate < self.least_rate or share < self.rates[-1]:
            return math.inf
        logs = -np.log10(self.rates)
        return math.tanh(float(np.interp(-math.log10(share), logs, self._column(searched))))

    def _column(self, searched: int) -> Floats:
        """Thresholds of all rates at one size: linear in ln N between the sizes, and beyond the last."""
        table, sizes = np.asarray(self.thresholds), np.log(self.sizes)
        at = math.log(max(searched, 1))
        right = int(np.clip(np.searchsorted(sizes, at), 1, len(sizes) - 1))
        weight = (at - sizes[right - 1]) / (sizes[right] - sizes[right - 1])
        return np.asarray(table[:, right - 1] + weight * (table[:, right] - table[:, right - 1]), np.float64)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> OpenSet:
        """Reads what was written; ValueError or TypeError when thresholds do not rise with size and rarity."""
        found = cls(
            tuple(map(float, values["rates"])),
            tuple(map(int, values["sizes"])),
            tuple(tuple(map(float, row)) for row in values["thresholds"]),
            int(values["persons"]),
            int(values["searches"]),
            int(values["compared"]),
        )
        table = np.asarray(found.thresholds)
        if table.shape != (len(found.rates), len(found.sizes)) or min(table.shape) < 2 or not np.isfinite(table).all():
            raise ValueError("thresholds")
        if (np.diff(table, axis=0) < 0).any() or (np.diff(table, axis=1) < 0).any():
            raise ValueError("thresholds")
        rates, sizes = np.asarray(found.rates), np.asarray(found.sizes)
        if (
            (np.diff(rates) >= 0).any()
            or rates[-1] <= 0
            or rates[0] >= 1
            or sizes[0] < 1
            or (np.diff(sizes) <= 0).any()
        ):
            raise ValueError("rates or sizes")
        if found.persons < 1:
            raise ValueError("persons")
        return found


def fit_open_set(scores: Floats, searches: NDArray[np.int64], owners: NDArray[np.int64]) -> OpenSet | None:
    """Learns the thresholds from non-mated comparisons.

    Parameters
    ----------
    scores
        (n,) raw scores of probes against patients that are not theirs, the best per patient.
    searches, owners
        (n,) which search a score is of, and whose probe that was.

    Returns
    -------
    OpenSet or None
        None when there are too few people, or their searches are too short.
    """
    order = np.argsort(searches, kind="stable")
    _, starts, counts = np.unique(np.asarray(searches)[order], return_index=True, return_counts=True)
    long_enough = counts >= MIN_COMPARED
    persons = len(np.unique(np.asarray(owners)[order][starts[long_enough]]))
    if persons < MIN_PERSONS:
        return None
    z = fisher_z(np.asarray(scores, np.float64)[order])
    groups = [np.sort(z[start : start + n]) for start, n in zip(starts[long_enough], counts[long_enough], strict=True)]
    return OpenSet(
        rates=RATES,
        sizes=SIZES,
        thresholds=tuple(tuple(round(float(value), _DIGITS) for value in row) for row in _thresholds(groups)),
        persons=persons,
        searches=len(groups),
        compared=int(counts.max()),
    )


class _SharedTail:
    """P(X > x) of excesses over the probes' starts in units of the probes' scales: all probes' together.

    Counted as far as that is many; beyond, a generalised Pareto tail.
    """

    def __init__(self, excesses: Floats) -> None:
        self._sorted = np.sort(excesses)
        n = len(excesses)
        rare = min(max(_LEAST_RARE, int(n * _RARE_SHARE)), n - 1)
        self._from = float(self._sorted[n - rare - 1])
        over = self._sorted[n - rare :] - self._from
        self._share = rare / n
        self._shape = _shape(over)
        self._scale = max(float(over.mean()) * (1 - self._shape), 1e-6)

    def __call__(self, x: Floats) -> Floats:
        counted = 1 - np.searchsorted(self._sorted, x, side="left") / len(self._sorted)
        over = np.maximum(x - self._from, 0) / self._scale
        if abs(self._shape) < 1e-6:
            beyond = np.exp(-over)
        else:
            beyond = np.maximum(1 + self._shape * over, 0) ** (-1 / self._shape)
        return np.asarray(np.where(x > self._from, self._share * beyond, counted))


def _shares_beyond(groups: Sequence[Floats], grid: Floats) -> Floats:
    """P(score >= z) of each probe at every z of the grid, (probes, grid); ``groups`` are each probe's sorted scores."""
    sizes = np.asarray([len(group) for group in groups])
    kept = np.clip((sizes * _TAIL_SHARE).round().astype(int), _LEAST_TAIL, sizes // 2)
    starts = np.asarray([group[-k - 1] for group, k in zip(groups, kept, strict=True)])
    excesses = [group[-k:] - start for group, k, start in zip(groups, kept, starts, strict=True)]
    scales = _scales(starts, np.asarray([max(float(part.mean()), 1e-6) for part in excesses]), kept)
    tail = _SharedTail(np.concatenate([part / scale for part, scale in zip(excesses, scales, strict=True)]))
    beyond = (kept / sizes)[:, None] * tail((grid[None] - starts[:, None]) / scales[:, None])
    counted = np.stack([1 - np.searchsorted(group, grid, side="left") / len(group) for group in groups])
    return np.asarray(np.where(grid[None] > starts[:, None], beyond, counted))


def _scales(starts: Floats, means: Floats, kept: NDArray[np.int64]) -> Floats:
    """Mean excesses, shrunk to their trend over the tails' starts as far as chance scatters them."""
    slope = float(np.cov(starts, means)[0, 1] / max(float(starts.var(ddof=1)), 1e-12))
    trend = np.maximum(means.mean() + slope * (starts - starts.mean()), 0.25 * means.mean())
    scatter = float(((means - trend) ** 2).mean())
    chance = float((trend**2 / kept).mean())
    weight = max(0.0, 1 - chance / scatter) if scatter > 0 else 0.0
    return np.asarray(weight * means + (1 - weight) * trend)


def _shape(excesses: Floats) -> float:
    """Shape of a generalised Pareto distribution by probability-weighted moments; its mean is scale / (1 - shape)."""
    n = len(excesses)
    mean = float(excesses.mean())
    weighted = float((np.sort(excesses) * (n - 1 - np.arange(n))).sum() / (n * (n - 1)))
    return float(np.clip(2 - mean / max(mean - 2 * weighted, 1e-12), *_SHAPES))


def _thresholds(groups: Sequence[Floats]) -> Floats:
    """(rates, sizes): where the rate, which falls with the threshold, is met."""
    tops = np.asarray([group[-1] for group in groups])
    spread = max(float(np.median([group[-1] - np.median(group) for group in groups])), 1e-3)
    grid = np.linspace(min(float(group[0]) for group in groups), float(tops.max()) + 3 * spread, _GRID)
    share = _shares_beyond(groups, grid)
    table = np.empty((len(RATES), len(SIZES)))
    for column, size in enumerate(SIZES):
        fpir = -np.expm1(size * np.log1p(-np.minimum(share, 1 - 1e-12))).mean(axis=0)
        table[:, column] = np.interp(-np.log(RATES), -np.log(np.maximum(fpir, 1e-300)), grid)
    # Interpolation leaves the last digit to chance; thresholds rise with size and rarity.
    return np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)


def bonferroni(p_values: Sequence[float]) -> float:
    """One p-value of several looks at one search, whatever they share: the smallest, times how many there are.

    No look at all shows nothing: 1.
    """
    return min(1.0, len(p_values) * min(p_values)) if p_values else 1.0
