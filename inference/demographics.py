"""Sex, birth date, age and the order of dates as evidence: likelihood ratios in the manner of Fellegi and Sunter.

A field agrees at some *level*. Its weight is log10 m/u: how often that level is seen when both are one person (m: how
records err, which a site configures), and when they are two (u: how common the values are, counted in the gallery).
What is missing, or is what devices and registrars write for want of knowledge, weighs nothing. Levels of a field
exclude each other and their m and u sum to 1, so the mean LR over strangers is 1.

I. Fellegi, A. Sunter, "A Theory for Record Linkage", Journal of the American Statistical Association 64 (1969).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Self

from config.settings import DemographicSettings

_DAYS = 365.25
# Years of birth, where the gallery says nothing: even over this many.
_LIFE_YEARS = 95
_RAREST = 1e-4
# Imagined patients that are added to the gallery's, so that rare values are never impossible.
_IMAGINED = 20.0
# An age names its year, give or take one for birthdays; an estimate is right within five.
_AGE_EXACT, _AGE_NEAR = 1, 5


@dataclass(frozen=True, slots=True)
class Demographics:
    """What a study, or a patient's record, says of the person. Text as DICOM writes it; empty is unknown.

    ``birth_date``, ``study_date`` and ``death_date`` are DA (a birth date may end after year or month), ``age`` is AS
    (``045Y``), ``sex`` is CS (``M`` and ``F`` weigh).
    """

    sex: str = ""
    birth_date: str = ""
    age: str = ""
    study_date: str = ""
    death_date: str = ""


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How common values are among the patients of a gallery: counts by sex and by year of birth."""

    sexes: Mapping[str, int] = field(default_factory=dict)
    birth_years: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, patients: Iterable[tuple[str, str]]) -> Self:
        """Counts (sex, birth date) of patients; what is unknown is not counted."""
        sexes: dict[str, int] = {}
        years: dict[int, int] = {}
        for sex, birth_date in patients:
            if sex in ("M", "F"):
                sexes[sex] = sexes.get(sex, 0) + 1
            born = birth_of(birth_date)
            if born is not None:
                years[born.year] = years.get(born.year, 0) + 1
        return cls(sexes, years)

    def sex(self, sex: str) -> float:
        total = self.sexes.get("M", 0) + self.sexes.get("F", 0)
        return (self.sexes.get(sex, 0) + _IMAGINED / 2) / (total + _IMAGINED)

    def born_between(self, first: int, last: int) -> float:
        """Share of patients born in these years, both included. Nothing is impossible, only rare."""
        counted = sum(self.birth_years.get(year, 0) for year in range(first, last + 1))
        imagined = (last - first + 1) / _LIFE_YEARS
        share = (counted + _IMAGINED * imagined) / (sum(self.birth_years.values()) + _IMAGINED)
        return min(max(share, _RAREST), 1 - _RAREST)


class BirthDateLevel(Enum):
    """How two birth dates agree, the closest first."""

    EXACT = "exact"
    SWAPPED = "swapped"  # day for month
    YEAR_OFF = "year_off"  # same day and month, another year nearby
    PART_OFF = "part_off"  # same year; the month or the day differs
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Birth:
    """A birth date as far as it is known: 0 is an unknown month or day."""

    year: int
    month: int = 0
    day: int = 0


def birth_of(text: str) -> Birth | None:
    """The date in DICOM DA text, or in its beginning; None for what is no date."""
    digits = text.strip().replace(".", "").replace("-", "")
    if len(digits) not in (4, 6, 8) or not (digits.isascii() and digits.isdigit()):
        return None
    year, month, day = int(digits[:4]), int(digits[4:6] or 0), int(digits[6:8] or 0)
    try:
        date(year, month or 1, day or 1)
    except ValueError:
        return None
    return Birth(year, month, day if month else 0)


@dataclass(frozen=True, slots=True)
class DemographicWeights:
    """Weighs what a probe says against what a record says.

    ``settings`` hold the m-probabilities, ``frequencies`` the u-probabilities; ``placeholders`` are birth dates that
    mean nobody knows.
    """

    settings: DemographicSettings
    frequencies: Frequencies = field(default_factory=Frequencies)
    placeholders: frozenset[str] = frozenset()

    def log10_lr(self, probe: Demographics, record: Demographics) -> float:
        """log10 LR of all that both know; 0 when that is nothing. Never NaN, never infinite."""
        born = None if _stripped(record.birth_date) in self.placeholders else birth_of(record.birth_date)
        stated = None if _stripped(probe.birth_date) in self.placeholders else birth_of(probe.birth_date)
        ratio = self._sex(probe.sex, record.sex) + self._order(probe, record, born)
        if born is None:
            return ratio
        if stated is not None:
            # An age is computed from the birth date: it would count twice.
            return ratio + self._birth_date(stated, born)
        return ratio + self._age(probe, born)

    def _sex(self, probe: str, record: str) -> float:
        one, other = probe.strip().upper(), record.strip().upper()
        if not {one, other} <= {"M", "F"}:
            return 0.0
        m = 1 - self.settings.sex_error if one == other else self.settings.sex_error
        return math.log10(m / self.frequencies.sex(one))

    def _birth_date(self, probe: Birth, record: Birth) -> float:
        if not (probe.day and record.day):
            return self._birth_year(probe, record)
        level = birth_date_level(probe, record, self.settings.year_off)
        m, u = self.birth_date_levels(record)
        return math.log10(m[level] / u[level])

    def _birth_year(self, probe: Birth, record: Birth) -> float:
        """Where a day is unknown only years are compared."""
        u = self.frequencies.born_between(record.year, record.year)
        same = 1 - self.settings.birth_year_off - self.settings.birth_different
        return math.log10(same / u) if probe.year == record.year else math.log10((1 - same) / (1 - u))

    def birth_date_levels(self, record: Birth) -> tuple[dict[BirthDateLevel, float], dict[BirthDateLevel, float]]:
        """m and u of every level against this full birth date."""
        near, s = self.settings.year_off, self.settings
        year = self.frequencies.born_between(record.year, record.year)
        years = self.frequencies.born_between(record.year - near, record.year + near)
        swappable = record.day <= 12 and record.day != record.month
        m = {
            BirthDateLevel.SWAPPED: s.birth_swapped if swappable else 0.0,
            BirthDateLevel.YEAR_OFF: s.birth_year_off,
            BirthDateLevel.PART_OFF: s.birth_part_off,
            BirthDateLevel.DIFFERENT: s.birth_different,
        }
        u = {
            BirthDateLevel.EXACT: year / _DAYS,
            BirthDateLevel.SWAPPED: year / _DAYS if swappable else 0.0,
            BirthDateLevel.YEAR_OFF: max(years - year, _RAREST) / _DAYS,
            # Another day of the month, or another month on that day.
            BirthDateLevel.PART_OFF: year * (_DAYS / 12 - 1 + 11) / _DAYS,
        }
        m[BirthDateLevel.EXACT] = 1 - sum(m.values())
        u[BirthDateLevel.DIFFERENT] = 1 - sum(u.values())
        return m, u

    def _age(self, probe: Demographics, born: Birth) -> float:
        age, studied = _years(probe.age), _day(probe.study_date)
        if age is None or studied is None:
            return 0.0
        # Half a year stands for what the day would say.
        implied = (studied - date(born.year, born.month or 7, born.day or 1)).days / _DAYS
        off = abs(implied - (age + 0.5))
        centre = round(studied.year - age - 0.5)
        exact, near = (
            self.frequencies.born_between(centre - reach, centre + reach) for reach in (_AGE_EXACT, _AGE_NEAR)
        )
        near = max(near - exact, _RAREST)
        s = self.settings
        if off <= _AGE_EXACT + 0.5:
            return math.log10((1 - s.age_near - s.age_different) / exact)
        if off <= _AGE_NEAR + 0.5:
            return math.log10(s.age_near / near)
        return math.log10(s.age_different / max(1 - exact - near, _RAREST))

    def _order(self, probe: Demographics, record: Demographics, born: Birth | None) -> float:
        """A study lies between birth and death: one that does not speaks against, one that does says nothing."""
        studied, died = _day(probe.study_date), _day(record.death_date)
        if studied is None:
            return 0.0
        unborn = born is not None and (studied.year, studied.month, studied.day) < (
            born.year, born.month or 1, born.day or 1
        )  # fmt: skip
        if unborn or (died is not None and studied > died):
            return math.log10(self.settings.date_order_error / self.settings.date_order_strangers)
        return 0.0


def birth_date_level(probe: Birth, record: Birth, year_off: int) -> BirthDateLevel:
    """How two full dates agree. Symmetric."""
    if probe == record:
        return BirthDateLevel.EXACT
    if probe.year == record.year:
        if (probe.month, probe.day) == (record.day, record.month):
            return BirthDateLevel.SWAPPED
        if probe.month == record.month or probe.day == record.day:
            return BirthDateLevel.PART_OFF
    elif (probe.month, probe.day) == (record.month, record.day) and abs(probe.year - record.year) <= year_off:
        return BirthDateLevel.YEAR_OFF
    return BirthDateLevel.DIFFERENT


def _stripped(text: str) -> str:
    return text.strip().replace(".", "")


def _day(text: str) -> date | None:
    found = birth_of(text)
    return date(found.year, found.month, found.day) if found is not None and found.day else None


def _years(age: str) -> float | None:
    """AS: three digits and D, W, M or Y."""
    text = age.strip().upper()
    if len(text) != 4 or not (text[:3].isascii() and text[:3].isdigit()) or text[3] not in "DWMY":
        return None
    # 000Y is what devices write when nobody told them.
    return None if text == "000Y" else int(text[:3]) / {"D": _DAYS, "W": _DAYS / 7, "M": 12, "Y": 1}[text[3]]
