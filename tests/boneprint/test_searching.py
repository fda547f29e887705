"""Searches against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import EvaluationError
from training.boneprint.searching import Searches, both_directions, chance, figures, search


def vectors(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bank = rng.standard_normal((count, 5)).astype(np.float32)
    return (bank + 0.8 * rng.standard_normal(bank.shape)).astype(np.float32), bank


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_ranks_are_those_of_counting(seed: int) -> None:
    queries, bank = vectors(seed)
    found = search(queries, bank)
    for number, query in enumerate(queries):
        cosines = [float(np.dot(query, one) / np.linalg.norm(query) / np.linalg.norm(one)) for one in bank]
        assert found.ranks[number] == sum(one >= cosines[number] - 1e-12 for one in cosines)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_distractors_can_only_push_mates_down(seed: int) -> None:
    queries, bank = vectors(seed)
    others = np.random.default_rng(seed + 1).standard_normal((30, 5)).astype(np.float32)
    alone, among = search(queries, bank), search(queries, bank, others)
    assert (among.ranks >= alone.ranks).all()
    assert among.bank == 42


def test_a_bank_and_its_queries_change_places() -> None:
    queries, bank = vectors(3)
    found = both_directions({"radiograph": bank, "rendering": queries})
    assert (found["rendering"].ranks == search(queries, bank).ranks).all()
    assert (found["radiograph"].ranks == search(bank, queries).ranks).all()
    means = figures({"radiograph": bank, "rendering": queries})
    assert means["rank-1"] == pytest.approx(np.mean([(one.ranks == 1).mean() for one in found.values()]))


def test_prr_counts_in_percent_of_the_bank() -> None:
    # As in the published table: 37.04 % of 27 are ten, 55.56 % of 27 are fifteen.
    found = Searches(np.arange(1, 28), 27)
    assert found.within(37.04).sum() == 10
    assert found.within(55.56).sum() == 15
    assert Searches(np.array([1, 2]), 20).within(5).tolist() == [1, 0]
    assert found.hits(10).sum() == 10
    assert chance(50, 263) == pytest.approx(0.1901, abs=1e-4)
    assert chance(50, 27) == 1


def test_whatever_says_the_same_of_all_finds_nobody_first() -> None:
    same = np.ones((9, 4), np.float32)
    assert (search(same, same).ranks == 9).all()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_embedding_that_says_nothing_is_no_embedding(bad: float) -> None:
    queries, bank = vectors(1)
    queries[2] = bad
    with pytest.raises(EvaluationError) as caught:
        search(queries, bank)
    assert caught.value.reason == "NOT_FINITE"
