"""How a visit draws its values: some anew each time, some mostly the habit of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# How much of a habit is the machine's own; the rest is drawn by the visit.
_HABIT = 0.7


class Draw:
    """Draws of one visit for one kind of study.

    ``visit`` and ``device`` are generators that belong to the visit and to the machine: a habit is the same for all
    visits to one machine but for a little that varies. Ranges are (low, high).
    """

    def __init__(self, visit: np.random.Generator, device: np.random.Generator) -> None:
        self.rng = visit
        self._device = device

    def normal(self, sd: float, bound: float = 2.5) -> float:
        """Normal about 0, clipped at ``bound`` standard deviations."""
        return float(np.clip(self.rng.standard_normal(), -bound, bound) * sd)

    def uniform(self, between: tuple[float, float]) -> float:
        return float(self.rng.uniform(*between))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def choose(self, options: Sequence[T], shares: Sequence[float] | None = None) -> T:
        """One of the options, evenly or by ``shares`` (which need not sum to 1)."""
        weights = None if shares is None else np.asarray(shares, float) / np.sum(shares)
        return options[int(self.rng.choice(len(options), p=weights))]

    def habit(self, between: tuple[float, float]) -> float:
        """Within the range; machines lie anywhere in it and visits to one machine close together."""
        low, high = between
        return float(low + (high - low) * (_HABIT * self._device.random() + (1 - _HABIT) * self.rng.random()))

    def habit_chance(self, share: float) -> bool:
        """True for this share of machines, and now and then the opposite."""
        own = bool(self._device.random() < share)
        return own if self.rng.random() < _HABIT else self.chance(share)

    def habit_choose(self, options: Sequence[T], shares: Sequence[float] | None = None) -> T:
        """Mostly what the machine always chooses."""
        weights = None if shares is None else np.asarray(shares, float) / np.sum(shares)
        own = options[int(self._device.choice(len(options), p=weights))]
        return own if self.rng.random() < _HABIT else self.choose(options, shares)
