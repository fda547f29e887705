"""One likelihood ratio from several sources that looked at one person: a sum of log LRs, correlation discounted.

A calibrated log LR (natural) is about normal with mean +v/2 for mates, -v/2 for others, and variance v = d^2, where v
is also the separation of its means. For several, with correlations R and covariance C = D R D, the LR of all of them is

    sum_k w_k l_k      with      C w = v      (two equal ones: each by 1 / (1 + r), the effective number of looks)

Negative weights, which a strongly correlated weak source would get, are not allowed: the best weights that are none are
taken (C. Lawson, R. Hanson, "Solving Least Squares Problems", 1974, chapter 23). So the fused value never falls when a
source rises, is continuous in all of them, and says no less than the best source alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from config.errors import CalibrationError

# Closer sources than this are one source; the matrix stays invertible.
_CLOSEST = 0.99


@dataclass(frozen=True, slots=True)
class Fusion:
    """What is known of the sources of one search.

    separations
        per source by how much the mean log10 LR of mates exceeds that of others.
    correlations
        of pairs of sources, by their names in order, as far as calibration data show them.
    """

    separations: Mapping[str, float] = field(default_factory=dict)
    correlations: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def log10_lr(self, log10_lrs: Mapping[str, float], discount: float) -> float:
        """The fused log10 LR.

        Parameters
        ----------
        log10_lrs
            per source. Those without a known separation are joined by :func:`fuse_log10_lrs`.
        discount
            the policy's weight of a second source of unknown correlation: two equal ones count 1 + ``discount`` times.
        """
        known = sorted(name for name in log10_lrs if name in self.separations)
        weights = self.weights(known, discount)
        weighted = sum(weight * log10_lrs[name] for name, weight in zip(known, weights, strict=True))
        others = [value for name, value in log10_lrs.items() if name not in self.separations]
        return fuse_log10_lrs([weighted, *others] if known else others, discount)

    def weights(self, sources: Sequence[str], discount: float) -> list[float]:
        """The weight of each source beside the others, at least 0."""
        if len(sources) < 2:
            return [1.0] * len(sources)
        separations = np.asarray([self.separations[name] for name in sources]) * math.log(10)
        # A source with nothing to say has log LRs of 0; a little keeps the matrix invertible.
        deviations = np.sqrt(np.maximum(separations, 1e-6))
        together = np.eye(len(sources))
        for i, first in enumerate(sources):
            for j, second in enumerate(sources[:i]):
                together[i, j] = together[j, i] = self._correlation(first, second, discount)
        return _weights(together, deviations)

    def _correlation(self, first: str, second: str, discount: float) -> float:
        known = self.correlations.get((min(first, second), max(first, second)))
        # Two equal sources of correlation r count 2 / (1 + r) times.
        correlation = (1 - discount) / (1 + discount) if known is None else known
        return min(max(correlation, 0.0), _CLOSEST)

    def joined(self, other: Fusion) -> Fusion:
        """This knowledge and another's."""
        return Fusion({**self.separations, **other.separations}, {**self.correlations, **other.correlations})


def _weights(correlations: NDArray[np.float64], deviations: NDArray[np.float64]) -> list[float]:
    """argmin over w >= 0 of w'Cw / 2 - v'w, as least squares on a Cholesky factor of the correlations."""
    from scipy.optimize import nnls

    # An average over pairs need not be a correlation matrix; towards independence it becomes one.
    lowest = float(np.linalg.eigvalsh(correlations).min())
    if lowest < 1e-3:
        size = len(correlations)
        share = (1e-3 - lowest) / (1 - lowest)
        correlations = (1 - share) * correlations + share * np.eye(size)
    factor = np.linalg.cholesky(correlations).T
    found, _ = nnls(factor, np.linalg.solve(factor.T, deviations))
    return [float(value) for value in found / deviations]


def fuse_log10_lrs(values: Iterable[float], discount: float) -> float:
    """One log10 likelihood ratio of sources about whose correlation and strength nothing is known.

    Independent evidence would add up; two looks at one body on one day are not independent. So the strongest value
    *for* counts in full and every further one only by ``discount``, and the same *against*. The result is continuous
    and never falls when a value rises.
    """
    numbers = [float(value) for value in values]
    if not all(math.isfinite(number) for number in numbers):
        raise CalibrationError("log10 likelihood ratios hold NaN or an infinite value", reason="NOT_FINITE")
    favour = [value for value in numbers if value > 0]
    against = [value for value in numbers if value < 0]
    strongest_for, strongest_against = max(favour, default=0.0), min(against, default=0.0)
    return (1 - discount) * (strongest_for + strongest_against) + discount * (sum(favour) + sum(against))
