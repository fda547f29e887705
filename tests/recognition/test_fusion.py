"""Fusion: independent sources add up, equal ones count once, and no source makes the sum say less than the best one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CalibrationError
from inference.fusion import Fusion, fuse_log10_lrs
from training.evaluation.metrics import cllr, min_cllr

SEPARATIONS = st.lists(st.floats(0.0, 6.0), min_size=1, max_size=4)


def known(separations: list[float], correlation: float) -> Fusion:
    names = [str(number) for number in range(len(separations))]
    pairs = {(one, other): correlation for one in names for other in names if one < other}
    return Fusion(dict(zip(names, separations, strict=True)), pairs)


def correlated(seed: int, strengths: list[float], correlation: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """log10 LRs (count, sources) of mates and of others: normal, calibrated one by one, and correlated."""
    rng = np.random.default_rng(seed)
    deviations = np.asarray(strengths)
    together = np.full((len(strengths), len(strengths)), correlation)
    np.fill_diagonal(together, 1.0)
    noise = rng.multivariate_normal(np.zeros(len(strengths)), together, (2, count)) * deviations
    half = deviations**2 / 2
    return (noise[0] + half) / math.log(10), (noise[1] - half) / math.log(10)


@settings(max_examples=100, deadline=None)
@given(separations=SEPARATIONS, correlation=st.floats(-0.5, 1.0), data=st.data(), rise=st.floats(0, 3))
def test_it_never_falls_when_a_source_rises_and_is_continuous(
    separations: list[float], correlation: float, data: st.DataObject, rise: float
) -> None:
    fusion = known(separations, correlation)
    values = {str(n): data.draw(st.floats(-6, 6)) for n in range(len(separations))}
    raised = str(data.draw(st.integers(0, len(separations) - 1)))
    before = fusion.log10_lr(values, 0.5)
    after = fusion.log10_lr({**values, raised: values[raised] + rise}, 0.5)
    assert after >= before - 1e-9
    # Separations within a factor of a million bound every weight by the ratio of their roots.
    nudged = fusion.log10_lr({**values, raised: values[raised] + 1e-9}, 0.5)
    assert abs(nudged - before) < 1e-4


@pytest.mark.parametrize("strengths", [[2.0, 2.0], [3.0, 1.0], [2.5, 2.0, 0.5], [2.0, 0.01]])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.8])
def test_fused_evidence_is_calibrated_and_no_worse_than_the_best_source(
    strengths: list[float], correlation: float
) -> None:
    mated, nonmated = correlated(1, strengths, correlation, 4000)
    separations = [strength**2 / math.log(10) for strength in strengths]
    names = [str(n) for n in range(len(strengths))]
    weights = np.asarray(known(separations, correlation).weights(names, 0.5))
    fused = cllr(mated @ weights, nonmated @ weights)
    best = min(cllr(mated[:, n], nonmated[:, n]) for n in range(len(strengths)))
    assert fused <= best + 0.01
    assert fused - min_cllr(mated @ weights, nonmated @ weights) < 0.03


def test_what_independence_would_claim_is_not_calibrated() -> None:
    """The test above can fail: adding correlated log LRs up overstates the evidence."""
    mated, nonmated = correlated(2, [2.5, 2.5, 2.5], 0.9, 4000)
    added = cllr(mated.sum(axis=1), nonmated.sum(axis=1))
    assert added - min_cllr(mated.sum(axis=1), nonmated.sum(axis=1)) > 0.05


def test_equal_sources_count_by_the_effective_number_of_looks() -> None:
    values = {"0": 2.0, "1": 2.0, "2": 2.0}
    assert known([3.0] * 3, 0.0).log10_lr(values, 0.5) == pytest.approx(6.0)
    assert known([3.0] * 3, 0.5).log10_lr(values, 0.5) == pytest.approx(6.0 / (1 + 2 * 0.5))
    assert known([3.0] * 3, 1.0).log10_lr(values, 0.5) == pytest.approx(2.0, rel=0.02)


def test_correlations_that_no_data_showed_take_the_policys_discount() -> None:
    fusion = Fusion({"0": 3.0, "1": 3.0})
    values = {"0": 2.0, "1": 2.0}
    for discount in (0.1, 0.5, 1.0):
        assert fusion.log10_lr(values, discount) == pytest.approx(2.0 * (1 + discount))
    assert fusion.log10_lr(values, 0.0) == pytest.approx(2.0, rel=0.02)


def test_correlations_that_contradict_each_other_still_fuse() -> None:
    """Estimated pair by pair they need not make a matrix that any people could have."""
    fusion = Fusion({"a": 2.0, "b": 2.0, "c": 2.0}, {("a", "b"): 0.95, ("b", "c"): 0.95, ("a", "c"): 0.0})
    weights = fusion.weights(["a", "b", "c"], 0.5)
    assert all(math.isfinite(weight) and weight >= 0 for weight in weights)


def test_sources_of_unknown_strength_join_the_known_ones() -> None:
    fusion = Fusion({"known": 2.0})
    assert fusion.log10_lr({"known": 3.0}, 0.5) == pytest.approx(3.0)
    assert fusion.log10_lr({"known": 3.0, "new": 2.0}, 0.5) == pytest.approx(fuse_log10_lrs([3.0, 2.0], 0.5))
    assert fusion.log10_lr({}, 0.5) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(CalibrationError):
        fuse_log10_lrs([1.0, bad], 0.5)
    with pytest.raises(CalibrationError):
        Fusion({"a": 1.0}).log10_lr({"a": bad}, 0.5)
