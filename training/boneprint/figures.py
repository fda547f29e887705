"""What is told of searches: rates with intervals over persons, beside chance, and whether a published order holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.boneprint.searching import Searches, chance
from training.boneprint.variants import FUSIONS
from training.evaluation.bootstrap import RULE_OF_THREE
from training.evaluation.figures import Figure
from training.evaluation.metrics import person_bootstrap

RANKS = (1, 10, 20, 50)
PERCENTILES = (1.0, 5.0, 10.0)
CHANCE = "chance"


def rate(hits: NDArray[np.float64]) -> Figure:
    """The share of queries, one of each person, with its interval of 95 % over persons."""
    count = len(hits)
    if not count:
        return Figure(None, note="nobody is of this group")
    value = float(hits.mean())
    if value in (0.0, 1.0):
        # What never happened cannot be drawn: the rule of three.
        reach = min(1.0, RULE_OF_THREE / count)
        low, high = (0.0, reach) if value == 0 else (1 - reach, 1.0)
    else:
        low, high = person_bootstrap(np.arange(count), hits)
    return Figure(value, low, high, count, count)


def row(found: Searches, ranks: Sequence[int] = RANKS, percentiles: Sequence[float] = PERCENTILES) -> dict[str, Figure]:
    """``rank-K`` and ``PRR(P %)`` of some searches."""
    return {f"rank-{rank}": rate(found.hits(rank)) for rank in ranks} | {
        f"PRR({percent:g} %)": rate(found.within(percent)) for percent in percentiles
    }


def chance_row(
    bank: int, ranks: Sequence[int] = RANKS, percentiles: Sequence[float] = PERCENTILES
) -> dict[str, Figure]:
    """What drawing from the bank blindly gives, for the columns of :func:`row`."""
    drawn = {f"rank-{rank}": chance(rank, bank) for rank in ranks}
    drawn |= {f"PRR({percent:g} %)": int(percent * bank / 100 + 1e-9) / bank for percent in percentiles}
    return {name: Figure(value) for name, value in drawn.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """``better`` less ``worse`` at one rank, on the same queries, with its interval over persons."""

    better: str
    worse: str
    difference: Figure

    @property
    def verdict(self) -> str:
        """``holds`` or ``reversed`` where the interval leaves no doubt, else ``open``."""
        low, high = self.difference.low or 0.0, self.difference.high or 0.0
        return "holds" if low > 0 else "reversed" if high < 0 else "open"


@dataclass(frozen=True, slots=True)
class Order:
    """Whether explicit, implicit, and the best of everything else come in this order at ``rank``."""

    rank: int
    steps: tuple[Step, ...]

    @property
    def verdict(self) -> str:
        verdicts = {step.verdict for step in self.steps}
        return "reversed" if "reversed" in verdicts else "open" if "open" in verdicts else "holds"

    def sentence(self) -> str:
        """For people."""
        said = {
            "holds": "holds",
            "reversed": "does not hold",
            "open": "is not decided by these persons",
        }[self.verdict]
        parts = ", ".join(
            f"{step.better} less {step.worse} {step.difference.value or 0.0:+.3f} "
            f"[{step.difference.low or 0.0:+.3f}, {step.difference.high or 0.0:+.3f}]"
            for step in self.steps
        )
        return f"At rank-{self.rank} the published order (explicit, implicit, baselines) {said}: {parts}."


def order(methods: Mapping[str, Searches], rank: int) -> Order:
    """The published order among ``methods``: both fusions and at least one other; the best other counts."""
    explicit, implicit = FUSIONS
    others = {name: found.hits(rank).mean() for name, found in methods.items() if name not in FUSIONS}
    best = max(others, key=lambda name: others[name])
    pairs = ((explicit, implicit), (implicit, best))
    return Order(rank, tuple(Step(one, other, _difference(methods, one, other, rank)) for one, other in pairs))


def beyond_chance(name: str, found: Searches) -> str:
    """How many times chance the rank-1 of a method is, for people."""
    own, drawn = rate(found.hits(1)), chance(1, found.bank)
    return (
        f"{name}: rank-1 is {(own.value or 0.0) / drawn:.0f} times chance "
        f"[{(own.low or 0.0) / drawn:.0f}, {(own.high or 0.0) / drawn:.0f}] in a bank of {found.bank}."
    )


def _difference(methods: Mapping[str, Searches], one: str, other: str, rank: int) -> Figure:
    differences = methods[one].hits(rank) - methods[other].hits(rank)
    low, high = person_bootstrap(np.arange(len(differences)), differences)
    return Figure(float(differences.mean()), low, high, len(differences), len(differences))
