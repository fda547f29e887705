"""Intervals over patients: that they cover what is known, and that shortcuts of the bootstrap change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation import oracle
from tests.evaluation.people import people, scores
from training.evaluation.bootstrap import Estimates, Trials, draw_weights
from training.evaluation.evaluate import evaluate
from training.evaluation.open_set import OpenSetStatistic
from training.evaluation.options import Options
from training.evaluation.pairing import find_mates
from training.evaluation.passes import Job, pass_over
from training.evaluation.search import Gallery, Tile
from training.evaluation.sources import MatrixScores
from training.evaluation.table import Table
from training.evaluation.trial import Trial
from training.evaluation.verification import VerificationStatistic
from training.manifests.schema import Role, Row

OPTIONS = Options(rounds=0, fmrs=(0.1, 0.02), fpirs=(0.1, 0.3), fnir_ranks=(1, 2, None))


def trial_of(rows: list[Row], matrix: np.ndarray) -> Trial:
    table = Table.from_rows(rows)
    job = Job(table, MatrixScores(matrix), np.flatnonzero(table.probe), OPTIONS, lambda *_: None)
    gallery = np.flatnonzero(table.gallery)
    mates = find_mates(table, job.source, job.probes, gallery, OPTIONS, job.progress)
    return pass_over(job, [Tile(np.arange(len(job.probes)), Gallery.of(table, gallery))], mates).trial()


@pytest.mark.parametrize("ties", [True, False])
def test_weights_are_repeated_searches(ties: bool) -> None:
    """Figures drawn with weights are those of a test set in which searches are repeated that often."""
    rng = np.random.default_rng(4)
    rows = people(rng, 12)
    matrix = scores(rng, rows, ties=ties)
    trial = trial_of(rows, matrix)
    found = oracle.searches(rows, matrix)
    statistics = {
        "verification": VerificationStatistic(trial.mate, trial.compared, trial.counts, OPTIONS.fmrs),
        "open": OpenSetStatistic(trial, OPTIONS),
    }
    checked = 0
    for weights in draw_weights(trial.patient, 30, seed=8):
        drawn = {name: values for one in statistics.values() for name, values in one.drawn(weights).items()}
        for row, times in enumerate(weights.astype(int)):
            repeated = [search for search, n in zip(found, times, strict=True) for _ in range(n)]
            mated = [search.mate for search in repeated if search.mates]
            others = [score for search in repeated for score in search.patients.values()]
            brute = oracle.verification(mated, others, OPTIONS.fmrs)
            brute |= {
                name.replace("any", "None"): value
                for name, value in oracle.open_set(repeated, OPTIONS.fpirs, OPTIONS.fnir_ranks).items()
                if name.split()[0] in ("fnir", "observed")
            }
            for name, value in brute.items():
                # Weighted counts are summed in single precision.
                assert drawn[name][row] == pytest.approx(value, abs=1e-5), name
                checked += 1
    assert checked > 200


def test_thinned_thresholds_hardly_change_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    rows = [Row(path="", patient_id=f"P{p}", study=f"S{s}") for p in range(150) for s in range(2)]
    matrix = scores(rng, rows, ties=False, gain=2.0)
    table, options = Table.from_rows(rows), Options(rounds=400, fmrs=(0.1, 0.01), strata=(), gallery_sizes=())
    full = evaluate(table, MatrixScores(matrix), options).measures.verification
    monkeypatch.setattr("training.evaluation.exceedances._KEPT_EACH", 80)
    thin = evaluate(table, MatrixScores(matrix), options).measures.verification
    pairs = [(full.eer, thin.eer), (full.auc, thin.auc), *((full.fnmr[rate], thin.fnmr[rate]) for rate in full.fnmr)]
    for exact, thinned in pairs:
        assert exact.value == thinned.value, "figures themselves use every threshold"
        assert exact.low is not None and exact.high is not None
        width = exact.high - exact.low
        assert thinned.low == pytest.approx(exact.low, abs=0.15 * width)
        assert thinned.high == pytest.approx(exact.high, abs=0.15 * width)


class _Share:
    """The share of probes with value one."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def exact(self) -> dict[str, float]:
        return {"share": float(self._values.mean())}

    def drawn(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"share": weights @ self._values / weights.sum(axis=1)}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """80 persons with 5 images that all agree: 80 observations, not 400."""
    rng, truth, covered, rounds = np.random.default_rng(0), 0.4, 0, 200
    persons = np.repeat(np.arange(80), 5)
    for number in range(rounds):
        values = np.repeat(rng.random(80) < truth, 5).astype(float)
        options = Options(rounds=300, seed=number)
        figure = Estimates(persons, {"x": _Share(values)}, options).figure("x.share", Trials(400, 80), rate=True)
        assert figure.low is not None and figure.high is not None
        covered += figure.low <= truth <= figure.high
    assert 0.90 <= covered / rounds <= 0.985


def test_the_equal_error_rate_is_covered() -> None:
    """Normal scores one deviation and a half apart: the equal error rate is Phi(-0.75)."""
    truth, covered, rounds = 0.22662735, 0, 40
    roles = (Role.PROBE, Role.GALLERY)
    rows = [Row(path="", patient_id=f"P{p}", study=role, role=role) for p in range(60) for role in roles]
    table = Table.from_rows(rows)
    for number in range(rounds):
        matrix = scores(np.random.default_rng(number), rows, ties=False, gain=1.5)
        options = Options(rounds=200, strata=(), gallery_sizes=(), seed=number)
        figure = evaluate(table, MatrixScores(matrix), options).measures.verification.eer
        assert figure.low is not None and figure.high is not None
        covered += figure.low <= truth <= figure.high
    assert covered / rounds >= 0.85


def test_the_same_seed_draws_the_same_interval() -> None:
    rows = people(np.random.default_rng(1), 20)
    matrix = scores(np.random.default_rng(2), rows, ties=False)
    table, options = Table.from_rows(rows), Options(rounds=40)
    first = evaluate(table, MatrixScores(matrix), options).to_json()
    assert evaluate(table, MatrixScores(matrix), options).to_json() == first
    other = evaluate(table, MatrixScores(matrix), replace(options, seed=1)).to_json()
    assert other["measures"]["closed_set"]["mrr"]["value"] == first["measures"]["closed_set"]["mrr"]["value"]
    assert other["measures"]["closed_set"]["mrr"]["low"] != first["measures"]["closed_set"]["mrr"]["low"]


def test_every_defined_figure_lies_in_its_interval() -> None:
    rows = people(np.random.default_rng(1), 40)
    matrix = scores(np.random.default_rng(2), rows, ties=False, gain=2.0)
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), Options(rounds=60)).to_json()
    figures = list(_figures(found))
    assert len(figures) > 300
    for figure in figures:
        if figure["low"] is not None:
            assert figure["low"] <= figure["value"] <= figure["high"]


def _figures(value: object) -> list[dict[str, float]]:
    if isinstance(value, dict):
        here = [value] if {"value", "low", "high"} <= value.keys() else []
        return here + [one for item in value.values() for one in _figures(item)]
    return [one for item in value for one in _figures(item)] if isinstance(value, list) else []
