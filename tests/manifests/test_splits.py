"""Splits: by patient, the same for ever, exact by stratum where asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CommandError
from training.manifests.schema import Row
from training.manifests.splits import assign_splits, splits_are_by_patient

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}

_patients = st.sampled_from("ABCDEFGHIJ")
_rows = st.lists(
    st.builds(
        lambda patient, issuer, study, label: Row("x.png", patient, study, issuer, labels={"finding": label}),
        _patients,
        st.sampled_from(["", "North", "South"]),
        st.sampled_from("123"),
        st.sampled_from(["", "yes", "no"]),
    ),
    max_size=60,
)


def many(patients: int, images: int = 2) -> list[Row]:
    return [Row(f"{p}-{i}.png", f"P{p}", f"S{i}") for p in range(patients) for i in range(images)]


@settings(deadline=None)
@given(rows=_rows, seed=st.integers(0, 5), stratify=st.sampled_from(["", "finding"]))
def test_no_patient_is_in_two_splits(rows: list[Row], seed: int, stratify: str) -> None:
    assigned = list(assign_splits(rows, SHARES, seed, stratify=stratify))
    assert [replace(row, split="") for row in assigned] == rows
    assert {row.split for row in assigned} <= set(SHARES)
    counts = splits_are_by_patient(assigned)
    assert sum(counts.values()) == len({(row.issuer, row.patient_id) for row in rows})


def test_a_patients_split_depends_on_nobody_else() -> None:
    rows = many(200)
    of = {row.patient_id: row.split for row in assign_splits(rows, SHARES, 1)}
    some = assign_splits(reversed(rows[::3]), SHARES, 1)
    assert all(row.split == of[row.patient_id] for row in some)


def test_another_seed_and_another_issuer_are_another_draw() -> None:
    def splits(rows: list[Row], seed: int) -> list[str]:
        return [row.split for row in assign_splits(rows, SHARES, seed)]

    rows = many(200, 1)
    assert splits(rows, 1) == splits(rows, 1)
    assert splits(rows, 1) != splits(rows, 2)
    assert splits(rows, 1) != splits([replace(row, issuer="North") for row in rows], 1)


def test_shares_are_met_on_average() -> None:
    counts = splits_are_by_patient(assign_splits(many(5000, 1), SHARES, 3))
    # Four standard deviations of a binomial draw.
    for name, share in SHARES.items():
        assert abs(counts[name] - 5000 * share) < 4 * (5000 * share * (1 - share)) ** 0.5


def test_strata_are_cut_to_within_one_patient() -> None:
    rows = [replace(row, labels={"ill": str(int(row.patient_id[1:]) % 10 == 0)}) for row in many(200)]
    assigned = list(assign_splits(rows, SHARES, 1, stratify="ill"))
    for ill, number in (("True", 20), ("False", 180)):
        patients = {(row.patient_id, row.split) for row in assigned if row.labels["ill"] == ill}
        counts = Counter(split for _, split in patients)
        assert all(abs(counts[name] - share * number) <= 1 for name, share in SHARES.items())


def test_strata_of_one_patient_do_not_all_fall_to_the_largest_share() -> None:
    rows = [replace(row, labels={"finding": row.patient_id}) for row in many(1000, 1)]
    counts = splits_are_by_patient(assign_splits(rows, SHARES, 1, stratify="finding"))
    assert all(abs(counts[name] / 1000 - share) < 0.06 for name, share in SHARES.items())


def test_a_stratified_split_needs_rows_that_can_be_read_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        assign_splits(iter(many(3)), SHARES, 1, stratify="ill")


def test_the_publishers_split_stands() -> None:
    rows = [replace(row, split="official") for row in many(20)]
    assert list(assign_splits(rows, SHARES, 1)) == rows


def test_half_a_publishers_split_is_none() -> None:
    rows = many(4)
    rows[3] = replace(rows[3], split="test")
    with pytest.raises(CommandError) as caught:
        list(assign_splits(rows, SHARES, 1))
    assert caught.value.reason == "SPLIT_PARTIAL"


def test_a_patient_in_two_splits_is_found() -> None:
    rows = [replace(row, split="train") for row in many(10)]
    rows[7] = replace(rows[7], split="test")
    with pytest.raises(CommandError) as caught:
        splits_are_by_patient(rows)
    assert caught.value.reason == "SPLIT_LEAK"
    assert "1 of 10 patients" in str(caught.value)
    assert "row 8" in str(caught.value)
    # The same number at two hospitals is two people.
    assert splits_are_by_patient([replace(row, issuer=row.split) for row in rows]) == {"test": 1, "train": 10}


@pytest.mark.parametrize(
    "shares", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": float("nan")}, {" ": 1.0}]
)
def test_shares_that_are_none(shares: dict[str, float]) -> None:
    with pytest.raises(CommandError) as caught:
        assign_splits([], shares, 1)
    assert caught.value.reason == "SPLIT_SHARES"
