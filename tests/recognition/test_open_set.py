"""The guard of the open set: as many false positives as were asked for, on other people and in larger galleries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CalibrationError
from inference.calibration.open_set import MIN_PERSONS, OpenSet, bonferroni, fit_open_set


def scores(seed: int, probes: int, patients: int, likeness: float = 0.05) -> np.ndarray:
    """(probes, patients): every probe has its own level, as some people resemble everybody."""
    rng = np.random.default_rng(seed)
    return np.tanh(0.4 + rng.normal(0, likeness, (probes, 1)) + rng.normal(0, 0.1, (probes, patients)))


def fitted(made: np.ndarray) -> OpenSet:
    searches = np.repeat(np.arange(len(made)), made.shape[1])
    found = fit_open_set(made.ravel(), searches, searches)
    assert found is not None
    return found


GUARD = fitted(scores(1, 400, 200))


@pytest.mark.parametrize("patients", [200, 2000])
@pytest.mark.parametrize("likeness", [0.0, 0.05, 0.15])
def test_one_in_a_hundred_stays_one_in_a_hundred_as_the_gallery_grows(patients: int, likeness: float) -> None:
    guard = fitted(scores(2, 400, 200, likeness))
    best = scores(3, 3000, patients, likeness).max(axis=1)
    seen = np.mean([guard.p_value(float(score), patients) <= 0.01 for score in best])
    # 400 people and 3,000 searches leave some chance to the promise of 0.005 to 0.02.
    assert 0.004 <= seen <= 0.022


def test_the_independence_formula_would_have_been_wrong() -> None:
    """The test above can fail: 1 - (1 - FMR)^N takes the likeness of a probe for so many coincidences."""
    pooled = np.sort(scores(2, 400, 200, 0.15).ravel())
    allowed = 1 - 0.9 ** (1 / 200)
    threshold = pooled[int(np.ceil(len(pooled) * (1 - allowed))) - 1]
    best = scores(3, 3000, 200, 0.15).max(axis=1)
    assert (best >= threshold).mean() < 0.05, "half of what was asked for, and so many mates are missed"


def test_thresholds_rise_with_the_gallery_and_with_the_demand() -> None:
    sizes = [GUARD.threshold(0.01, n) for n in (1, 10, 200, 5_000, 10**6, 10**8)]
    assert np.all(np.diff(sizes) > 0)
    demands = [GUARD.threshold(rate, 200) for rate in (0.2, 0.05, 0.01)]
    assert np.all(np.diff(demands) > 0)
    assert GUARD.threshold(1e-4, 200) == math.inf, "400 people cannot vouch for one in ten thousand"


@settings(max_examples=200, deadline=None)
@given(low=st.floats(-1, 1), high=st.floats(-1, 1), n=st.integers(0, 10**7), more=st.integers(0, 10**7))
def test_p_values_fall_with_the_score_and_rise_with_the_gallery(low: float, high: float, n: int, more: int) -> None:
    low, high = min(low, high), max(low, high)
    assert GUARD.least_rate <= GUARD.p_value(high, n) <= GUARD.p_value(low, n) <= 1
    assert GUARD.p_value(low, n) <= GUARD.p_value(low, n + more) + 1e-12


@given(rate=st.floats(0.005, 0.4), n=st.integers(1, 10**6))
def test_the_threshold_is_where_the_p_value_meets_the_rate(rate: float, n: int) -> None:
    assert GUARD.p_value(GUARD.threshold(rate, n), n) == pytest.approx(rate, rel=0.01)


def test_few_people_promise_little() -> None:
    guard = fitted(scores(4, 30, 100))
    assert guard.p_value(0.9999, 100) == guard.least_rate == 1 / 31
    assert fit_open_set(np.ones(100), np.arange(100), np.arange(100)) is None, "searches of one patient"
    made = scores(5, MIN_PERSONS - 1, 100)
    searches = np.repeat(np.arange(len(made)), 100)
    assert fit_open_set(made.ravel(), searches, searches) is None


def test_many_probes_of_one_person_are_one_person() -> None:
    made = scores(6, 200, 100)
    searches = np.repeat(np.arange(200), 100)
    guard = fit_open_set(made.ravel(), searches, searches // 5)
    assert guard is not None
    assert (guard.persons, guard.searches, guard.compared) == (40, 200, 100)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_scores_that_are_all_equal_pass_nobody(value: float) -> None:
    guard = fitted(np.full((50, 50), value))
    assert guard.p_value(value, 50) > 0.5
    assert math.isfinite(guard.threshold(0.1, 10**6))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(CalibrationError):
        GUARD.p_value(bad, 10)


def test_several_looks_share_one_promise() -> None:
    assert bonferroni([]) == 1.0
    assert bonferroni([0.004]) == 0.004
    assert bonferroni([0.004, 1.0, 0.5]) == pytest.approx(0.012)
    assert bonferroni([0.9, 0.8]) == 1.0
