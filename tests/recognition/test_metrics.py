"""Metrics against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.metrics import cllr, equal_error_rate, fnmr_at_fmr, mate_ranks, min_cllr, person_bootstrap

SCORES = st.lists(st.integers(-5, 5).map(lambda n: n / 4), min_size=1, max_size=25)


@given(mated=SCORES, nonmated=SCORES)
def test_cllr_is_its_definition(mated: list[float], nonmated: list[float]) -> None:
    genuine = np.mean([math.log2(1 + 10**-value) for value in mated])
    impostor = np.mean([math.log2(1 + 10**value) for value in nonmated])
    assert cllr(mated, nonmated) == pytest.approx((genuine + impostor) / 2, rel=1e-9)


def test_cllr_of_no_evidence_is_one_bit() -> None:
    assert cllr([0.0] * 3, [0.0] * 5) == pytest.approx(1.0)


@given(mated=SCORES, nonmated=SCORES)
def test_no_monotone_map_beats_min_cllr(mated: list[float], nonmated: list[float]) -> None:
    least = min_cllr(mated, nonmated)
    assert least <= 1.0 + 1e-9
    for slope in (0.0, 0.5, 1.0, 4.0):
        for offset in (-1.0, 0.0, 1.0):
            assert least <= cllr(slope * np.asarray(mated) + offset, slope * np.asarray(nonmated) + offset) + 1e-9


def test_min_cllr_of_separated_scores_is_zero() -> None:
    assert min_cllr([3.0, 4.0], [1.0, 2.0]) == pytest.approx(0.0)


@given(mated=SCORES, nonmated=SCORES)
def test_equal_error_rate_by_brute_force(mated: list[float], nonmated: list[float]) -> None:
    rates = [
        (np.mean([m < t for m in mated]), np.mean([n >= t for n in nonmated])) for t in sorted({*mated, *nonmated})
    ]
    gap = min(abs(a - b) for a, b in rates)
    expected = {round((a + b) / 2, 9) for a, b in rates if abs(a - b) <= gap + 1e-12}
    assert round(equal_error_rate(mated, nonmated), 9) in expected


@given(mated=SCORES, nonmated=SCORES, fmr=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_fnmr_at_fmr_by_brute_force(mated: list[float], nonmated: list[float], fmr: float) -> None:
    steps = sorted({*mated, *nonmated, -9.0, 9.0})
    thresholds = [t + 1e-6 for t in steps] + steps
    allowed = [t for t in thresholds if np.mean([n >= t for n in nonmated]) <= fmr + 1e-12]
    assert fnmr_at_fmr(mated, nonmated, fmr) == pytest.approx(np.mean([m < min(allowed) for m in mated]))


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_mate_ranks_by_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, mates = rng.normal(size=(6, 9)), rng.integers(0, 9, 6)
    expected = [1 + int(np.argsort(-row).tolist().index(int(mate))) for row, mate in zip(scores, mates, strict=True)]
    assert mate_ranks(scores, mates).tolist() == expected


def test_ties_count_against_the_mate() -> None:
    assert mate_ranks([[1.0, 1.0, 0.0]], [0]).tolist() == [2]


def test_the_bootstrap_draws_persons_and_not_images() -> None:
    rng = np.random.default_rng(5)
    persons = np.repeat(np.arange(40), 25)
    values = np.repeat(rng.random(40) < 0.5, 25).astype(float)
    low, high = person_bootstrap(persons, values)
    assert low < values.mean() < high
    assert high - low > 0.2, "25 images of one person are one observation"
    assert person_bootstrap(persons, values) == (low, high), "the same seed gives the same interval"
