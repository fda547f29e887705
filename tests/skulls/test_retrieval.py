"""Recall@k, mAP@k, MRR@k: the definitions by hand, and the closed forms of chance against draws and all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import EvaluationError
from training.skulls import retrieval
from training.skulls.retrieval import Faces, Search, measured, searches_of

FIGURES = {
    "recall": (retrieval.recall_at, retrieval.chance_recall),
    "mAP": (retrieval.average_precision_at, retrieval.chance_average_precision),
    "MRR": (retrieval.reciprocal_rank_at, retrieval.chance_reciprocal_rank),
}


def faces(persons: list[int], visits: list[int], vectors: np.ndarray) -> Faces:
    return Faces(np.array(persons, np.int64), np.array(visits, np.int64), np.asarray(vectors, np.float32))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("n", "m", "k"), [(5, 1, 3), (6, 2, 1), (6, 2, 4), (6, 3, 6), (4, 4, 2), (5, 2, 9)])
def test_chance_is_the_mean_over_all_orders(name: str, n: int, m: int, k: int) -> None:
    figure, chance = FIGURES[name]
    orders = itertools.combinations(range(1, n + 1), m)
    mean = np.mean([figure(np.array(ranks), k) for ranks in orders])
    assert chance(n, m, k) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("name", FIGURES)
def test_chance_is_what_random_scores_get(name: str) -> None:
    rng = np.random.default_rng(1)
    figure, chance = FIGURES[name]
    n, m, k = 40, 3, 10
    ranks = np.sort(rng.permuted(np.tile(np.arange(1, n + 1), (20_000, 1)), axis=1)[:, :m], axis=1)
    values = [figure(row, k) for row in ranks]
    assert np.mean(values) == pytest.approx(chance(n, m, k), abs=5 * np.std(values) / np.sqrt(len(values)))


def test_the_published_headline_is_chance() -> None:
    """Recall@30 among 40 faces: three of four, without looking."""
    assert retrieval.chance_recall(40, 1, 30) == 0.75
    assert retrieval.chance_recall(485, 1, 30) == pytest.approx(0.0619, abs=1e-4)


def test_figures_by_hand() -> None:
    ranks = np.array([2, 3, 7])
    assert retrieval.recall_at(ranks, 3) == pytest.approx(2 / 3)
    assert retrieval.average_precision_at(ranks, 3) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert retrieval.average_precision_at(ranks, 2) == pytest.approx((1 / 2) / 2)
    assert retrieval.reciprocal_rank_at(ranks, 2) == 0.5
    assert retrieval.reciprocal_rank_at(ranks, 1) == 0.0


def test_a_face_of_the_skulls_own_visit_is_no_mate_and_no_other() -> None:
    vectors = np.array([[1.0, 0], [0.9, 0.1], [0.8, 0.2]])
    (found,) = searches_of(faces([1], [0], vectors[:1]), faces([1, 2, 1], [0, 0, 1], vectors))
    assert (found.searched, found.ranks.tolist()) == (2, [2])


def test_who_scores_like_a_mate_stands_before_it_and_mates_do_not_push_each_other_down_twice() -> None:
    same = np.ones((4, 2))
    (found,) = searches_of(faces([1], [0], same[:1]), faces([1, 1, 2, 3], [1, 2, 0, 0], same))
    assert found.ranks.tolist() == [3, 4]


def test_a_skull_without_another_visit_is_no_search() -> None:
    one = np.ones((1, 2))
    assert searches_of(faces([1], [0], one), faces([1], [0], one)) == []
    with pytest.raises(EvaluationError) as caught:
        measured([], (1,))
    assert caught.value.reason == "NO_MATES"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(-2, 2)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(-2, 2)), min_size=1, max_size=20),
)
def test_ranks_are_those_of_a_sorted_list(
    skulls: list[tuple[int, int, int]], gallery: list[tuple[int, int, int]]
) -> None:
    def of(rows: list[tuple[int, int, int]], factor: float) -> Faces:
        return faces([r[0] for r in rows], [r[1] for r in rows], np.array([[r[2] * factor] for r in rows]))

    found = iter(searches_of(of(skulls, 1.0), of(gallery, 1.0)))
    for person, visit, value in skulls:
        left = [(p, s) for p, v, s in gallery if (p, v) != (person, visit)]
        order = sorted(left, key=lambda one: (-one[1] * value, one[0] == person))
        ranks = [place for place, (p, _) in enumerate(order, start=1) if p == person]
        if ranks:
            one = next(found)
            assert (one.ranks.tolist(), one.searched) == (ranks, len(left))
    assert next(found, None) is None


def test_intervals_are_over_persons_and_hold_the_figure() -> None:
    rng = np.random.default_rng(2)
    searches = [
        Search(person, 20, np.array([int(rng.integers(1, 21))])) for person in range(30) for _ in range(3)
    ]  # fmt: skip
    found = measured(searches, (1, 10), rounds=200)
    assert (found.searches, found.persons, found.gallery) == (90, 30, 20.0)
    assert found.chance["recall@10"] == 0.5
    for figure in found.figures.values():
        assert figure.value is not None
        assert figure.low is not None and figure.high is not None
        assert figure.low <= figure.value <= figure.high
    alone = measured([Search(0, 20, np.array([3]))] * 5, (1, 10), rounds=50).figures["MRR@10"]
    assert (alone.low, alone.high) == (None, None)
