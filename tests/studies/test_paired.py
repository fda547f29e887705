"""Figures of several methods on the same searches: those of the evaluation, and their differences."""

from __future__ import annotations

import numpy as np
import pytest

from config.errors import EvaluationError
from tests.evaluation.people import people
from tests.learning.tiny import quiet
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import Figure
from training.evaluation.options import Options
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.manifests.schema import Role, Row
from training.studies.paired import FPIR, judge, side_by_side, unit
from training.studies.plots import comparison

OPTIONS = Options(fpirs=(FPIR,), strata=(), draws=1, rounds=200)


@pytest.fixture
def table() -> Table:
    return Table.from_rows(people(np.random.default_rng(1), 80))


def embeddings(table: Table, gain: float, seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    faces = rng.normal(size=(len(table.patients), 12))
    return unit(gain * faces[table.patient] + rng.normal(size=(len(table), 12)))


def test_figures_are_those_of_the_evaluation(table: Table) -> None:
    vectors = embeddings(table, 1.0)
    ours = judge(table, {"one": vectors}, "one", OPTIONS, quiet).methods["one"].measures
    theirs = evaluate(table, EmbeddingScores(vectors), OPTIONS).measures
    assert ours.closed_set == theirs.closed_set
    assert ours.open_set == theirs.open_set


def test_a_better_method_lies_above_and_the_same_one_nowhere(table: Table) -> None:
    methods = {"base": embeddings(table, 0.5), "same": embeddings(table, 0.5), "better": embeddings(table, 2.0)}
    found = judge(table, methods, "base", OPTIONS, quiet).methods
    same, better = found["same"].difference, found["better"].difference
    assert [(one.value, one.low, one.high) for one in same.values()] == [(0.0, 0.0, 0.0)] * 3
    assert better["rank-1"].low is not None and better["rank-1"].low > 0
    assert better["FNIR"].high is not None and better["FNIR"].high < 0
    own = found["better"].headline()["rank-1"].value, found["base"].headline()["rank-1"].value
    assert better["rank-1"].value == pytest.approx((own[0] or 0) - (own[1] or 0))


def test_the_difference_of_two_is_surer_than_the_two(table: Table) -> None:
    """The same patients are drawn for both: what they have in common goes."""
    vectors = embeddings(table, 1.0)
    nearly = unit(vectors + 0.02 * np.random.default_rng(3).normal(size=vectors.shape))
    found = judge(table, {"one": vectors, "other": nearly}, "one", OPTIONS, quiet).methods["other"]

    def width(figure: Figure) -> float:
        assert figure.low is not None and figure.high is not None
        return figure.high - figure.low

    assert width(found.difference["mAP"]) < 0.5 * width(found.headline()["mAP"])


def test_who_enrols_nothing_finds_nobody(table: Table) -> None:
    methods = {"one": embeddings(table, 2.0), "none": np.zeros((len(table), 3), np.float32)}
    none = judge(table, methods, "one", OPTIONS, quiet).methods["none"]
    assert none.failed == len(table)
    assert none.headline()["rank-1"].value == 0.0
    assert none.headline()["FNIR"].value == 1.0


def test_nobody_to_be_found_is_an_error_by_name() -> None:
    alone = Table.from_rows([Row(f"{n}", f"p{n}", "s") for n in range(5)])
    with pytest.raises(EvaluationError) as refused:
        judge(alone, {"one": unit(np.ones((5, 2)))}, "one", OPTIONS, quiet)
    assert refused.value.reason == "NO_MATES"
    enrolled = Table.from_rows([Row(f"{n}", "p", f"s{n}", role=Role.GALLERY) for n in range(5)])
    with pytest.raises(EvaluationError) as refused:
        judge(enrolled, {"one": unit(np.ones((5, 2)))}, "one", OPTIONS, quiet)
    assert refused.value.reason == "NO_PROBES"


def test_each_image_is_the_first_specialists_that_takes_it() -> None:
    first, second = np.array([[1, 0], [0, 0], [0, 0]], np.float32), np.array([[1], [1], [0]], np.float32)
    assert side_by_side({"a": first, "b": second}).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_plot_of_the_same_figures_is_the_same_bytes() -> None:
    groups = {"all": {"one": {"rank-1": Figure(0.5, 0.4, 0.6)}, "two": {"rank-1": Figure(None, note="too few")}}}
    assert comparison(groups, ["rank-1"], {"all": 0.1}) == comparison(groups, ["rank-1"], {"all": 0.1})
    known = {"all": {"one": groups["all"]["one"], "two": {"rank-1": Figure(0.2)}}}
    assert comparison(known, ["rank-1"], {"all": 0.1}) != comparison(groups, ["rank-1"], {"all": 0.1})
    assert comparison(groups, ["rank-1"], {}) != comparison(groups, ["rank-1"], {"all": 0.1})
