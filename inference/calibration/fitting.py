"""Fits score maps by logistic regression with equal weights for mates and others, so that its logit *is* the log LR."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from config.errors import CalibrationError
from inference.calibration.maps import Floats, ScoreMap, Tail, fisher_z
from inference.calibration.strata import Pair

# Below these a fit says more about chance than about the encoder.
MIN_MATED, MIN_NONMATED = 20, 100
# A stratum with this many mated scores weighs as much as the next coarser one.
SHRINKAGE_MATED = 50
# Strength of the pull towards a slope of zero, in units of one pair of observations: it keeps separable data finite.
_RIDGE = 0.1
_KNOTS = 64
# Knots are kept to this step, rounded away from neutral claims.
_STEP = 1e-6


def fit_strata(mated: Mapping[str, Floats], nonmated: Mapping[str, Floats]) -> dict[str, ScoreMap]:
    """One map per stratum that has enough scores, each leaning on the next coarser one the more, the smaller it is.

    Parameters
    ----------
    mated, nonmated
        scores (n,) by the *name* of the pair of images that they are of.

    Returns
    -------
    dict
        maps by name of stratum. A stratum that holds no more than its only part is left to the coarser name.
    """
    parents = {level: _coarser(Pair.of_name(name), level) for name in mated for level in Pair.of_name(name).levels()}
    # Their very presence says that such images may be compared.
    foreign = {Pair.of_name(name).kind for name in mated if Pair.of_name(name).foreign}
    fitted: dict[str, ScoreMap] = {}
    for level in sorted(parents, key=lambda one: len(parents[one])):
        own, others = pooled(mated, level), pooled(nonmated, level)
        if len(own) < MIN_MATED or len(others) < MIN_NONMATED:
            continue
        coarser = next((fitted[name] for name in parents[level] if name in fitted), None)
        if coarser is None:
            fitted[level] = fit_map(own, others)
        elif level in foreign or (coarser.n_mated, coarser.n_nonmated) != (len(own), len(others)):
            fitted[level] = _shrink(fit_map(own, others), coarser)
    return fitted


def fit_map(mated: Floats, nonmated: Floats) -> ScoreMap:
    """The map of these scores, each (n,).

    Raises
    ------
    CalibrationError
        ``CALIBRATION_TOO_LITTLE_DATA`` or ``NOT_FINITE``.
    """
    if len(mated) < MIN_MATED or len(nonmated) < MIN_NONMATED:
        raise CalibrationError(
            f"{len(mated)} mated and {len(nonmated)} non-mated scores; at least {MIN_MATED} and {MIN_NONMATED} "
            "are needed: enrol more patients with two or more studies",
            reason="CALIBRATION_TOO_LITTLE_DATA",
        )
    if not (np.isfinite(mated).all() and np.isfinite(nonmated).all()):
        raise CalibrationError("a calibration score is NaN or infinite", reason="NOT_FINITE")
    intercept, slope = (value / math.log(10) for value in _logistic(fisher_z(mated), fisher_z(nonmated)))
    return ScoreMap(
        intercept=intercept,
        slope=slope,
        separation=max(0.0, slope * float(fisher_z(mated).mean() - fisher_z(nonmated).mean())),
        n_mated=len(mated),
        n_nonmated=len(nonmated),
        nonmated_tail=_tail(nonmated, +1.0),
        mated_tail=_tail(mated, -1.0),
    )


def _coarser(pair: Pair, level: str) -> tuple[str, ...]:
    levels = pair.levels()
    return levels[levels.index(level) + 1 :]


def pooled(scores: Mapping[str, Floats], level: str) -> Floats:
    """All scores (n,) of a stratum; ``scores`` are by the name of their pair."""
    parts = [values for name, values in scores.items() if level in Pair.of_name(name).levels()]
    return np.concatenate([np.empty(0), *parts])


def _shrink(own: ScoreMap, coarser: ScoreMap) -> ScoreMap:
    """Few scores lean on the coarser map; the bounds stay those of the stratum's own data."""
    weight = own.n_mated / (own.n_mated + SHRINKAGE_MATED)

    def between(mine: float, theirs: float) -> float:
        return weight * mine + (1 - weight) * theirs

    return replace(
        own,
        intercept=between(own.intercept, coarser.intercept),
        slope=between(own.slope, coarser.slope),
        separation=between(own.separation, coarser.separation),
    )


def _logistic(mated: Floats, nonmated: Floats) -> tuple[float, float]:
    """Intercept and slope of the logit, by Newton's method on standardised scores with equal class weights."""
    scores = np.concatenate([mated, nonmated])
    labels = np.concatenate([np.ones(len(mated)), np.zeros(len(nonmated))])
    # Each class weighs as much as the mated scores are: the prior log odds of the fit are zero.
    weights = np.concatenate([np.ones(len(mated)), np.full(len(nonmated), len(mated) / len(nonmated))])
    centre = (mated.mean() + nonmated.mean()) / 2
    scale = max(float(np.sqrt((mated.var() + nonmated.var()) / 2)), 1e-6)
    design = np.column_stack([np.ones_like(scores), (scores - centre) / scale])
    ridge = np.diag([0.0, _RIDGE])
    theta = np.zeros(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weights * (labels - p)) - ridge @ theta
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + ridge + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # A full Newton step can overshoot on nearly separable scores.
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        theta += step
        if float(np.abs(step).max()) < 1e-10:
            break
    if theta[1] <= 0:
        return 0.0, 0.0  # scores that fall for mates tell nothing apart
    slope = float(theta[1]) / scale
    return float(theta[0]) - slope * float(centre), slope


def _tail(scores: Floats, sign: float) -> Tail:
    """Keeps every count up to 16 and then ever fewer: the bound matters most where scores are rare."""
    # Rounded outwards, a knot can only make the bound more careful.
    rounded = sign * np.ceil(sign * scores / _STEP) * _STEP
    extreme_first = -sign * np.sort(-sign * rounded)
    n = len(scores)
    counts = np.unique(np.concatenate([np.arange(1, 17), np.geomspace(16, n, _KNOTS).round()]).astype(int))
    counts = counts[counts <= n]
    return Tail(n, tuple(float(f"{score:.7f}") for score in extreme_first[counts - 1]), tuple(counts.tolist()))
