"""Scores become likelihood ratios that are right on average and never claim more than their data support."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CalibrationError
from inference.calibration import (
    Calibration,
    Pair,
    fit_calibration,
    from_json,
    read_calibration,
    to_json,
    write_calibration,
)
from training.evaluation.metrics import cllr, min_cllr


def gaussian(seed: int, mated: int = 400, nonmated: int = 20_000, gap: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Equal variances of Fisher's z: the log LR is affine in it, so the truth is known."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(0.3 + gap, 0.1, mated)), np.tanh(rng.normal(0.3, 0.1, nonmated))


def fitted(mated: np.ndarray, nonmated: np.ndarray, **strata: list[str]) -> Calibration:
    return fit_calibration(
        mated, nonmated, encoder="e", version="1", scope="site", fitted_on="a test", patients=100, **strata
    )


FITTED = fitted(*gaussian(1))


def test_it_finds_the_true_likelihood_ratio() -> None:
    z = np.linspace(0.3, 0.6, 7)
    truth = (0.3 / 0.01 * (z - 0.45)) / math.log(10)
    np.testing.assert_allclose(FITTED.log10_lr(np.tanh(z)), truth, atol=0.2)


def test_it_is_calibrated_on_fresh_scores() -> None:
    mated, nonmated = gaussian(2)
    found = cllr(FITTED.log10_lr(mated), FITTED.log10_lr(nonmated))
    assert found - min_cllr(mated, nonmated) < 0.03
    assert found < 0.5


def test_the_largest_claim_is_bounded_by_the_number_of_impostors() -> None:
    assert FITTED.log10_lr(10.0) == pytest.approx(math.log10(20_001))
    assert FITTED.largest_log10_lr == pytest.approx(math.log10(20_001))
    assert FITTED.log10_lr(-10.0) == pytest.approx(-math.log10(401))


def test_a_look_alike_in_the_data_caps_its_score() -> None:
    mated, nonmated = gaussian(3)
    free = fitted(mated, nonmated).log10_lr(0.99)
    capped = fitted(mated, np.append(nonmated, [0.995] * 30)).log10_lr(0.99)
    assert free > 4
    assert capped <= math.log10(20_031 / 31) + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    gap=st.floats(-0.2, 2.0),
    spread=st.floats(1e-6, 1.0),
    scores=st.lists(st.floats(-1, 1), min_size=2, max_size=20),
)
def test_it_never_falls_and_respects_both_tails(seed: int, gap: float, spread: float, scores: list[float]) -> None:
    rng = np.random.default_rng(seed)
    mated, nonmated = rng.normal(gap, spread, 30), np.round(rng.normal(0, spread, 500), 2)
    found = fitted(mated, nonmated)
    ordered = np.sort(scores)
    values = found.log10_lr(ordered)
    assert (np.diff(values) >= -1e-12).all()
    exceed = (nonmated[None] >= ordered[:, None]).sum(axis=1)
    below = (mated[None] <= ordered[:, None]).sum(axis=1)
    assert (values <= -np.log10((1 + exceed) / 501) + 1e-9).all()
    assert (values >= np.log10((1 + below) / 31) - 1e-9).all()
    assert np.array_equal(from_json(to_json(found)).log10_lr(ordered), values)


def test_scores_that_fall_for_mates_say_nothing() -> None:
    nonmated, mated = gaussian(4, mated=5000, nonmated=500)
    assert set(np.abs(fitted(mated, nonmated).log10_lr(np.linspace(-1, 1, 50))).tolist()) == {0.0}


def test_strata_lean_on_the_whole_while_they_are_small() -> None:
    mated, nonmated = gaussian(5)
    shifted, others = gaussian(6, mated=25, nonmated=500)
    found = fitted(
        np.append(mated, shifted + 0.3),
        np.append(nonmated, others + 0.3),
        mated_strata=["DX/FRONTAL"] * len(mated) + ["DX/LATERAL"] * 25,
        nonmated_strata=["DX/FRONTAL"] * len(nonmated) + ["DX/LATERAL"] * 500,
    )
    alone = fitted(shifted + 0.3, others + 0.3).overall
    small = found.strata["DX/LATERAL"]
    low, high = sorted((alone.intercept, found.overall.intercept))
    assert low < small.intercept < high
    lateral = Pair.alike("DX", "LATERAL")
    assert found.log10_lr(5.0, lateral) == pytest.approx(math.log10(501)), "its own data bound it"
    assert found.log10_lr(0.5, Pair.alike("MR")) == found.overall.log10_lr(0.5), "an unseen stratum takes the whole"
    assert found.map_of(lateral.with_quality(0.9)) is small, "an unseen band takes the next coarser stratum"


@pytest.mark.parametrize(("mated", "nonmated"), [(0, 0), (19, 1000), (100, 99)])
def test_too_little_data_is_refused(mated: int, nonmated: int) -> None:
    with pytest.raises(CalibrationError, match="enrol more patients"):
        fitted(np.zeros(mated), np.zeros(nonmated))


def test_equal_scores_everywhere_are_neutral() -> None:
    assert fitted(np.zeros(50), np.zeros(500)).log10_lr(0.0) == pytest.approx(0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    mated, nonmated = gaussian(7)
    with pytest.raises(CalibrationError):
        fitted(np.append(mated, bad), nonmated)
    with pytest.raises(CalibrationError):
        FITTED.log10_lr([0.1, bad])


def test_a_calibration_of_another_version_is_refused() -> None:
    FITTED.require("e", "1")
    with pytest.raises(CalibrationError, match="not for e 2"):
        FITTED.require("e", "2")


def test_a_file_survives_the_round_trip(tmp_path: Path) -> None:
    write_calibration(FITTED, tmp_path / "deep" / "e.json")
    assert read_calibration(tmp_path / "deep" / "e.json") == FITTED


def _damaged() -> dict[str, str]:
    good = json.loads(to_json(FITTED))
    tail = good["overall"]["nonmated_tail"]
    return {
        "no JSON": "{",
        "a list": "[]",
        "an older format": json.dumps(good | {"format": 2}),
        "other format": json.dumps(good | {"format": 99}),
        "unknown key": json.dumps(good | {"extra": 1}),
        "unknown scope": json.dumps(good | {"scope": "everyone"}),
        "falling map": json.dumps(good | {"overall": good["overall"] | {"slope": -1.0}}),
        "NaN": json.dumps(good | {"overall": good["overall"] | {"intercept": math.nan}}),
        "unsorted tail": json.dumps(
            good | {"overall": good["overall"] | {"nonmated_tail": tail | {"scores": tail["scores"][::-1]}}}
        ),
        "short tail": json.dumps(good | {"overall": good["overall"] | {"nonmated_tail": tail | {"n": 10}}}),
    }


@pytest.mark.parametrize("name", list(_damaged()))
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.json").write_text(_damaged()[name])
    with pytest.raises(CalibrationError, match=r"bad\.json"):
        read_calibration(tmp_path / "bad.json")
    with pytest.raises(CalibrationError):
        read_calibration(tmp_path / "absent.json")


def test_an_older_format_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(_damaged()["an older format"])
    with pytest.raises(CalibrationError, match="medreid calibrate") as error:
        read_calibration(tmp_path / "old.json")
    assert error.value.reason == "CALIBRATION_FORMAT"


@pytest.mark.parametrize("name", ["DX/FRONTAL@HIGH", "CT/+DX/FRONTAL", "DX/FRONTAL+DX/LATERAL@LOW", "/"])
def test_pairs_have_names_that_can_be_read(name: str) -> None:
    assert Pair.of_name(name).name == name


def test_a_stratum_leans_on_the_next_coarser_one() -> None:
    assert Pair.of_name("DX/FRONTAL@HIGH").levels() == ("DX/FRONTAL@HIGH", "DX/FRONTAL", "DX", "")
    assert Pair.of_name("CT/+DX/FRONTAL@LOW").levels() == ("CT/+DX/FRONTAL@LOW", "CT/+DX/FRONTAL", "CT+DX")
    assert Pair.of_name("DX/FRONTAL+DX/LATERAL").levels() == ("DX/FRONTAL+DX/LATERAL",)


def test_missing_a_list_says_less_than_ending_it() -> None:
    for score in np.linspace(-0.5, 0.9, 20):
        below = FITTED.overall.log10_lr_below(float(score))
        assert below <= FITTED.log10_lr(score)
    assert FITTED.overall.log10_lr_below(0.999) == pytest.approx(0.0, abs=0.01), "nobody misses such a list"
