"""Intervals over patients: images of one person are not independent, so persons are drawn anew, not images.

Figures are functions of weights, one per probe: how often the probe's patient was drawn. With all weights one they are
the figures themselves. Impostor scores follow the probe's patient (the subsets bootstrap: R. Bolle, N. Ratha,
S. Pankanti, "Error analysis of pattern recognition systems", 2004), so that intervals hold for the gallery as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.evaluation.figures import Figure
from training.evaluation.options import Options
from training.evaluation.table import Bools, Codes, Floats

# Weights held at a time.
_ENTRIES = 1 << 21
# An event that never happened in n independent trials has a rate below 3 / n with 95 % confidence (rule of three).
RULE_OF_THREE = 3.0
COVERAGE = 0.95


class Statistic(Protocol):
    """Figures of one kind, prepared once for many draws of patients."""

    def exact(self) -> Mapping[str, float]:
        """The figures; NaN where undefined."""
        ...

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        """(b,) each, from weights (b, P)."""
        ...


def draw_weights(patients: Codes, rounds: int, seed: int) -> Iterator[Floats]:
    """(b, P) float64: how often each probe's patient was drawn, ``rounds`` rows in all, some rows at a time."""
    codes, places = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, _ENTRIES // max(1, len(patients)))
    for begin in range(0, rounds, step):
        rows = min(step, rounds - begin)
        chosen = rng.integers(0, len(codes), (rows, len(codes))) + (np.arange(rows) * len(codes))[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * len(codes)).reshape(rows, len(codes))
        yield times[:, places].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Trials:
    """How many trials a figure is made of, and how many people they come from."""

    n: int
    patients: int

    @classmethod
    def among(cls, patients: Codes, chosen: Bools) -> Trials:
        return cls(int(chosen.sum()), len(np.unique(patients[chosen])))


class Estimates:
    """Exact values and intervals of some statistics on the same probes, by name."""

    def __init__(self, patients: Codes, statistics: Mapping[str, Statistic], options: Options) -> None:
        self.exact = {
            f"{kind}.{name}": value for kind, one in statistics.items() for name, value in one.exact().items()
        }
        self._bounds: dict[str, tuple[float, float]] = {}
        if options.rounds and len(np.unique(patients)) > 1:
            self._draw(patients, statistics, options)

    def _draw(self, patients: Codes, statistics: Mapping[str, Statistic], options: Options) -> None:
        drawn: dict[str, list[Floats]] = {name: [] for name in self.exact}
        for weights in draw_weights(patients, options.rounds, options.seed):
            for kind, one in statistics.items():
                for name, values in one.drawn(weights).items():
                    drawn[f"{kind}.{name}"].append(values)
        for name, parts in drawn.items():
            values = np.concatenate(parts)
            values = values[np.isfinite(values)]
            # A figure that most draws leave undefined has no interval worth the name.
            if 2 * len(values) >= options.rounds:
                low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
                self._bounds[name] = (float(low), float(high))

    def figure(self, name: str, trials: Trials, *, rate: bool = False, missing: str = "") -> Figure:
        """One figure.

        rate
            whether it is a share of trials, so that the rule of three applies at 0 and at 1.
        missing
            the note for a figure without a value.
        """
        value = self.exact[name]
        if not np.isfinite(value):
            return Figure(None, n=trials.n, patients=trials.patients, note=missing or "undefined on these data")
        low, high = None, None
        note = "no interval: too few patients, or no rounds"
        if name in self._bounds:
            # Figures that chance can only worsen (ECE, say) are drawn on one side of what was seen.
            low, high = (pick(value, bound) for pick, bound in zip((min, max), self._bounds[name], strict=True))
            note = ""
        if rate and trials.n and value in (0.0, 1.0):
            reach = min(1.0, RULE_OF_THREE / trials.patients)
            low, high = (0.0, reach) if value == 0.0 else (1.0 - reach, 1.0)
            kind = "no" if value == 0.0 else "every"
            note = f"{kind} event in {trials.patients} patients: rule of three"
        return Figure(float(value), low, high, trials.n, trials.patients, note)


def weighted_mean(weights: Floats, values: Floats, among: Bools) -> Floats:
    """Means (b,) or (b, f) of ``values`` (P,) or (P, f) over the probes ``among`` (P,); NaN where all weigh nothing."""
    chosen = weights[:, among]
    total = chosen.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums: Floats = chosen @ values[among]
        return np.asarray(sums / (total if sums.ndim == 1 else total[:, None]))
