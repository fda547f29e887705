"""From raw scores to log likelihood ratios without ever judging a person by a map that saw this person.

Patients are dealt into folds. The map of a fold is fitted on comparisons between people of the other folds, and judges
the fold's probes against their mates and against others of the same fold.
"""

from __future__ import annotations

import math

import numpy as np

from training.evaluation.table import Codes, Floats

FOLDS = 5
# Below these a fit says more about chance than about the scores.
_MIN_MATED, _MIN_NONMATED = 10, 20
# In units of one pair of observations: keeps the slope finite where the scores separate the classes.
_RIDGE = 0.01
_STEPS = 100


def cross_fit(
    patients: Codes, others: Codes, mate: Floats, nonmated: Floats, seed: int
) -> tuple[Floats, Floats] | None:
    """log10 LRs of mated (P,) and non-mated (P, m) scores; NaN where there was no score or it is not judged.

    None when some fold's complement holds too few comparisons.

    Parameters
    ----------
    patients, others
        (P,) codes of the probes' patients, (P, m) of those compared with.
    mate, nonmated
        (P,) NaN without a mate, (P, m) -inf without a comparison.
    """
    codes = np.unique(np.concatenate([patients, others.ravel()]))
    dealt = np.random.default_rng(seed).permutation(len(codes)) % FOLDS
    mine, theirs = dealt[np.searchsorted(codes, patients)], dealt[np.searchsorted(codes, others)]
    mated_lrs, nonmated_lrs = np.full(mate.shape, np.nan), np.full(nonmated.shape, np.nan)
    has_mate, compared = ~np.isnan(mate), nonmated != -np.inf
    for fold in range(FOLDS):
        train = mate[has_mate & (mine != fold)]
        train_others = nonmated[compared & (mine != fold)[:, None] & (theirs != fold)]
        if len(train) < _MIN_MATED or len(train_others) < _MIN_NONMATED:
            return None
        intercept, slope = fit_logistic(train, train_others)
        low, high = -math.log10(len(train) + 1), math.log10(len(train_others) + 1)
        judged, judged_others = has_mate & (mine == fold), compared & (mine == fold)[:, None] & (theirs == fold)
        mated_lrs[judged] = np.clip(intercept + slope * mate[judged], low, high)
        nonmated_lrs[judged_others] = np.clip(intercept + slope * nonmated[judged_others], low, high)
    return mated_lrs, nonmated_lrs


def fit_logistic(mated: Floats, nonmated: Floats) -> tuple[float, float]:
    """Intercept and slope of log10 LR = a + b * score, by logistic regression in which both classes weigh the same."""
    scores = np.concatenate([mated, nonmated])
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - centre) / spread
    # Equal scores leave rounding alone in their deviation: there is no slope to be had.
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return 0.0, 0.0
    label = np.repeat([1.0, 0.0], [len(mated), len(nonmated)])
    weight = np.repeat([0.5 / len(mated), 0.5 / len(nonmated)], [len(mated), len(nonmated)])
    ridge = _RIDGE / len(mated)
    a = b = 0.0
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(a + b * z, -500, 500)))
        curve = weight * share * (1 - share)
        gradient = np.array([(weight * (share - label)).sum(), (weight * (share - label) * z).sum() + ridge * b])
        hessian = np.array([[curve.sum(), (curve * z).sum()], [(curve * z).sum(), (curve * z * z).sum() + ridge]])
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        # Newton leaps out of the flat ends; a bounded step comes back.
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-300))
        a, b = a - float(step[0]), b - float(step[1])
        if np.abs(step).max() < 1e-12:
            break
    if b <= 0:  # higher scores for strangers than for mates: not evidence that anyone should use
        return 0.0, 0.0
    return (a - b * centre / spread) / math.log(10), b / spread / math.log(10)
