"""Visits are draws of everything that is not the person."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.cohort.illness import CONDITIONS
from training.cohort.person import person
from training.cohort.visit import Dials, visit


@given(st.integers(0, 10**6), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_visits_are_in_order_of_time_after_birth(seed: int, number: int) -> None:
    who = person(seed, number)
    moments = [visit(who, n).moment for n in range(4)]
    assert moments == sorted(moments)
    assert len({moment.date() for moment in moments}) == 4
    assert 18 <= who.years(moments[0].date()) < 95


def test_a_visit_does_not_depend_on_the_others() -> None:
    who = person(3, 4)
    alone, among = visit(who, 2), [visit(who, n) for n in range(3)][2]
    assert (alone.moment, alone.devices, alone.head_ct) == (among.moment, among.devices, among.head_ct)
    assert alone.illness.labels(CONDITIONS) == among.illness.labels(CONDITIONS)
    assert visit(who, 0).head_ct != visit(who, 1).head_ct


def test_turning_one_dial_leaves_the_other_modality_alone(still: Dials) -> None:
    who = person(3, 4)
    changed = Dials(head_ct=still.head_ct)
    assert visit(who, 1, changed).chest_film == visit(who, 1).chest_film
    assert visit(who, 1, changed).head_ct.tilt == (0.0, 0.0, 0.0)


def test_sites_are_drawn_independently_of_persons() -> None:
    sites = {visit(person(3, 4), n).site for n in range(30)}
    assert len(sites) == 3


def test_machines_are_drawn_independently_of_persons_unless_coupled() -> None:
    def machines(dials: Dials) -> list[set[str]]:
        return [{visit(person(3, number), n, dials).devices["CT"] for n in range(12)} for number in range(20)]

    assert all(len(met) > 3 for met in machines(Dials()))
    coupled = machines(Dials(coupled=True))
    assert all(len(met) == 1 for met in coupled)
    assert len(set.union(*coupled)) == 6


def test_visits_to_one_machine_share_its_habits() -> None:
    by_machine: dict[str, list[float]] = {}
    for number in range(150):
        one = visit(person(5, number), 0)
        by_machine.setdefault(one.devices["CT"], []).append(one.head_ct.field_of_view)
    within = np.mean([np.var(values) for values in by_machine.values()])
    between = np.var([np.mean(values) for values in by_machine.values()])
    assert within < 0.5 * between
