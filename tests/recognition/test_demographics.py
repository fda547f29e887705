"""Sex, dates and ages as evidence: right on average over strangers, neutral where nothing is known."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import load_settings
from inference.demographics import Birth, Demographics, DemographicWeights, Frequencies, birth_date_level, birth_of

SETTINGS = load_settings(environment={}).policy.demographics
PLACEHOLDERS = frozenset({"19000101", "19010101"})
DATES = st.dates(date(1925, 1, 1), date(2020, 12, 31)).map(lambda day: day.strftime("%Y%m%d"))
TEXTS = st.one_of(st.just(""), DATES, st.text(max_size=9), st.sampled_from(["1950", "195003", "19010101", "0", "045Y"]))


def gallery(seed: int = 1, count: int = 5000) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    born = [date(1930, 1, 1) + timedelta(days=int(day)) for day in rng.integers(0, 70 * 365, count)]
    return [("F" if rng.random() < 0.7 else "M", day.strftime("%Y%m%d")) for day in born]


WEIGHTS = DemographicWeights(SETTINGS, Frequencies.of(gallery()), PLACEHOLDERS)


def of(sex: str = "", birth_date: str = "", age: str = "", study: str = "", death: str = "") -> Demographics:
    return Demographics(sex, birth_date, age, study, death)


@settings(max_examples=300, deadline=None)
@given(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS))
def test_hostile_text_gives_a_finite_weight(probe: tuple[str, ...], record: tuple[str, ...]) -> None:
    found = WEIGHTS.log10_lr(of(*probe), of(record[0], record[1], death=record[2]))
    assert math.isfinite(found)
    assert abs(found) < 12


@pytest.mark.parametrize(
    "probe",
    [of(), of(sex="O"), of(birth_date="19010101"), of(birth_date="19000101"), of(birth_date="UNKNOWN"), of(age="000Y")],
)
def test_what_is_missing_or_a_placeholder_weighs_nothing(probe: Demographics) -> None:
    assert WEIGHTS.log10_lr(probe, of("F", "19500412")) == 0.0
    assert WEIGHTS.log10_lr(of("F", "19500412", "045Y", "20200101"), of()) == 0.0
    assert WEIGHTS.log10_lr(of("", "19500412"), of("", "19010101")) == 0.0


def test_strangers_average_one() -> None:
    """E[LR | two people] = 1: the u-probabilities are those of the gallery."""
    people = gallery(2, 400)
    ratios = [
        10 ** WEIGHTS.log10_lr(of(*probe), of(*record))
        for number, probe in enumerate(people)
        for record in people[number + 1 :]
    ]
    # An exact birth date is one stranger in some 25,000, so its share is known to a tenth or so.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.5)
    sexes = [10 ** WEIGHTS.log10_lr(of(p[0]), of(r[0])) for n, p in enumerate(people) for r in people[n + 1 :]]
    assert np.mean(sexes) == pytest.approx(1.0, abs=0.05)


@given(record=DATES)
def test_levels_are_probabilities(record: str) -> None:
    born = birth_of(record)
    assert born is not None
    m, u = WEIGHTS.birth_date_levels(born)
    assert sum(m.values()) == pytest.approx(1.0)
    assert sum(u.values()) == pytest.approx(1.0)
    assert all(0 <= value <= 1 for value in (*m.values(), *u.values()))


@given(one=DATES, other=DATES)
def test_levels_are_symmetric_and_exact_is_best(one: str, other: str) -> None:
    first, second = birth_of(one), birth_of(other)
    assert first is not None
    assert second is not None
    assert birth_date_level(first, second, 10) is birth_date_level(second, first, 10)
    exact = WEIGHTS.log10_lr(of("", one), of("", one))
    assert exact > 3
    assert WEIGHTS.log10_lr(of("", other), of("", one)) <= exact + 1e-9


def test_closer_dates_weigh_more() -> None:
    def weight(probe: str) -> float:
        return WEIGHTS.log10_lr(of("", probe), of("", "19500412"))

    exact, swapped, part, year, other = map(weight, ("19500412", "19501204", "19500413", "19510412", "19880930"))
    assert exact > max(swapped, part, year)
    assert min(swapped, part, year) > 0 > other
    assert 0 < weight("1950") < exact, "a year alone says less"
    assert weight("1988") < 0


def test_common_values_weigh_less() -> None:
    assert WEIGHTS.log10_lr(of("F"), of("F")) < WEIGHTS.log10_lr(of("M"), of("M"))
    assert WEIGHTS.log10_lr(of("F"), of("M")) < -1
    crowded = Frequencies(birth_years={1950: 5000, 1960: 10})
    weights = DemographicWeights(SETTINGS, crowded)
    assert weights.log10_lr(of("", "19500412"), of("", "19500412")) < weights.log10_lr(
        of("", "19600412"), of("", "19600412")
    )


@pytest.mark.parametrize(("age", "sign"), [("069Y", 1), ("070Y", 1), ("030Y", -1), ("12", 0), ("000Y", 0)])
def test_an_age_is_held_against_the_birth_date(age: str, sign: int) -> None:
    found = WEIGHTS.log10_lr(of(age=age, study="20200101"), of("", "19500412"))
    assert np.sign(found) == sign
    stated = of("", "19500412", age, "20200101")
    assert WEIGHTS.log10_lr(stated, of("", "19500412")) == WEIGHTS.log10_lr(
        of("", "19500412", study="20200101"), of("", "19500412")
    ), "an age beside a birth date says nothing new"


def test_studies_lie_between_birth_and_death() -> None:
    assert WEIGHTS.log10_lr(of(study="19400101"), of("", "19500412")) < -1
    assert WEIGHTS.log10_lr(of(study="20200101"), of("", "19500412", death="20190101")) < -1
    assert WEIGHTS.log10_lr(of(study="20200101"), of("", "19500412", death="20200101")) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19500412", Birth(1950, 4, 12)),
        ("1950.04.12", Birth(1950, 4, 12)),
        ("195004", Birth(1950, 4)),
        ("1950", Birth(1950)),
        ("19500000", Birth(1950)),
        ("19500431", None),
        ("0000", None),
        ("²950", None),
        ("", None),
    ],
)
def test_dates_are_read_as_far_as_they_go(text: str, expected: Birth | None) -> None:
    assert birth_of(text) == expected
