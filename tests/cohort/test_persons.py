"""Persons are draws of anatomy: within bounds, repeatable, disjoint between seeds, and shaped by sex, age and size."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CommandError
from training.cohort.chance import norm_of, stream, uid
from training.cohort.head.shape import HeadShape, draw_head
from training.cohort.person import Person, person
from training.cohort.thorax.shape import RIBS, ThoraxShape, draw_thorax

SEEDS = st.integers(0, 2**40)


@given(SEEDS, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_measure_of_every_person_is_within_anatomical_bounds(seed: int, number: int) -> None:
    who = person(seed, number)
    for shape in (who.head, who.thorax):
        for item in fields(shape):
            norm = norm_of(item)
            if norm is not None:
                assert norm.low <= getattr(shape, item.name) <= norm.high, item.name
    assert who.sex in ("F", "M")
    assert len(who.thorax.ribs) == RIBS
    assert len(who.patient_id) <= 64


@given(SEEDS, st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_person_is_the_same_whenever_asked_for(seed: int, number: int) -> None:
    assert person(seed, number) == person(seed, number)


def test_identity_has_enough_parameters() -> None:
    head = sum(norm_of(item) is not None for item in fields(HeadShape))
    thorax = sum(norm_of(item) is not None for item in fields(ThoraxShape))
    assert head >= 40
    assert thorax >= 40


def test_persons_differ_within_a_cohort_and_between_seeds() -> None:
    cohort = {seed: [person(seed, n) for n in range(1, 40)] for seed in (1, 2, 12)}
    everyone: list[Person] = [one for group in cohort.values() for one in group]
    assert len({one.patient_id for one in everyone}) == len(everyone)
    assert len({one.head.vault_length for one in everyone}) == len(everyone)
    assert len({one.thorax.vessels for one in everyone}) == len(everyone)


def test_shapes_follow_sex_age_and_size() -> None:
    def mean(measure: str, sex: str, years: float, size: float) -> float:
        rng = stream("test", measure)
        draw = draw_head if measure in HeadShape.__slots__ else draw_thorax
        return float(np.mean([getattr(draw(rng, sex, years, size), measure) for _ in range(150)]))

    assert mean("jaw_width", "M", 45, 0) > mean("jaw_width", "F", 45, 0) + 4
    assert mean("vault_length", "F", 45, 2) > mean("vault_length", "F", 45, -2) + 8
    assert mean("ventricles", "F", 85, 0) > mean("ventricles", "F", 25, 0) + 0.3
    assert mean("cage_width", "M", 45, 0) > mean("cage_width", "F", 45, 0) + 15


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(CommandError):
        person(-1, 0)
    with pytest.raises(CommandError):
        person(0, -1)


@given(st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4))
def test_uids_are_legal_and_belong_to_their_path(path: list[int | str]) -> None:
    value = uid(*path)
    assert value == uid(*path)
    assert value.startswith("2.25.")
    assert len(value) <= 64
    assert not value[5:].startswith("0")
    assert value != uid(*path, "more")


def test_paths_that_read_alike_are_apart() -> None:
    assert uid("ab", "c") != uid("a", "bc")
    assert uid(1) != uid("1")
