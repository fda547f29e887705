"""The formulas of published evaluators, written anew here, on random data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.people import people, scores
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import Measures
from training.evaluation.metrics import equal_error_rate, fnmr_at_fmr
from training.evaluation.options import Options
from training.evaluation.sources import MatrixScores
from training.evaluation.table import Table
from training.manifests.schema import Role, Row

OPTIONS = Options(rounds=0, strata=(), gallery_sizes=(), ranks=(1, 2, 3, 4, 5, 10), fmrs=(0.1, 0.03), fpirs=(0.1,))
SEEDS = st.integers(0, 10**6)


def one_set(seed: int, patients: int = 12) -> tuple[list[Row], np.ndarray, Measures]:
    rng = np.random.default_rng(seed)
    rows = people(rng, patients, roles=(Role.BOTH, Role.BOTH, Role.GALLERY, Role.PROBE))
    rows += [replace(rows[0], role=Role.BOTH, study="one"), replace(rows[0], role=Role.BOTH, study="two")]
    matrix = scores(rng, rows, ties=False)
    return rows, matrix, evaluate(Table.from_rows(rows), MatrixScores(matrix), OPTIONS).measures


def codes(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Person, and "camera": the study within the person, so that removing same-camera images removes the study."""
    pids = np.unique([f"{row.issuer}/{row.patient_id}" for row in rows], return_inverse=True)[1]
    cams = np.unique([row.study for row in rows], return_inverse=True)[1]
    query = np.flatnonzero([row.role in (Role.PROBE, Role.BOTH) for row in rows])
    gallery = np.flatnonzero([row.role is not Role.PROBE for row in rows])
    return pids, cams, query, gallery


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_person_reidentification(seed: int) -> None:
    """CMC and mAP of the Market-1501 protocol, as torchreid and fast-reid compute them from distances."""
    rows, matrix, found = one_set(seed)
    pids, cams, query, gallery = codes(rows)
    distances = -matrix[np.ix_(query, gallery)]
    order = np.argsort(distances, axis=1)
    precisions, penalties, curves = [], [], []
    for i, q in enumerate(query):
        ranked = gallery[order[i]]
        ranked = ranked[~((pids[ranked] == pids[q]) & (cams[ranked] == cams[q]))]
        matches = (pids[ranked] == pids[q]).astype(int)
        if not matches.any():
            continue
        # fast-reid's INP: matches found up to the last one, over its place.
        last = np.flatnonzero(matches).max()
        penalties.append(matches.cumsum()[last] / (last + 1.0))
        curves.append(np.minimum(matches.cumsum(), 1)[0])
        running = matches.cumsum() / (np.arange(len(matches)) + 1.0)
        precisions.append((running * matches).sum() / matches.sum())
    assert found.closed_set.map.value == pytest.approx(np.mean(precisions), rel=1e-9)
    assert found.closed_set.minp.value == pytest.approx(np.mean(penalties), rel=1e-9)
    assert found.closed_set.rank["1"].value == pytest.approx(np.mean(curves), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_cmc_of_one_image_per_patient(seed: int) -> None:
    """With single-image galleries ranks of patients are ranks of images, at every k."""
    rng = np.random.default_rng(seed)
    rows = [
        Row(path=f"{i}{role}", patient_id=f"P{i}", study=role, role=Role(role))
        for i in range(15)
        for role in ("probe", "gallery")
    ]
    matrix = scores(rng, rows, ties=False)
    found = evaluate(Table.from_rows(rows), MatrixScores(matrix), OPTIONS).measures
    pids, _, query, gallery = codes(rows)
    order = np.argsort(-matrix[np.ix_(query, gallery)], axis=1)
    hits = pids[gallery][order] == pids[query][:, None]
    curve = np.minimum(hits.cumsum(axis=1), 1).mean(axis=0)
    assert [share for _, share in found.closed_set.cmc] == pytest.approx(curve.tolist(), rel=1e-9)
    assert {int(k): one.value for k, one in found.closed_set.rank.items()} == pytest.approx(
        {k: curve[k - 1] for k in OPTIONS.ranks}, rel=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_metric_learning(seed: int) -> None:
    """MAP@R and mean reciprocal rank as pytorch-metric-learning defines them; queries without mates are dropped."""
    rows, matrix, found = one_set(seed)
    pids, cams, query, gallery = codes(rows)
    at_r, reciprocal = [], []
    for q in query:
        usable = gallery[~((pids[gallery] == pids[q]) & (cams[gallery] == cams[q]))]
        relevant = int((pids[usable] == pids[q]).sum())
        if relevant == 0:
            continue
        nearest = usable[np.argsort(-matrix[q, usable])]
        same = pids[nearest] == pids[q]
        matches = same[:relevant]
        precision = np.cumsum(matches) / np.arange(1, relevant + 1)
        at_r.append(np.sum(precision * matches) / relevant)
        reciprocal.append(1 / (np.argmax(same) + 1))
    assert found.closed_set.map_at_r.value == pytest.approx(np.mean(at_r), rel=1e-9)
    assert found.closed_set.image_mrr.value == pytest.approx(np.mean(reciprocal), rel=1e-9)


def _comparisons(rows: list[Row], matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fused scores of probes with patients, and whether they are mated."""
    pids, cams, query, gallery = codes(rows)
    values, mated = [], []
    for q in query:
        usable = gallery[~((pids[gallery] == pids[q]) & (cams[gallery] == cams[q]))]
        for pid in np.unique(pids[usable]):
            values.append(matrix[q, usable[pids[usable] == pid]].max())
            mated.append(pid == pids[q])
    return np.array(values), np.array(mated)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_scikit_learn(seed: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    rows, matrix, found = one_set(seed)
    values, mated = _comparisons(rows, matrix)
    assert found.verification.auc.value == pytest.approx(roc_auc_score(mated, values), rel=1e-9)
    fpr, tpr, _ = roc_curve(mated, values, drop_intermediate=False)
    crossing = np.interp(0, fpr - (1 - tpr), fpr)
    assert found.verification.eer.value == pytest.approx(crossing, abs=1e-9)
    pids, cams, query, gallery = codes(rows)
    precisions = []
    for q in query:
        usable = gallery[~((pids[gallery] == pids[q]) & (cams[gallery] == cams[q]))]
        same = pids[usable] == pids[q]
        if same.any():
            precisions.append(average_precision_score(same, matrix[q, usable]))
    assert found.closed_set.map.value == pytest.approx(np.mean(precisions), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_metrics_of_calibration(seed: int) -> None:
    """The streamed figures are those of training.evaluation.metrics, which calibrations report."""
    rows, matrix, found = one_set(seed)
    values, mated = _comparisons(rows, matrix)
    for rate, figure in found.verification.fnmr.items():
        if figure.value is not None:
            brute = fnmr_at_fmr(values[mated], values[~mated], float(rate))
            assert figure.value == pytest.approx(brute, rel=1e-9)
    # Both are the crossing; one takes the nearest threshold's mean of both rates, the other the line between.
    nearest = equal_error_rate(values[mated], values[~mated])
    assert found.verification.eer.value == pytest.approx(nearest, abs=0.5 / mated.sum() + 0.5 / (~mated).sum())
