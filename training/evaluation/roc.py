"""Figures of ROC curves, many at a time.

A curve is given at thresholds, from loose to strict: ``fmr`` and ``fnmr`` are (b, T), the share of impostor scores at
least as large as, and of mated scores smaller than, each threshold. Between two of them it is a straight line, which is
what ties amount to when they are broken at random.
"""

from __future__ import annotations

import numpy as np

from training.evaluation.table import Floats


def closed_curve(fmr: Floats, fnmr: Floats) -> tuple[Floats, Floats]:
    """The curve with its two ends: accept everything, accept nothing. (b, T + 2)."""
    one, nought = np.ones((len(fmr), 1)), np.zeros((len(fmr), 1))
    return np.hstack([one, fmr, nought]), np.hstack([nought, fnmr, one])


def equal_error_rate(fmr: Floats, fnmr: Floats) -> Floats:
    """(b,) where a closed curve crosses FMR = FNMR."""
    gap = fmr - fnmr
    after = np.argmax(gap <= 0, axis=1)
    rows = np.arange(len(gap))
    first, second = gap[rows, after - 1], gap[rows, after]
    part = first / (first - second)
    left, right = fmr[rows, after - 1], fmr[rows, after]
    return np.asarray(left + part * (right - left))


def area_under_curve(fmr: Floats, fnmr: Floats) -> Floats:
    """(b,) area under a closed curve of 1 - FNMR over FMR: the chance that a mated score beats an impostor's."""
    widths = fmr[:, :-1] - fmr[:, 1:]
    return np.asarray((widths * (1 - (fnmr[:, :-1] + fnmr[:, 1:]) / 2)).sum(axis=1))


def fnmr_at_fmr(fmr: Floats, fnmr: Floats, rate: float) -> Floats:
    """(b,) FNMR of a closed curve at its loosest threshold with at most this FMR."""
    # An allowed number of errors that is whole must not be lost to rounding.
    place = np.argmax(fmr <= rate * (1 + 1e-12), axis=1)
    return np.asarray(fnmr[np.arange(len(fnmr)), place])


def min_cllr(fmr: Floats, fnmr: Floats) -> Floats:
    """(b,) Cllr in bits of the best monotone map from score to LR (pool adjacent violators on a closed curve)."""
    from scipy.optimize import isotonic_regression

    result = np.empty(len(fmr))
    for row in range(len(fmr)):
        mated, impostor = np.diff(fnmr[row]), -np.diff(fmr[row])
        mass = mated + impostor
        used = mass > 0
        mated, impostor, mass = mated[used], impostor[used], mass[used]
        share = isotonic_regression(mated / mass, weights=mass).x
        with np.errstate(divide="ignore", invalid="ignore"):
            costs = -np.where(mated > 0, mated * np.log2(share), 0) - np.where(
                impostor > 0, impostor * np.log2(1 - share), 0
            )
        result[row] = costs.sum() / 2
    return result
