"""Every figure of the streamed evaluation against brute force, in float64 to 1e-9."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import EvaluationError
from tests.evaluation import oracle
from tests.evaluation.people import people, scores
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.figures import Figure, Measures
from training.evaluation.metrics import min_cllr
from training.evaluation.options import Options
from training.evaluation.sources import MatrixScores
from training.evaluation.table import Table, age_band
from training.manifests.pairs import Rule, comparable
from training.manifests.schema import Row

FMRS, FPIRS = (0.3, 0.1, 0.02), (0.05, 0.2, 0.5)
RANKS, PERCENTILES, FNIR_RANKS = (1, 2, 5), (1.0, 10.0, 25.0), (1, 3, None)
# Blocks of a few scores, so that everything meets a border.
OPTIONS = Options(
    ranks=RANKS,
    percentiles=PERCENTILES,
    fmrs=FMRS,
    fpirs=FPIRS,
    fnir_ranks=FNIR_RANKS,
    rounds=0,
    gallery_sizes=(2, 4),
    block_scores=40,
    interval_days=(1, 8, 90),
)
CASES = {"seed": st.integers(0, 10**6), "patients": st.integers(1, 12), "ties": st.booleans()}


class Lrs:
    """A calibration that depends on modality and view, so that mixing them up is seen."""

    def log10_lr(self, scores: object, modality: str = "", view: str = "") -> np.ndarray:
        return 0.7 * np.asarray(scores, float) - 0.2 * len(modality) + (0.1 if view == "PA" else 0.0)


def measured(measures: Measures) -> dict[str, float]:
    """The figures of the code by the oracle's names; undefined ones left out."""
    closed, compared = measures.closed_set, measures.verification
    found: dict[str, Figure] = {f"rank {k}": one for k, one in closed.rank.items()}
    found |= {f"percentile {p}": one for p, one in closed.percentile_rank.items()}
    found |= {"mrr": closed.mrr, "map": closed.map, "map at r": closed.map_at_r, "minp": closed.minp}
    found |= {"image mrr": closed.image_mrr, "eer": compared.eer, "auc": compared.auc}
    found |= {f"fnmr {rate}": one for rate, one in compared.fnmr.items()}
    values = {}
    for point in measures.open_set.points:
        found[f"observed {point.fpir:g}"] = point.observed
        found[f"selectivity {point.fpir:g}"] = point.selectivity
        found |= {f"fnir {point.fpir:g} {rank}": one for rank, one in point.fnir.items()}
        if point.threshold is not None:
            values[f"threshold {point.fpir:g}"] = point.threshold
    return values | {name: one.value for name, one in found.items() if one.value is not None}


def expected(found: list[oracle.Search], thresholds: dict[float, float] | None = None) -> dict[str, float]:
    mated = [search.mate for search in found if search.mates]
    others = [score for search in found for score in search.patients.values()]
    return {
        **oracle.closed_set(found, RANKS, PERCENTILES),
        **oracle.verification(mated, others, FMRS),
        **oracle.open_set(found, FPIRS, FNIR_RANKS, thresholds),
    }


def assert_same(code: dict[str, float], brute: dict[str, float]) -> None:
    assert code.keys() == brute.keys()
    assert code == pytest.approx(brute, rel=1e-9, abs=1e-9)


def run(rows: list[Row], matrix: np.ndarray, options: Options = OPTIONS) -> Evaluation | None:
    try:
        return evaluate(Table.from_rows(rows), MatrixScores(matrix), options, lrs=Lrs())
    except EvaluationError as error:
        assert error.reason in ("NO_PROBES", "NO_GALLERY")
        return None


def thresholds_of(found: Evaluation) -> dict[float, float]:
    points = found.measures.open_set.points
    return {point.fpir: point.threshold for point in points if point.threshold is not None}


@settings(max_examples=100, deadline=None)
@given(**CASES)
def test_all_searches(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=()))
    if found is not None:
        assert_same(measured(found.measures), expected(oracle.searches(rows, matrix)))


@settings(max_examples=60, deadline=None)
@given(**CASES, rule=st.builds(Rule, *[st.booleans()] * 4, st.sampled_from([0, 8])))
def test_the_rule_of_pairs_is_kept(seed: int, patients: int, ties: bool, rule: Rule) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, rule=rule, strata=()))
    if found is not None:
        kept = lambda probe, entry: comparable(probe, entry, rule)  # noqa: E731
        assert_same(measured(found.measures), expected(oracle.searches(rows, matrix, kept, kept)))


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_strata(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=("sex", "age band", "device", "view", "label")))
    if found is None:
        return
    values: dict[str, Callable[[Row], str]] = {
        "sex": lambda row: row.sex,
        "age band": lambda row: age_band(row.age),
        "device": lambda row: row.device,
        "view": lambda row: row.view,
        "label effusion": lambda row: row.labels["effusion"],
    }
    limits = thresholds_of(found)
    for dimension, value in values.items():
        if dimension not in found.strata:
            continue
        for name, group in found.strata[dimension].groups.items():
            some = [s for s in oracle.searches(rows, matrix) if (value(rows[s.probe]) or "unknown") == name]
            assert group.probes == len(some)
            brute = expected(some, {rate: limits.get(rate, math.inf) for rate in FPIRS})
            assert_same(measured(group), _only_supported(brute, limits))


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_intervals_between_probe_and_mate(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=("interval",)))
    if found is None or "interval" not in found.strata:
        return
    limits = thresholds_of(found)
    for name, group in found.strata["interval"].groups.items():

        def counts(probe: Row, mate: Row, name: str = name) -> bool:
            if probe.days is None or mate.days is None:
                return name == "unknown"
            return name != "unknown" and abs(probe.days - mate.days) >= int(name.split()[1])

        brute = expected(oracle.searches(rows, matrix, counts), {rate: limits.get(rate, math.inf) for rate in FPIRS})
        assert_same(measured(group), _only_supported(brute, limits))


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_impostors_of_the_same_kind(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=("impostors",)))
    if found is None or "impostors" not in found.strata:
        return
    keys: dict[str, Callable[[Row], tuple[str, ...]]] = {
        "same device": lambda row: (row.device,),
        "same sex, age band and device": lambda row: (row.sex, age_band(row.age), row.device),
    }
    for name, group in found.strata["impostors"].groups.items():
        key = keys[name]
        alike = lambda probe, entry, key=key: all(key(probe)) and key(probe) == key(entry)  # noqa: E731
        some = [s for s in oracle.searches(rows, matrix, impostor_counts=alike) if s.patients]
        assert_same(measured(group), expected(some))


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_likelihood_ratios_of_a_stored_calibration(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=()))
    if found is None or found.measures.likelihood is None:
        return
    mated, others = [], []
    for search in oracle.searches(rows, matrix):
        row = rows[search.probe]
        of = lambda score, row=row: float(Lrs().log10_lr(score, row.modality, row.view))  # noqa: E731
        mated += [of(search.mate)] if search.mates else []
        others += [of(score) for score in search.patients.values()]
    likelihood = found.measures.likelihood
    assert (likelihood.mated, likelihood.nonmated) == (len(mated), len(others))
    if mated and others:
        brute = oracle.likelihood(mated, others) | {"least": min_cllr(mated, others)}
        code = {"cllr": likelihood.cllr.value, "ece": likelihood.ece.value, "least": likelihood.min_cllr.value}
        assert code == pytest.approx(brute, rel=1e-9, abs=1e-9)
        assert likelihood.supported == pytest.approx(math.log10(len(others) + 1))
    else:
        assert likelihood.cllr.value is None and likelihood.cllr.note


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_candidate_lists(seed: int, patients: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients)
    matrix = scores(rng, rows, ties=ties)
    found = run(rows, matrix, replace(OPTIONS, strata=(), candidates=4))
    if found is None:
        return
    lists = found.candidates
    table = Table.from_rows(rows)
    for place, search in enumerate(oracle.searches(rows, matrix)):
        assert lists.probes[place] == search.probe
        brute = [(-score, 0) for score in search.patients.values()]
        if search.mates:
            brute.append((-search.mate, 1))
            assert lists.mate_ranks[place] == search.rank
            assert matrix[search.probe, lists.mate_images[place]] == lists.mate_scores[place] == search.mate
        brute = sorted(brute)[:4]
        n = len(brute)
        assert lists.scores[place][:n].tolist() == [-score for score, _ in brute]
        assert (lists.images[place][n:] == -1).all() and (lists.patients[place][n:] == -1).all()
        own = table.patient[search.probe]
        assert [int(code == own) for code in lists.patients[place][:n]] == [mate for _, mate in brute]
        for image, patient, score in zip(
            *(a[place][:n] for a in (lists.images, lists.patients, lists.scores)), strict=True
        ):
            assert table.patient[image] == patient and matrix[search.probe, image] == score
        assert len(set(lists.patients[place][:n].tolist())) == n


def _only_supported(brute: dict[str, float], limits: dict[float, float]) -> dict[str, float]:
    """Without figures at thresholds that the whole could not set."""
    unset = [f"{rate:g}" for rate in FPIRS if rate not in limits]
    kinds = ("threshold", "observed", "selectivity", "fnir")
    return {
        name: value
        for name, value in brute.items()
        if not (name.split()[0] in kinds and any(name.split()[1] == rate for rate in unset))
    }
