"""Visits are draws of everything that is not the person."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert visit(who, 2) == [visit(who, n) for n in range(3)][2]
    assert visit(who, 0).head_ct != visit(who, 1).head_ct


def test_turning_one_dial_leaves_the_other_modality_alone(still: Dials) -> None:
    who = person(3, 4)
    changed = Dials(head_ct=still.head_ct)
    assert visit(who, 1, changed).chest_film == visit(who, 1).chest_film
    assert visit(who, 1, changed).head_ct.tilt == (0.0, 0.0, 0.0)


def test_sites_are_drawn_independently_of_persons() -> None:
    sites = {visit(person(3, 4), n).site for n in range(30)}
    assert len(sites) == 3
