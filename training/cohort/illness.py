"""Disease that comes and goes, device implants that stay: the labels of a visit.

Every condition follows a person over the visits as a chain of its own. Its spells are seeded, so that the same patch of
consolidation looks alike in the film and in the CT of one day, and another one months later does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from training.cohort.chance import stream


@dataclass(frozen=True, slots=True)
class State:
    """``severity`` in [0, 1], 0 where there is none; ``side`` is ``L`` or ``R``; ``seed`` is the spell's own."""

    severity: float = 0.0
    side: str = "R"
    seed: int = 0

    def __bool__(self) -> bool:
        return self.severity > 0.0


@dataclass(frozen=True, slots=True)
class IllnessDials:
    """Share of visits (at the age of 56) that show each condition; a share of 0 turns it off."""

    effusion: float = 0.10
    consolidation: float = 0.15
    cardiomegaly: float = 0.12
    nodule: float = 0.08
    pneumothorax: float = 0.04
    emphysema: float = 0.08
    pacemaker: float = 0.05
    haemorrhage: float = 0.06
    sinusitis: float = 0.12
    swelling: float = 0.10
    retinopathy: float = 0.22
    drusen: float = 0.15
    cataract: float = 0.15
    lesion: float = 0.50


@dataclass(frozen=True, slots=True)
class _Course:
    """``keeps`` is the chance that a spell lasts over half a year; ``age`` the change of log odds per decade."""

    keeps: float
    age: float


# What stays, stays: a heart does not shrink, an implant is not taken out.
_LASTING = _Course(keeps=0.995, age=0.35)
_COURSES: Mapping[str, _Course] = {
    "effusion": _Course(0.25, 0.2),
    "consolidation": _Course(0.15, 0.1),
    "cardiomegaly": _LASTING,
    "nodule": _Course(0.8, 0.2),
    "pneumothorax": _Course(0.1, 0.0),
    "emphysema": _LASTING,
    "pacemaker": _LASTING,
    "haemorrhage": _Course(0.3, 0.2),
    "sinusitis": _Course(0.3, 0.0),
    "swelling": _Course(0.05, 0.0),
    "retinopathy": _Course(0.85, 0.15),
    "drusen": _LASTING,
    "cataract": _Course(0.8, 0.5),
    "lesion": _Course(0.97, 0.1),
}
CHEST = ("effusion", "consolidation", "cardiomegaly", "nodule", "pneumothorax", "emphysema", "pacemaker")
HEAD = ("haemorrhage", "sinusitis", "swelling")
EYES = ("retinopathy", "drusen", "cataract")
SKIN = ("lesion",)
CONDITIONS = tuple(_COURSES)
# Conditions that are told by grade and not by presence.
_GRADES = {"retinopathy": 4}


class Illness:
    """The conditions of one visit by name; one that is absent has a severity of 0."""

    __slots__ = ("_states",)

    def __init__(self, states: Mapping[str, State]) -> None:
        self._states = dict(states)

    def __getitem__(self, name: str) -> State:
        if name not in _COURSES:
            raise KeyError(name)
        return self._states.get(name, State())

    def grade(self, name: str) -> int:
        """0 to 4 for a condition that is told by grade, else 0 or 1."""
        severity = self[name].severity
        return int(np.ceil(severity * _GRADES.get(name, 1)))

    def labels(self, conditions: Sequence[str]) -> dict[str, str]:
        """What a manifest says of these conditions."""
        return {name: str(self.grade(name)) for name in conditions}


def illness(seed: int, number: int, years: Sequence[float], dials: IllnessDials) -> Illness:
    """The conditions of a person at the last of the visits, of which ``years`` are the ages."""
    return Illness({name: state for name in CONDITIONS if (state := _follow(seed, number, name, years, dials))})


def _follow(seed: int, number: int, name: str, years: Sequence[float], dials: IllnessDials) -> State:
    course, share = _COURSES[name], float(getattr(dials, name))
    state, before = State(), years[0]
    for visit, (age, rng) in enumerate(zip(years, _visits(seed, number, name), strict=False)):
        # The draws are made whether or not they count: what one visit shows never shifts the next.
        stays, comes = float(rng.random()), float(rng.random())
        spell = State(float(rng.uniform(0.15, 1.0)), "L" if rng.random() < 0.5 else "R", int(rng.integers(2**31)))
        kept = course.keeps ** (2.0 * (age - before)) if visit else 0.0
        expected = _share_at(share, course.age, age)
        if not (state and stays < kept):
            # Chosen so that the share of visits with the condition stays what the dial says.
            onset = expected * (1 - kept) / max(1 - expected * kept, 1e-9) if visit else expected
            state = spell if comes < onset else State()
        before = age
    return state


def _visits(seed: int, number: int, name: str) -> Iterator[np.random.Generator]:
    visit = 0
    while True:
        yield stream(seed, "illness", number, name, visit)
        visit += 1


def _share_at(share: float, age_effect: float, years: float) -> float:
    if share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0
    odds = np.log(share / (1 - share)) + age_effect * (years - 56.0) / 10.0
    return float(1 / (1 + np.exp(-odds)))


def no_illness() -> IllnessDials:
    """Dials under which nobody is ill."""
    return IllnessDials(**{item.name: 0.0 for item in fields(IllnessDials)})
