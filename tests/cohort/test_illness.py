"""Disease comes and goes; what lasts, lasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.cohort.illness import CONDITIONS, IllnessDials, illness, no_illness

YEARS = [56.0, 56.5, 57.2, 58.0, 59.5]
EVERYBODY = range(600)


def shares(name: str, dials: IllnessDials) -> list[float]:
    """Share of persons with the condition, visit by visit."""
    return [
        float(np.mean([bool(illness(1, n, YEARS[: k + 1], dials)[name]) for n in EVERYBODY])) for k in range(len(YEARS))
    ]


@pytest.mark.parametrize("name", ["effusion", "nodule", "retinopathy"])
def test_the_dial_is_the_share_of_visits_with_the_condition(name: str) -> None:
    # Four standard errors of a share among 600 persons.
    for share in shares(name, replace(no_illness(), **{name: 0.2})):
        assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(EVERYBODY)) + 0.02


def test_what_lasts_is_still_there_at_the_next_visit_and_what_passes_is_not() -> None:
    dials = replace(no_illness(), pacemaker=0.3, pneumothorax=0.3)
    kept = {"pacemaker": 0, "pneumothorax": 0}
    had = dict(kept)
    for n in EVERYBODY:
        before, after = illness(1, n, YEARS[:1], dials), illness(1, n, YEARS[:2], dials)
        for name in kept:
            had[name] += bool(before[name])
            kept[name] += bool(before[name]) and before[name] == after[name]
    assert kept["pacemaker"] > 0.97 * had["pacemaker"]
    assert kept["pneumothorax"] < 0.25 * had["pneumothorax"]


def test_a_share_of_nothing_makes_nobody_ill_and_a_share_of_all_everybody() -> None:
    assert not any(illness(1, n, YEARS, no_illness())[name] for n in range(50) for name in CONDITIONS)
    ill = IllnessDials(**dict.fromkeys(CONDITIONS, 1.0))
    assert all(illness(1, n, YEARS, ill)[name] for n in range(50) for name in CONDITIONS)


def test_a_spell_looks_the_same_whatever_else_a_person_has() -> None:
    alone = replace(no_illness(), consolidation=1.0)
    assert (
        illness(1, 3, YEARS, alone)["consolidation"]
        == illness(1, 3, YEARS, replace(alone, nodule=1.0))["consolidation"]
    )


def test_grades_and_labels() -> None:
    ill = illness(1, 5, YEARS, replace(no_illness(), retinopathy=1.0, drusen=1.0))
    assert ill.labels(("retinopathy", "drusen", "cataract")) == {
        "retinopathy": str(int(np.ceil(4 * ill["retinopathy"].severity))),
        "drusen": "1",
        "cataract": "0",
    }
    with pytest.raises(KeyError):
        ill["gout"]
