"""Test sets that cannot say much: each has a defined figure, or an error that names the trouble."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from config.errors import EvaluationError
from tests.evaluation.people import people, scores
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.normalisation import Cohort
from training.evaluation.options import Options
from training.evaluation.sources import EmbeddingScores, MatrixScores, PairScores
from training.evaluation.table import Table
from training.manifests.schema import Role, Row

OPTIONS = Options(rounds=50, fmrs=(0.1,), fpirs=(0.1,), gallery_sizes=(2, 5))


def rows_of(patients: int, studies: int, role: Role = Role.BOTH) -> list[Row]:
    return [
        Row(path=f"{p}/{s}", patient_id=f"P{p}", study=f"S{s}", role=role, days=100 * s, device="one", sex="F")
        for p in range(patients)
        for s in range(studies)
    ]


def run(rows: list[Row], matrix: np.ndarray | None = None, options: Options = OPTIONS) -> Evaluation:
    table = Table.from_rows(rows)
    if matrix is None:
        matrix = scores(np.random.default_rng(0), rows, ties=False)
    found = evaluate(table, MatrixScores(matrix), options)
    json.dumps(found.to_json(), allow_nan=False)
    return found


def test_an_empty_table() -> None:
    with pytest.raises(EvaluationError, match="no images") as caught:
        Table.from_rows([])
    assert caught.value.reason == "EMPTY_TABLE"


@pytest.mark.parametrize(
    ("role", "reason"), [(Role.PROBE, "NO_GALLERY"), (Role.GALLERY, "NO_PROBES"), (Role.DISTRACTOR, "NO_PROBES")]
)
def test_one_role_only(role: Role, reason: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        run(rows_of(3, 2, role))
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mated", [True, False])
def test_not_finite_scores_are_counted(value: float, mated: bool) -> None:
    rows = rows_of(4, 2)
    matrix = scores(np.random.default_rng(0), rows, ties=False)
    for row, column in ((0, 1), (1, 0)) if mated else ((0, 4), (0, 5)):
        matrix[row, column] = value
    with pytest.raises(EvaluationError, match=r"^2 of \d+ scores") as caught:
        run(rows, matrix)
    assert caught.value.reason == "NOT_FINITE"


def test_not_finite_scores_of_pairs_that_are_never_compared_do_not_matter() -> None:
    rows = rows_of(4, 2)
    matrix = scores(np.random.default_rng(0), rows, ties=False)
    expected = run(rows, matrix).to_json()
    np.fill_diagonal(matrix, np.nan)
    assert run(rows, matrix).to_json() == expected


def test_not_finite_embeddings_are_counted() -> None:
    vectors = np.zeros((5, 3), np.float32)
    vectors[[1, 3], 0] = np.nan, np.inf
    with pytest.raises(EvaluationError, match="2 of 5 embeddings") as caught:
        EmbeddingScores(vectors)
    assert caught.value.reason == "NOT_FINITE"


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_embeddings_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError) as caught:
        EmbeddingScores(np.zeros(shape))
    assert caught.value.reason == "SHAPE"


def test_all_scores_the_same() -> None:
    found = run(rows_of(6, 2), np.full((12, 12), 0.25)).measures
    assert found.closed_set.rank["1"].value == 0.0, "ties count against the mate"
    assert found.closed_set.rank["5"].value == 0.0 and found.closed_set.rank["10"].value == 1.0
    assert found.closed_set.mrr.value == pytest.approx(1 / 6)
    assert found.verification.auc.value == pytest.approx(0.5)
    assert found.verification.eer.value == pytest.approx(0.5)
    assert found.verification.fnmr["0.1"].value == 1.0
    point = found.open_set.points[0]
    assert (point.observed.value, point.fnir["1"].value, point.selectivity.value) == (0.0, 1.0, 0.0)


def test_equal_embeddings_tie_whatever_block_they_are_in() -> None:
    vector = np.random.default_rng(3).normal(size=48)
    vectors = np.tile(vector / np.linalg.norm(vector), (90, 1)).astype(np.float32)
    table = Table.from_rows(rows_of(30, 3))
    found = evaluate(table, EmbeddingScores(vectors), replace(OPTIONS, rounds=0, block_scores=700)).measures
    assert found.closed_set.rank["20"].value == 0.0
    assert found.verification.auc.value == pytest.approx(0.5)


def test_all_cross_fitted_on_equal_scores_is_no_evidence() -> None:
    likelihood = run(rows_of(40, 2), np.full((80, 80), 0.25)).measures.likelihood
    assert likelihood is not None
    assert likelihood.cllr.value == pytest.approx(1.0) and likelihood.min_cllr.value == pytest.approx(1.0)
    assert likelihood.calibration_loss.value == pytest.approx(0.0, abs=1e-9)


def test_a_gallery_without_mates() -> None:
    rows = [*rows_of(4, 1, Role.PROBE), *(replace(row, patient_id="Q" + row.patient_id) for row in rows_of(5, 1))]
    rows = [replace(row, role=Role.GALLERY) if row.patient_id.startswith("Q") else row for row in rows]
    found = run(rows)
    closed, points = found.measures.closed_set, found.measures.open_set
    assert found.sizes.mated_searches == 0 and found.sizes.nonmated_searches == 4
    assert closed.rank["1"].value is None and closed.rank["1"].note == "no probe has a mate in the gallery"
    assert closed.map.value is None and found.measures.verification.eer.value is None
    assert points.points[0].threshold is None and "10 non-mated searches are needed" in points.points[0].fnir["1"].note
    assert (found.candidates.mate_images == -1).all()


def test_fpir_is_defined_without_mates() -> None:
    rows = [replace(row, role=Role.PROBE) for row in rows_of(20, 1)]
    rows += [replace(row, patient_id="Q" + row.patient_id, role=Role.GALLERY) for row in rows_of(20, 1)]
    point = run(rows).measures.open_set.points[0]
    assert point.observed.value == pytest.approx(0.1)
    assert point.fnir["1"].value is None


def test_patients_of_one_image_each() -> None:
    found = run(rows_of(12, 1))
    assert found.sizes.mated_searches == 0
    assert found.measures.open_set.points[0].observed.value == pytest.approx(1 / 12)


def test_images_of_one_study_are_no_mates() -> None:
    rows = [replace(row, study="S", instance=str(i)) for i, row in enumerate(rows_of(6, 3))]
    assert run(rows).sizes.mated_searches == 0


def test_one_patient() -> None:
    found = run(rows_of(1, 3))
    closed, compared = found.measures.closed_set, found.measures.verification
    assert closed.rank["1"].value == 1.0 and closed.gallery == 1, "alone in the gallery, first of one"
    assert compared.eer.value is None and compared.eer.note == "there are no non-mated comparisons"
    assert closed.rank["1"].low == 0.0, "the rule of three says nothing with one patient"
    assert found.sizes.nonmated_searches == 0


def test_one_image() -> None:
    found = run(rows_of(1, 1))
    assert found.sizes.mated_searches == found.sizes.nonmated_searches == 0
    assert found.measures.closed_set.rank["1"].value is None


def test_fewer_candidates_than_asked_for() -> None:
    found = run(rows_of(4, 2), options=replace(OPTIONS, candidates=30))
    lists = found.candidates
    assert lists.patients.shape == (8, 30)
    assert (np.count_nonzero(lists.patients >= 0, axis=1) == 4).all()
    assert (lists.scores[:, 4:] == -np.inf).all()
    assert found.measures.closed_set.rank["50"].value == 1.0


def test_errors_that_never_happened_are_bounded_by_the_rule_of_three() -> None:
    rows = rows_of(30, 2)
    matrix = np.array([[float(p.patient_id == g.patient_id) for g in rows] for p in rows])
    found = run(rows, matrix).measures
    miss, hit = found.verification.fnmr["0.1"], found.closed_set.rank["1"]
    assert (miss.value, miss.low, miss.high) == (0.0, 0.0, pytest.approx(0.1))
    assert (hit.value, hit.low, hit.high) == (1.0, pytest.approx(0.9), 1.0)
    assert "rule of three" in miss.note and miss.patients == 30


def test_the_rule_of_three_counts_people_who_could_have_erred() -> None:
    rows = [*rows_of(15, 2), *(replace(row, patient_id="Q" + row.patient_id) for row in rows_of(40, 1))]
    matrix = np.array([[float(p.patient_id == g.patient_id) for g in rows] for p in rows])
    hit = run(rows, matrix).measures.closed_set.rank["1"]
    assert hit.patients == 15 and hit.low == pytest.approx(1 - 3 / 15)


def test_rates_that_too_few_impostors_support() -> None:
    found = run(rows_of(5, 2), options=replace(OPTIONS, fmrs=(0.1, 1e-3))).measures.verification
    assert found.fnmr["0.1"].value is not None
    unsupported = found.fnmr["0.001"]
    assert unsupported.value is None and unsupported.low is None
    assert unsupported.note == "not supported: 1000 non-mated comparisons are needed, there are 40"


def test_too_few_people_for_likelihood_ratios_is_noted() -> None:
    found = run(rows_of(3, 2))
    assert found.measures.likelihood is None
    assert any("likelihood ratios" in note for note in found.notes)


def test_a_calibration_that_answers_nan() -> None:
    class Broken:
        def log10_lr(self, values: object, modality: str = "", view: str = "") -> np.ndarray:
            return np.full(np.shape(values), np.nan)

    rows = rows_of(3, 2)
    source = MatrixScores(scores(np.random.default_rng(0), rows, ties=False))
    with pytest.raises(EvaluationError) as caught:
        evaluate(Table.from_rows(rows), source, OPTIONS, lrs=Broken())
    assert caught.value.reason == "NOT_FINITE"


@pytest.mark.parametrize(
    "wrong",
    [
        {"fmrs": (0.0,)},
        {"fpirs": (1.0,)},
        {"ranks": (0,)},
        {"percentiles": (0.0,)},
        {"rounds": -1},
        {"candidates": 0},
        {"strata": ("shoe size",)},
        {"normalisations": ("q",)},
        {"gallery_sizes": (0,)},
        {"interval_days": (-1,)},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(EvaluationError) as caught:
        Options(**wrong)  # type: ignore[arg-type]
    assert caught.value.reason == "OPTION"


def test_every_image_failed() -> None:
    rows = rows_of(3, 2)
    with pytest.raises(EvaluationError) as caught:
        evaluate(Table.from_rows(rows), MatrixScores(np.zeros((6, 6))), OPTIONS, failures=np.ones(6, bool))
    assert caught.value.reason == "NO_PROBES"


def test_a_cohort_of_people_who_are_evaluated() -> None:
    rows = rows_of(3, 2)
    vectors = np.eye(6, dtype=np.float32)
    cohort = Cohort.of_embeddings([("", "P1"), ("", "X")], np.eye(6, dtype=np.float32)[:2], vectors)
    with pytest.raises(EvaluationError, match="1 patients of the cohort") as caught:
        evaluate(Table.from_rows(rows), EmbeddingScores(vectors), OPTIONS, cohort=cohort)
    assert caught.value.reason == "COHORT"


def test_pairs_scored_one_by_one_are_a_matrix() -> None:
    rows = people(np.random.default_rng(1), 6)
    matrix = scores(np.random.default_rng(2), rows, ties=False)
    table = Table.from_rows(rows)
    one = evaluate(table, PairScores(lambda p, g: float(matrix[p, g])), replace(OPTIONS, rounds=0))
    assert one.to_json() == evaluate(table, MatrixScores(matrix), replace(OPTIONS, rounds=0)).to_json()
