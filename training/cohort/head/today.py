"""The head of a person as it is on one day: older than when drawn, fatter or thinner, ill or well, smiling or not."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from training.cohort.chance import norm_of, stream
from training.cohort.head.frame import Bleed, Head
from training.cohort.head.shape import HeadShape
from training.cohort.illness import State
from training.cohort.person import Person, first_day
from training.cohort.visit import Visit

# Chance in a year that a standing tooth is lost, at 20 and for each further year of age; that a molar is filled.
_LOSS, _LOSS_PER_YEAR, _FILLING = 0.001, 0.00016, 0.006
_FILLED = (1, 2, 13, 14)


class Mien(Protocol):
    """What a visit drew for the soft parts: ``weight`` is mm of fat, ``jaw`` degrees, ``smile`` mm."""

    @property
    def weight(self) -> float: ...
    @property
    def jaw(self) -> float: ...
    @property
    def smile(self) -> float: ...
    @property
    def swelling(self) -> tuple[float, float]: ...


def head_of(who: Person, when: Visit, mien: Mien, down: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> Head:
    """The head at a visit; ``down`` is where fluid sinks to: backwards in someone who lies on the back."""
    return Head(
        shape=aged(who, when.ageing),
        weight=mien.weight,
        jaw=mien.jaw,
        smile=mien.smile,
        swelling=mien.swelling,
        sinusitis=_sinusitis(when.illness["sinusitis"]),
        down=down,
        bleed=_bleed(when.illness["haemorrhage"]),
    )


def aged(who: Person, years: float) -> HeadShape:
    """The person's head ``years`` after it was drawn: what changes with age goes on changing, teeth go."""
    shape = who.head
    later: dict[str, Any] = {
        item.name: float(np.clip(getattr(shape, item.name) + norm.age * years / 10.0, norm.low, norm.high))
        for item in fields(shape)
        if (norm := norm_of(item)) is not None and norm.age
    }
    rng = stream(who.seed, "person", who.number, "teeth")
    risk = _LOSS + _LOSS_PER_YEAR * max(0.0, who.years(first_day(who.seed)) - 20.0)
    lost = rng.exponential(1.0 / risk, len(shape.teeth)) < years
    filled = rng.exponential(1.0 / _FILLING, len(shape.teeth)) < years
    return replace(
        shape,
        **later,
        teeth=tuple(0.0 if gone else size for size, gone in zip(shape.teeth, lost, strict=True)),
        fillings=tuple(
            n
            for n in range(len(shape.teeth))
            if n in shape.fillings or (filled[n] and shape.teeth[n] > 0 and n % 16 in _FILLED)
        ),
    )


def _sinusitis(state: State) -> tuple[float, float]:
    share = 0.2 + 0.6 * state.severity if state else 0.0
    return (share, 0.0) if state.side == "L" else (0.0, share)


def _bleed(state: State) -> Bleed | None:
    if not state:
        return None
    rng = stream("haemorrhage", state.seed)
    side = 1.0 if state.side == "L" else -1.0
    return Bleed(state.severity, side, bool(rng.random() < 0.5), tuple(map(float, rng.uniform(-1, 1, 3))))
