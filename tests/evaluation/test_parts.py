"""The parts of the search by themselves: counting, growing galleries, normalisation, failures, cross-fitting."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.evaluation import oracle
from tests.evaluation.people import people, scores
from training.evaluation.crossfit import FOLDS, cross_fit, fit_logistic
from training.evaluation.distractors import GrowingGalleries, gallery_sizes
from training.evaluation.evaluate import evaluate
from training.evaluation.exceedances import Ladder, kept_thresholds, thresholds_of
from training.evaluation.metrics import cllr, min_cllr
from training.evaluation.normalisation import Cohort
from training.evaluation.options import Options
from training.evaluation.pairing import find_mates
from training.evaluation.passes import Job
from training.evaluation.search import Gallery, Tile, search
from training.evaluation.sources import EmbeddingScores, MatrixScores
from training.evaluation.strata import WORST_PATIENTS
from training.evaluation.table import Table
from training.manifests.schema import Role, Row

NUMBERS = st.one_of(
    st.floats(-1e308, 1e308),
    st.integers(-3, 3).map(float),
    st.floats(0.999999, 1.0),
)
OPTIONS = Options(rounds=0, strata=(), gallery_sizes=(), fmrs=(0.1,), fpirs=(0.1, 0.3), ranks=(1, 3))


@settings(max_examples=120, deadline=None)
@given(
    st.lists(NUMBERS, max_size=40),
    arrays.arrays(np.float64, 30, elements=st.one_of(NUMBERS, st.just(-math.inf))),
)
def test_a_ladder_counts_what_sorting_counts(thresholds: list[float], values: np.ndarray) -> None:
    rungs = np.unique(np.array(thresholds))
    everything = np.concatenate([values, rungs, np.nextafter(rungs, np.inf), np.nextafter(rungs, -np.inf)])
    expected = np.searchsorted(rungs, everything, side="right")
    assert Ladder(rungs).reached(everything).tolist() == expected.tolist()


def test_a_ladder_of_many_rungs() -> None:
    rng = np.random.default_rng(0)
    rungs = thresholds_of(rng.normal(size=5000))
    values = np.concatenate([rng.normal(size=20_000), rungs[::7]])
    assert (Ladder(rungs).reached(values) == np.searchsorted(rungs, values, side="right")).all()


def test_kept_thresholds_hold_both_sides_of_a_score() -> None:
    mated = np.random.default_rng(0).normal(size=4000)
    thresholds = thresholds_of(mated)
    kept = thresholds[kept_thresholds(thresholds, mated, probes=4000)]
    assert 900 <= len(kept) <= 1024
    assert thresholds[0] in kept and thresholds[-1] in kept
    assert set(np.nextafter(kept[::2], np.inf)) == set(kept[1::2])


def test_default_sizes_of_growing_galleries() -> None:
    assert gallery_sizes(1000, None) == (10, 32, 100, 316, 1000)
    assert gallery_sizes(7, None) == (7,)
    assert gallery_sizes(50, (20, 50, 80)) == (20, 50)


def test_growing_galleries_by_brute_force() -> None:
    rng = np.random.default_rng(6)
    rows = people(rng, 14)
    matrix = scores(rng, rows, ties=True)
    table, sizes = Table.from_rows(rows), (2, 5, 9)
    options = replace(OPTIONS, block_scores=50)
    job = Job(table, MatrixScores(matrix), np.flatnonzero(table.probe), options, lambda *_: None)
    gallery = Gallery.of(table, np.flatnonzero(table.gallery))
    mated = find_mates(table, job.source, job.probes, gallery.images, options, job.progress).best()[0]
    growing = GrowingGalleries(mated, len(gallery.patients), sizes, 3, seed=5)
    search(table, job.source, job.probes, [Tile(np.arange(len(job.probes)), gallery)], [growing], options, job.progress)
    growing.galleries()
    chance = np.random.default_rng(5)
    for draw in range(3):
        order = np.argsort(chance.permutation(len(gallery.patients)))
        for place, size in enumerate(sizes):
            enrolled = {table.patients[code] for code in gallery.patients[order[:size]]}
            for probe, one in enumerate(oracle.searches(rows, matrix)):
                others = [score for who, score in one.patients.items() if who in enrolled]
                assert growing.best[draw, place, probe] == max(others, default=-math.inf)
                assert growing.above[draw, place, probe] == sum(score >= one.mate for score in others)


def test_recognition_falls_as_the_gallery_grows() -> None:
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(80) for s in range(2)]
    matrix = scores(np.random.default_rng(0), rows, ties=False, gain=2.5)
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), replace(OPTIONS, gallery_sizes=None, rounds=20))
    assert [point.patients for point in found.distractors] == [25, 80]
    rank = [point.rank["1"].value for point in found.distractors]
    assert rank[0] > rank[-1] == found.measures.closed_set.rank["1"].value
    last = found.distractors[-1].fnir["0.1"]
    assert last == found.measures.open_set.points[0].fnir["1"]


@pytest.mark.parametrize("kind", ["z", "t", "s", "as"])
def test_score_normalisation_by_its_definition(kind: str) -> None:
    rng = np.random.default_rng(3)
    rows = people(rng, 10, roles=(Role.BOTH,))
    vectors = rng.normal(size=(len(rows), 6))
    cohort = rng.normal(size=(40, 6))
    names = [("", f"held out {i}") for i in range(40)]
    options = replace(OPTIONS, normalisations=(kind,), closest=7)
    table, source = Table.from_rows(rows), EmbeddingScores(vectors)
    found = evaluate(table, source, options, cohort=Cohort.of_embeddings(names, cohort, vectors))
    expected = np.empty((len(rows), len(rows)))
    for p in range(len(rows)):
        for g in range(len(rows)):
            score, of_p, of_g = vectors[p] @ vectors[g], sorted(cohort @ vectors[p]), sorted(cohort @ vectors[g])
            if kind == "as":
                of_p, of_g = of_p[-7:], of_g[-7:]
            t, z = (score - np.mean(of_p)) / np.std(of_p), (score - np.mean(of_g)) / np.std(of_g)
            expected[p, g] = {"z": z, "t": t}.get(kind, (z + t) / 2)
    brute = evaluate(table, MatrixScores(expected), options).measures
    assert found.normalised[kind].verification.eer.value == pytest.approx(brute.verification.eer.value, abs=1e-9)
    assert found.normalised[kind].verification.auc.value == pytest.approx(brute.verification.auc.value, abs=1e-9)
    assert found.normalised[kind].closed_set.map.value == pytest.approx(brute.closed_set.map.value, abs=1e-9)


def test_cross_fitting_never_judges_a_person_it_was_fitted_on() -> None:
    """A person whose scores are outliers changes nobody's LRs in the own fold, and those of every other fold."""
    rng = np.random.default_rng(0)
    patients, others = np.arange(60), np.tile(np.arange(60), (60, 1))
    mate, strangers = rng.normal(2, 1, 60), rng.normal(0, 1, (60, 60))
    np.fill_diagonal(strangers, -np.inf)
    before = cross_fit(patients, others, mate, strangers, seed=1)
    changed = mate.copy()
    changed[7] = -30.0
    after = cross_fit(patients, others, changed, strangers, seed=1)
    assert before is not None and after is not None
    same = np.flatnonzero(before[0] == after[0])
    assert len(same) == 60 // FOLDS - 1, "only the others of fold of patient 7 keep their map"
    judged = ~np.isnan(after[1])
    fold = np.unique(np.flatnonzero(judged[7]))
    assert set(same) | {7} == set(fold) | {7}, "strangers are judged within the fold"


def test_cross_fitted_ratios_are_calibrated() -> None:
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(250) for s in range(2)]
    matrix = scores(np.random.default_rng(0), rows, ties=False, gain=2.0)
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), OPTIONS).measures.likelihood
    assert found is not None and found.calibration_loss.value is not None
    assert 0 <= found.calibration_loss.value < 0.05
    assert found.cllr.value == pytest.approx(found.min_cllr.value + found.calibration_loss.value)


def test_the_logistic_map_of_normal_scores() -> None:
    """Scores N(2, 1) and N(0, 1): ln LR = 2 s - 2."""
    rng = np.random.default_rng(0)
    intercept, slope = fit_logistic(rng.normal(2, 1, 40_000), rng.normal(0, 1, 80_000))
    assert slope * math.log(10) == pytest.approx(2.0, abs=0.05)
    assert intercept * math.log(10) == pytest.approx(-2.0, abs=0.05)


def test_the_logistic_map_of_separated_or_reversed_scores() -> None:
    intercept, slope = fit_logistic(np.full(20, 5.0), np.full(30, 1.0))
    assert math.isfinite(intercept) and slope > 0
    assert fit_logistic(np.full(20, 1.0), np.full(30, 5.0)) == (0.0, 0.0)
    assert fit_logistic(np.full(20, 0.1), np.full(30, 0.1)) == (0.0, 0.0)


def test_likelihood_ratios_are_drawn_when_there_are_many() -> None:
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(60) for s in range(2)]
    matrix = scores(np.random.default_rng(0), rows, ties=False, gain=2.0)

    class Plain:
        def log10_lr(self, values: object, modality: str = "", view: str = "") -> np.ndarray:
            return np.asarray(values, float) - 1

    table = Table.from_rows(rows)
    every = evaluate(table, MatrixScores(matrix), OPTIONS, lrs=Plain()).measures.likelihood
    few = evaluate(table, MatrixScores(matrix), replace(OPTIONS, lr_comparisons=3600), lrs=Plain()).measures.likelihood
    assert every is not None and few is not None
    assert every.nonmated == every.nonmated_total == 120 * 59 and 3400 < few.nonmated < 3600
    assert few.cllr.value == pytest.approx(every.cllr.value, rel=0.05)
    mated = [one.mate - 1 for one in oracle.searches(rows, matrix)]
    others = [score - 1 for one in oracle.searches(rows, matrix) for score in one.patients.values()]
    assert every.cllr.value == pytest.approx(cllr(mated, others), rel=1e-9)
    assert every.min_cllr.value == pytest.approx(min_cllr(mated, others), rel=1e-9)


def test_failures_to_enrol_are_misses() -> None:
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(20) for s in range(2)]
    matrix = np.array([[float(p.patient_id == g.patient_id) for g in rows] for p in rows])
    failed = np.zeros(40, bool)
    failed[[0, 6, 7]] = True  # one image of P0, both of P3
    matrix[failed] = np.nan
    matrix[:, failed] = np.nan
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), replace(OPTIONS, rounds=50), failures=failed)
    lost = found.enrolment
    assert lost is not None
    assert (lost.images, lost.failed_images, lost.patients, lost.failed_patients) == (40, 3, 20, 1)
    assert lost.failure_rate.value == pytest.approx(3 / 40)
    assert found.measures.closed_set.rank["1"].value == 1.0 and found.sizes.mated_searches == 36
    # P0's other image has lost its only mate: four searches find nothing.
    assert lost.generalised.mated == 40
    assert lost.generalised_rank["1"].value == pytest.approx(36 / 40)
    assert lost.generalised.points[0].fnir["any"].value == pytest.approx(4 / 40)
    assert lost.generalised.points[0].fnir["any"].low < 4 / 40 < lost.generalised.points[0].fnir["any"].high


def test_without_failures_there_is_nothing_to_generalise() -> None:
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(4) for s in range(2)]
    matrix = scores(np.random.default_rng(0), rows, ties=False)
    assert evaluate(Table.from_rows(rows), MatrixScores(matrix), OPTIONS).enrolment is None


def test_selectivity_counts_beyond_the_candidate_list() -> None:
    """One probe that resembles everybody: its list of 50 is full, and it is searched again."""
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(150) for s in range(2)]
    matrix = scores(np.random.default_rng(0), rows, ties=False)
    matrix[0] += 20.0
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), replace(OPTIONS, fpirs=(0.005, 0.02))).measures
    brute = oracle.open_set(oracle.searches(rows, matrix), (0.005, 0.02), ())
    assert brute["selectivity 0.02"] * 300 > 149
    for point in found.open_set.points:
        assert point.selectivity.value == pytest.approx(brute[f"selectivity {point.fpir:g}"], rel=1e-9)


def test_the_worst_group_is_named_with_its_interval() -> None:
    rows = [
        Row(path="", patient_id=f"P{p}", study=f"S{s}", sex="FM"[p % 2], site=("", "one")[p < WORST_PATIENTS - 1])
        for p in range(80)
        for s in range(2)
    ]
    matrix = scores(np.random.default_rng(0), rows, ties=False, gain=4.0)
    women = np.array([row.sex == "F" for row in rows])
    mated = np.array([[p.patient_id == g.patient_id for g in rows] for p in rows])
    matrix[mated & women[:, None]] -= 3.0
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), replace(OPTIONS, strata=("sex", "site"), rounds=50))
    worst = found.strata["sex"].worst
    assert worst["rank 1"].group == worst["eer"].group == "F"
    assert worst["rank 1"].figure.low is not None
    assert found.strata["site"].worst == {}, "unknown is no group, and too few patients are not judged"
    assert set(found.strata["site"].groups) == {"unknown", "one"}


def test_progress_is_told_and_complete() -> None:
    rows = people(np.random.default_rng(0), 20)
    seen: dict[str, tuple[int, int]] = {}
    matrix = scores(np.random.default_rng(0), rows, ties=False)
    evaluate(
        Table.from_rows(rows),
        MatrixScores(matrix),
        Options(rounds=0),
        progress=lambda stage, done, total: seen.__setitem__(stage, (done, total)),
    )
    assert {"mated comparisons", "searches", "strata", "distractor curve"} <= set(seen)
    assert all(done == total for done, total in seen.values())


def test_probes_may_have_embeddings_of_their_own() -> None:
    """Cropped probes against uncropped gallery images."""
    rng = np.random.default_rng(0)
    rows = people(rng, 12, roles=(Role.BOTH,))
    plain, cropped = rng.normal(size=(2, len(rows), 5))
    table = Table.from_rows(rows)
    found = evaluate(table, EmbeddingScores(plain, cropped), OPTIONS).measures.verification.auc.value
    assert found == pytest.approx(
        evaluate(table, MatrixScores(cropped @ plain.T), OPTIONS).measures.verification.auc.value, abs=1e-9
    )
