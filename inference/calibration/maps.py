"""Raw scores to log10 likelihood ratios: a monotone map that knows how far its data reach.

The map is affine in Fisher's z of the score (atanh, which spreads out the cosines near 1 where mates crowd), and
bounded by its own data. For any likelihood ratio that never falls with the score s, E[LR | non-mated] = 1 gives

    LR(s) <= 1 / P(S >= s | non-mated)     and likewise     LR(s) >= P(S <= s | mated)

and with the conformal estimate (1 + exceedances) / (1 + n) of those shares, a score above all n non-mated ones
supports at most log10(n + 1): a look-alike in the calibration data caps what its score can ever claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from config.errors import CalibrationError

# Beyond this cosine two images are copies, not better mates.
_LARGEST_SCORE = 0.995

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tail:
    """How many of ``n`` sorted scores are at least (or at most) as extreme as a score, kept at some of them.

    ``scores[i]`` is the ``counts[i]``-th most extreme score; ``scores`` run from the most extreme one inwards.
    """

    n: int
    scores: tuple[float, ...]
    counts: tuple[int, ...]

    def share(self, scores: Floats, sign: float) -> Floats:
        """(1 + exceedances) / (1 + n); ``sign`` is +1 for an upper tail and -1 for a lower one."""
        knots = -sign * np.asarray(self.scores)
        beyond = np.searchsorted(knots, -sign * scores, side="right")
        # Between two knots the larger count holds: the bound errs towards neutral.
        exceedances = np.append(np.asarray(self.counts) - 1, self.n)[beyond]
        return np.asarray((1 + exceedances) / (1 + self.n), np.float64)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], sign: float) -> Tail:
        """Reads what was written; ValueError when it is no tail."""
        found = cls(int(values["n"]), tuple(map(float, values["scores"])), tuple(map(int, values["counts"])))
        outwards, counts = sign * np.diff(found.scores), np.diff(found.counts)
        if len(found.scores) != len(found.counts) or not found.scores or not np.isfinite(found.scores).all():
            raise ValueError("tail")
        if (outwards > 0).any() or (counts <= 0).any() or found.counts[0] != 1 or found.counts[-1] != found.n:
            raise ValueError("tail")
        return found


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """log10 LR = ``intercept`` + ``slope`` * z, bounded by the tails of the scores that it was fitted on.

    z is :func:`fisher_z` of the score. ``separation`` is by how much the mean log10 LR of mated scores exceeds that of
    non-mated ones: how much this evidence has to say, which fusion needs to know.
    """

    intercept: float
    slope: float
    separation: float
    n_mated: int
    n_nonmated: int
    nonmated_tail: Tail
    mated_tail: Tail

    def log10_lr(self, scores: ArrayLike) -> Floats:
        """log10 likelihood ratios, float64 of the scores' shape; CalibrationError ``NOT_FINITE`` for no number."""
        values = _finite(scores)
        lower = np.log10(self.mated_tail.share(values, -1.0))
        upper = -np.log10(self.nonmated_tail.share(values, +1.0))
        bounded: Floats = np.clip(self.intercept + self.slope * fisher_z(values), lower, upper)
        return bounded

    def log10_lr_below(self, score: float) -> float:
        """log10 LR of knowing only that a score is *below* this one: P(S < s | mated) / P(S < s | non-mated).

        It is what a patient who missed a candidate list brings, and it is never above the LR of ``score`` itself.
        """
        value = _finite([score])
        mated = float(self.mated_tail.share(value, -1.0)[0])
        nonmated = 1.0 - float(self.nonmated_tail.share(value, +1.0)[0])
        highest = float(self.log10_lr(value)[0])
        return min(highest, math.log10(mated / nonmated)) if nonmated > 0 else highest

    def shifted(self, log10: float) -> ScoreMap:
        """This map with every log10 LR moved, within its bounds."""
        return replace(self, intercept=self.intercept + log10)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ScoreMap:
        """Reads what was written; ValueError or TypeError when it is no monotone, finite map."""
        tails = {
            "nonmated_tail": Tail.from_values(values["nonmated_tail"], 1.0),
            "mated_tail": Tail.from_values(values["mated_tail"], -1.0),
        }
        found = cls(**(dict(values) | tails))
        numbers = (found.intercept, found.slope, found.separation)
        if not all(math.isfinite(number) for number in numbers) or found.slope < 0 or found.separation < 0:
            raise ValueError("map")
        return found


def fisher_z(scores: Floats) -> Floats:
    """atanh of cosines, which are kept away from -1 and 1."""
    return np.asarray(np.arctanh(np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)))


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise CalibrationError("a score is NaN or infinite and is refused", reason="NOT_FINITE")
    return values
