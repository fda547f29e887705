"""A person: a draw of anatomy that no visit changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from config.errors import CommandError
from training.cohort.chance import stream
from training.cohort.eye.shape import EyesShape, draw_eyes
from training.cohort.head.shape import HeadShape, draw_head
from training.cohort.thorax.shape import ThoraxShape, draw_thorax

ISSUER = "PHANTOM"
_FIRST_DAY = date(2016, 1, 4)


@dataclass(frozen=True, slots=True)
class Person:
    """``birth_date`` is fixed by the seed; ``size`` is how large the person is for the sex, in standard deviations."""

    seed: int
    number: int
    sex: str
    birth_date: date
    size: float
    head: HeadShape
    thorax: ThoraxShape
    eyes: EyesShape

    @property
    def patient_id(self) -> str:
        """Persons of different seeds never share an identifier: two cohorts can be sent to one node."""
        return f"PH-{self.seed}-{self.number:05d}"

    @property
    def name(self) -> str:
        return f"PHANTOM^{self.number:04d}"

    def years(self, day: date) -> float:
        return (day - self.birth_date).days / 365.25


def first_day(seed: int) -> date:
    """The day on which a cohort of this seed begins."""
    return _FIRST_DAY + timedelta(days=int(stream(seed, "first day").integers(0, 1200)))


def person(seed: int, number: int) -> Person:
    """The person of this number in the cohort of ``seed`` (both 0 or more).

    Raises
    ------
    CommandError
        when either is negative.
    """
    if seed < 0 or number < 0:
        raise CommandError("seed and number of a phantom person are 0 or more")
    rng = stream(seed, "person", number)
    sex = "F" if rng.random() < 0.5 else "M"
    years = float(min(92.0, max(18.0, rng.normal(56.0, 18.0))))
    birth = first_day(seed) - timedelta(days=int(years * 365.25))
    size = float(rng.standard_normal())
    return Person(
        seed=seed,
        number=number,
        sex=sex,
        birth_date=birth,
        size=size,
        head=draw_head(stream(seed, "person", number, "head"), sex, years, size),
        thorax=draw_thorax(stream(seed, "person", number, "thorax"), sex, years, size),
        eyes=draw_eyes(stream(seed, "person", number, "eyes"), sex, years, size),
    )
