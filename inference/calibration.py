"""Raw scores to log10 likelihood ratios, by a stored calibration that knows how far its data reach.

The map is affine in Fisher's z of the score (atanh, which spreads out the cosines near 1 where mates crowd), fitted by
logistic regression with equal weight for mated and non-mated scores (so that the logit *is* the log likelihood ratio),
and bounded by its own data. For any likelihood ratio that never
falls with the score s, E[LR | non-mated] = 1 gives

    LR(s) <= 1 / P(S >= s | non-mated)     and likewise     LR(s) >= P(S <= s | mated)

and with the conformal estimate (1 + exceedances) / (1 + n) of those shares, a score above all n non-mated ones
supports at most log10(n + 1): a look-alike in the calibration data caps what its score can ever claim.

A score, here and in the search, is the largest inner product between the series of the probe study and those of all
studies that a patient has enrolled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from config.errors import CalibrationError
from inference.whole_file import whole_file

FORMAT = 2
Scope = Literal["phantom", "site"]
# Below these a fit says more about chance than about the encoder.
MIN_MATED, MIN_NONMATED = 20, 100
# A stratum with this many mated scores weighs as much as the global map.
SHRINKAGE_MATED = 50
# Strength of the pull towards a slope of zero, in units of one pair of observations: it keeps separable data finite.
_RIDGE = 0.1
# Beyond this cosine two images are copies, not better mates.
_LARGEST_SCORE = 0.995
_KNOTS = 64


@dataclass(frozen=True, slots=True)
class Tail:
    """How many of ``n`` sorted scores are at least (or at most) as extreme as a score, kept at some of them.

    ``scores[i]`` is the ``counts[i]``-th most extreme score; ``scores`` run from the most extreme one inwards.
    """

    n: int
    scores: tuple[float, ...]
    counts: tuple[int, ...]

    def log10_bound(self, scores: NDArray[np.float64], sign: float) -> NDArray[np.float64]:
        """-log10 of (1 + exceedances) / (1 + n); ``sign`` is +1 for an upper tail and -1 for a lower one."""
        knots = -sign * np.asarray(self.scores)
        beyond = np.searchsorted(knots, -sign * scores, side="right")
        # Between two knots the larger count holds: the bound errs towards neutral.
        exceedances = np.append(np.asarray(self.counts) - 1, self.n)[beyond]
        bound: NDArray[np.float64] = -np.log10((1 + exceedances) / (1 + self.n))
        return bound


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """log10 LR = ``intercept`` + ``slope`` * z, bounded by the tails of the scores that it was fitted on.

    z is :func:`fisher_z` of the score.
    """

    intercept: float
    slope: float
    n_mated: int
    n_nonmated: int
    nonmated_tail: Tail
    mated_tail: Tail

    def log10_lr(self, scores: ArrayLike) -> NDArray[np.float64]:
        values = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(values).all():
            raise CalibrationError("a score is NaN or infinite and is refused", reason="NOT_FINITE")
        upper = self.nonmated_tail.log10_bound(values, +1.0)
        lower = self.mated_tail.log10_bound(values, -1.0)
        bounded: NDArray[np.float64] = np.clip(self.intercept + self.slope * fisher_z(values), -lower, upper)
        return bounded


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the scores of one encoder version mean, and for whom.

    ``scope`` says of which people the calibration speaks: ``phantom`` or ``site``. ``strata`` holds maps of their own
    for some "MODALITY/VIEW" pairs, shrunk towards ``overall``, which serves all others.
    """

    encoder: str
    version: str
    scope: Scope
    fitted_on: str
    patients: int
    overall: ScoreMap
    strata: Mapping[str, ScoreMap] = field(default_factory=dict)

    @property
    def n_mated(self) -> int:
        return self.overall.n_mated

    @property
    def n_nonmated(self) -> int:
        return self.overall.n_nonmated

    @property
    def largest_log10_lr(self) -> float:
        """The largest log10 likelihood ratio that the calibration data can support."""
        return math.log10(self.overall.n_nonmated + 1)

    def log10_lr(self, scores: ArrayLike, modality: str = "", view: str = "") -> NDArray[np.float64]:
        """log10 likelihood ratios of raw scores (any shape), float64 of the same shape.

        Raises
        ------
        CalibrationError
            ``NOT_FINITE`` for a NaN or infinite score.
        """
        return self.strata.get(stratum(modality, view), self.overall).log10_lr(scores)

    def require(self, encoder: str, version: str) -> None:
        """Raises CalibrationError unless this calibration belongs to that very encoder version."""
        if (self.encoder, self.version) != (encoder, version):
            raise CalibrationError(
                f"the calibration is for {self.encoder} {self.version}, not for {encoder} {version}; "
                "run `medreid calibrate`",
                reason="CALIBRATION_OTHER_VERSION",
            )

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Reads what :meth:`to_json` wrote.

        Raises
        ------
        CalibrationError
            ``CALIBRATION_DAMAGED`` when the text is not a calibration of this format, or not a monotone, finite one.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ValueError("other format")
            overall, strata = values.pop("overall"), values.pop("strata")
            found = cls(overall=_map_from(overall), strata={k: _map_from(v) for k, v in strata.items()}, **values)
            if found.scope not in ("phantom", "site") or found.patients < 2:
                raise ValueError("scope or patients")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CalibrationError(
                f"not a calibration of format {FORMAT} ({type(error).__name__}); run `medreid calibrate` again",
                reason="CALIBRATION_DAMAGED",
            ) from None
        return found


def fisher_z(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """atanh of cosines, which are kept away from -1 and 1."""
    return np.asarray(np.arctanh(np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)))


def stratum(modality: str, view: str) -> str:
    return f"{modality}/{view}"


def fit_calibration(
    mated: ArrayLike,
    nonmated: ArrayLike,
    *,
    encoder: str,
    version: str,
    scope: Scope,
    fitted_on: str,
    patients: int,
    mated_strata: Sequence[str] | None = None,
    nonmated_strata: Sequence[str] | None = None,
) -> Calibration:
    """Fits score maps: one overall, and one per stratum (as :func:`stratum` names them) that has enough scores.

    Parameters
    ----------
    mated, nonmated
        scores per (probe study, patient), each the largest over the patient's *other* studies.
    mated_strata, nonmated_strata
        the stratum of each score; None where strata do not matter.

    Raises
    ------
    CalibrationError
        ``CALIBRATION_TOO_LITTLE_DATA`` or ``NOT_FINITE``.
    """
    genuine, impostor = np.asarray(mated, np.float64).ravel(), np.asarray(nonmated, np.float64).ravel()
    overall = _fit_map(genuine, impostor)
    strata: dict[str, ScoreMap] = {}
    if mated_strata is not None and nonmated_strata is not None:
        of_mated, of_nonmated = np.asarray(mated_strata), np.asarray(nonmated_strata)
        for name in np.unique(of_mated).tolist():
            own, others = genuine[of_mated == name], impostor[of_nonmated == name]
            if len(own) >= MIN_MATED and len(others) >= MIN_NONMATED:
                strata[name] = _shrink(_fit_map(own, others), overall)
    return Calibration(encoder, version, scope, fitted_on, patients, overall, strata)


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file; CalibrationError names the file."""
    try:
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"{path} cannot be read ({type(error).__name__})", reason="CALIBRATION_DAMAGED"
        ) from None
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}", reason=error.reason) from None


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Writes the file whole or not at all."""
    with whole_file(path) as file:
        file.write(calibration.to_json().encode())


def _fit_map(mated: NDArray[np.float64], nonmated: NDArray[np.float64]) -> ScoreMap:
    if len(mated) < MIN_MATED or len(nonmated) < MIN_NONMATED:
        raise CalibrationError(
            f"{len(mated)} mated and {len(nonmated)} non-mated scores; at least {MIN_MATED} and {MIN_NONMATED} "
            "are needed: enrol more patients with two or more studies",
            reason="CALIBRATION_TOO_LITTLE_DATA",
        )
    if not (np.isfinite(mated).all() and np.isfinite(nonmated).all()):
        raise CalibrationError("a calibration score is NaN or infinite", reason="NOT_FINITE")
    intercept, slope = _logistic(fisher_z(mated), fisher_z(nonmated))
    return ScoreMap(
        intercept=intercept / math.log(10),
        slope=slope / math.log(10),
        n_mated=len(mated),
        n_nonmated=len(nonmated),
        nonmated_tail=_tail(nonmated, +1.0),
        mated_tail=_tail(mated, -1.0),
    )


def _logistic(mated: NDArray[np.float64], nonmated: NDArray[np.float64]) -> tuple[float, float]:
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


def _tail(scores: NDArray[np.float64], sign: float) -> Tail:
    """Keeps every count up to 16 and then ever fewer: the bound matters most where scores are rare."""
    extreme_first = -sign * np.sort(-sign * scores)
    n = len(scores)
    counts = np.unique(np.concatenate([np.arange(1, 17), np.geomspace(16, n, _KNOTS).round()]).astype(int))
    counts = counts[counts <= n]
    return Tail(n, tuple(extreme_first[counts - 1].tolist()), tuple(counts.tolist()))


def _shrink(own: ScoreMap, overall: ScoreMap) -> ScoreMap:
    """Few scores lean on the global map; the bounds stay those of the stratum's own data."""
    weight = own.n_mated / (own.n_mated + SHRINKAGE_MATED)
    return ScoreMap(
        intercept=weight * own.intercept + (1 - weight) * overall.intercept,
        slope=weight * own.slope + (1 - weight) * overall.slope,
        n_mated=own.n_mated,
        n_nonmated=own.n_nonmated,
        nonmated_tail=own.nonmated_tail,
        mated_tail=own.mated_tail,
    )


def _map_from(values: dict[str, Any]) -> ScoreMap:
    upper, lower = _tail_from(values.pop("nonmated_tail"), 1.0), _tail_from(values.pop("mated_tail"), -1.0)
    found = ScoreMap(**values, nonmated_tail=upper, mated_tail=lower)
    if not (math.isfinite(found.intercept) and math.isfinite(found.slope) and found.slope >= 0):
        raise ValueError("map")
    return found


def _tail_from(values: dict[str, Any], sign: float) -> Tail:
    tail = Tail(int(values["n"]), tuple(map(float, values["scores"])), tuple(map(int, values["counts"])))
    outwards = sign * np.diff(tail.scores)
    counts = np.diff(tail.counts)
    if len(tail.scores) != len(tail.counts) or not tail.scores or not np.isfinite(tail.scores).all():
        raise ValueError("tail")
    if (outwards > 0).any() or (counts <= 0).any() or tail.counts[0] != 1 or tail.counts[-1] != tail.n:
        raise ValueError("tail")
    return tail
