"""A calibration: what the scores of one encoder version, or of one verifier, mean, and for whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from config.errors import CalibrationError
from inference.calibration.fitting import fit_map, fit_strata, pooled
from inference.calibration.maps import Floats, ScoreMap
from inference.calibration.open_set import OpenSet
from inference.calibration.strata import OVERALL, Pair, Side

Scope = Literal["phantom", "elsewhere", "site"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Images of one kind and unknown quality.
ANY = Pair.alike()


@dataclass(frozen=True, slots=True)
class Correlation:
    """How the log LRs of two kinds of pair go together, over persons of whom both were compared.

    ``first`` and ``second`` are names of sources (:func:`source_name`), in order.
    """

    first: str
    second: str
    mated: float
    nonmated: float
    comparisons: int

    @property
    def together(self) -> float:
        """What fusion reckons with: the larger one, and never less than none."""
        return max(self.mated, self.nonmated, 0.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """``encoder`` may be a verifier. ``scope`` says of which people the calibration speaks: ``phantom`` (none),
    ``elsewhere`` (patients of other hospitals) or ``site``.

    strata
        maps by name of stratum (:mod:`inference.calibration.strata`), each shrunk towards the next coarser one.
    open_set
        what non-mated searches return, by name of stratum.
    correlations
        of the sources of this encoder among each other.
    """

    encoder: str
    version: str
    scope: Scope
    fitted_on: str
    patients: int
    overall: ScoreMap
    strata: Mapping[str, ScoreMap] = field(default_factory=dict)
    open_set: Mapping[str, OpenSet] = field(default_factory=dict)
    correlations: tuple[Correlation, ...] = ()

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

    def map_of(self, pair: Pair) -> ScoreMap:
        """The map of the finest stratum that there is.

        Raises
        ------
        CalibrationError
            ``CALIBRATION_NO_STRATUM`` for a foreign pair that has none: such scores mean nothing.
        """
        for name in pair.levels():
            if name == OVERALL:
                return self.overall
            if name in self.strata:
                return self.strata[name]
        raise CalibrationError(
            f"{self.encoder} {self.version} is not calibrated for {pair.kind}; such images are not compared",
            reason="CALIBRATION_NO_STRATUM",
        )

    def log10_lr(self, scores: ArrayLike, pair: Pair = ANY) -> Floats:
        """log10 likelihood ratios of raw scores (any shape), float64 of the same shape.

        Raises
        ------
        CalibrationError
            ``NOT_FINITE`` for a NaN or infinite score, ``CALIBRATION_NO_STRATUM`` as :meth:`map_of` does.
        """
        return self.map_of(pair).log10_lr(scores)

    def has_map(self, pair: Pair) -> bool:
        """Whether :meth:`map_of` finds one."""
        return any(name == OVERALL or name in self.strata for name in pair.levels())

    def with_correlations(self, correlations: Sequence[Correlation]) -> Calibration:
        """This calibration with what was learned of its sources' correlations."""
        return replace(self, correlations=tuple(correlations))

    def shifted(self, log10: float) -> Calibration:
        """This calibration with every log10 LR moved, within the bounds that its data set."""
        return replace(
            self,
            overall=self.overall.shifted(log10),
            strata={name: one.shifted(log10) for name, one in self.strata.items()},
        )

    def guard_of(self, pair: Pair) -> OpenSet | None:
        """What is known of non-mated searches with such pairs; None where nothing is."""
        return next((self.open_set[name] for name in pair.levels() if name in self.open_set), None)

    def p_value(self, score: float, searched: int, pair: Pair = ANY) -> float:
        """Share of non-mated searches among ``searched`` patients that bring a candidate of this score or better.

        1, which no guard lets pass, where too few people were searched to know.
        """
        guard = self.guard_of(pair)
        return 1.0 if guard is None else guard.p_value(score, searched)

    def partners(self, own: Side) -> tuple[Side, ...]:
        """What else images of this kind may be compared with: the other sides of foreign pairs that have a map."""
        pairs = [Pair.of_name(name) for name in self.strata if "/" in name and "@" not in name]
        found = {
            pair.second if pair.first == own else pair.first
            for pair in pairs
            if pair.foreign and own in (pair.first, pair.second)
        }
        return tuple(sorted(found))

    def require(self, encoder: str, version: str) -> None:
        """Raises CalibrationError unless this calibration belongs to that very encoder version."""
        if (self.encoder, self.version) != (encoder, version):
            raise CalibrationError(
                f"the calibration is for {self.encoder} {self.version}, not for {encoder} {version}; "
                "run `medreid calibrate`",
                reason="CALIBRATION_OTHER_VERSION",
            )


def source_name(encoder: str, pair: Pair) -> str:
    """One source of evidence about a study: an encoder (or verifier) and what it compared, whatever the quality."""
    return f"{encoder}:{pair.kind}"


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
    open_set: Mapping[str, OpenSet] | None = None,
) -> Calibration:
    """Fits score maps: one over all pairs of equal kind, and one per stratum that has enough scores.

    Parameters
    ----------
    mated, nonmated
        scores per (probe study, patient), each the largest over the patient's *other* studies.
    mated_strata, nonmated_strata
        the :attr:`~inference.calibration.strata.Pair.name` of each score's pair; None where strata do not matter.
    open_set
        what was learned of non-mated searches, by stratum; kept with the maps.

    Raises
    ------
    CalibrationError
        ``CALIBRATION_TOO_LITTLE_DATA`` or ``NOT_FINITE``.
    """
    genuine, impostor = _by_name(mated, mated_strata), _by_name(nonmated, nonmated_strata)
    maps = fit_strata(genuine, impostor)
    # Where there is too little, fitting the whole says so.
    overall = maps.pop(OVERALL, None) or fit_map(pooled(genuine, OVERALL), pooled(impostor, OVERALL))
    return Calibration(encoder, version, scope, fitted_on, patients, overall, maps, dict(open_set or {}))


def _by_name(scores: ArrayLike, names: Sequence[str] | None) -> dict[str, Floats]:
    values = np.asarray(scores, np.float64).ravel()
    if names is None:
        return {ANY.name: values}
    labels = np.asarray(names)
    return {str(name): values[labels == name] for name in np.unique(labels)}
