"""Metrics of recognition, in the words of ISO/IEC 19795-1. Scores are larger for more similar; all are float64.

Cllr: N. Brümmer, J. du Preez, "Application-independent evaluation of speaker detection" (2006).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def cllr(mated_log10_lrs: ArrayLike, nonmated_log10_lrs: ArrayLike) -> float:
    """Cost of log likelihood ratios in bits: 0 is perfect, 1 is what "LR = 1 always" costs."""
    ln10 = np.log(10)
    mated, nonmated = _floats(mated_log10_lrs) * ln10, _floats(nonmated_log10_lrs) * ln10
    return float((np.logaddexp(0, -mated).mean() + np.logaddexp(0, nonmated).mean()) / (2 * np.log(2)))


def min_cllr(mated: ArrayLike, nonmated: ArrayLike) -> float:
    """Cllr of the best monotone calibration of these very scores (pool adjacent violators)."""
    from sklearn.isotonic import IsotonicRegression

    genuine, impostor = _floats(mated), _floats(nonmated)
    labels = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    weights = np.concatenate([np.full(len(genuine), 1 / len(genuine)), np.full(len(impostor), 1 / len(impostor))])
    share = IsotonicRegression().fit_transform(np.concatenate([genuine, impostor]), labels, sample_weight=weights)
    with np.errstate(divide="ignore"):
        log10_lrs = np.log10(share) - np.log10(1 - share)
    return cllr(log10_lrs[: len(genuine)], log10_lrs[len(genuine) :])


def equal_error_rate(mated: ArrayLike, nonmated: ArrayLike) -> float:
    """Where false match and false non-match rate cross: the mean of both at the threshold that brings them closest."""
    genuine, impostor = np.sort(_floats(mated)), np.sort(_floats(nonmated))
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    fnmr = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    fmr = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    best = int(np.abs(fnmr - fmr).argmin())
    return float((fnmr[best] + fmr[best]) / 2)


def fnmr_at_fmr(mated: ArrayLike, nonmated: ArrayLike, fmr: float) -> float:
    """Share of mated scores below the lowest threshold whose false match rate is at most ``fmr``."""
    impostor = np.sort(_floats(nonmated))[::-1]
    allowed = int(np.floor(fmr * len(impostor) + 1e-9))
    threshold = impostor[allowed] if allowed < len(impostor) else -np.inf
    return float((_floats(mated) <= threshold).mean())


def mate_ranks(scores: ArrayLike, mates: ArrayLike) -> NDArray[np.int64]:
    """Rank of each probe's mate, from 1; scores that equal the mate's count before it.

    Parameters
    ----------
    scores
        (probes, patients), one score per enrolled patient.
    mates
        (probes,) column of the mate.
    """
    matrix, columns = _floats(scores), np.asarray(mates, np.int64)
    own = matrix[np.arange(len(matrix)), columns]
    return np.asarray((matrix >= own[:, None]).sum(axis=1), np.int64)


def person_bootstrap(
    persons: ArrayLike,
    values: ArrayLike,
    statistic: Callable[[Floats], float] = lambda values: float(values.mean()),
    rounds: int = 1000,
    seed: int = 0,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when *persons* are drawn anew: images of one person are not independent.

    Parameters
    ----------
    persons, values
        (n,) whose value each is, and the values.
    """
    labels, data = np.asarray(persons), _floats(values)
    _, codes = np.unique(labels, return_inverse=True)
    groups = [data[codes == code] for code in range(int(codes.max()) + 1)]
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])) for _ in range(rounds)
    ]
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64)
