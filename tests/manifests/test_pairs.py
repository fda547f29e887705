"""Pairs: never within a study, by role and rule, the same row by row and all at once."""

from __future__ import annotations

from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CommandError
from training.manifests.pairs import Rule, comparable, comparable_mask, keys_of, mated_mask, training_pairs
from training.manifests.schema import Role, Row

_rows = st.lists(
    st.builds(
        Row,
        path=st.just("x.png"),
        patient_id=st.sampled_from(["A", "B", "AB", "C"]),
        # Studies are told apart only together with their patient, and "A" + "B1" is not "AB" + "1".
        study=st.sampled_from(["1", "B1", "2"]),
        issuer=st.sampled_from(["", "North"]),
        view=st.sampled_from(["", "PA", "AP", "LL", "RL", "MACULA"]),
        laterality=st.sampled_from(["", "L", "R"]),
        modality=st.sampled_from(["", "CR", "DX", "CT"]),
        days=st.none() | st.integers(0, 40),
        role=st.sampled_from(Role),
    ),
    max_size=14,
)
_rules = st.builds(
    Rule,
    same_view=st.booleans(),
    same_laterality=st.booleans(),
    same_modality=st.booleans(),
    min_days=st.sampled_from([0, 1, 14]),
)


def study_of(row: Row) -> tuple[str, str, str]:
    return row.issuer, row.patient_id, row.study


def patient_of(row: Row) -> tuple[str, str]:
    return row.issuer, row.patient_id


@settings(deadline=None)
@given(probes=_rows, gallery=_rows, rule=_rules)
def test_the_mask_says_what_the_rows_say(probes: list[Row], gallery: list[Row], rule: Rule) -> None:
    mask = comparable_mask(keys_of(probes), keys_of(gallery), rule)
    mated = mated_mask(keys_of(probes), keys_of(gallery))
    assert mask.shape == mated.shape == (len(probes), len(gallery))
    for (i, probe), (j, entry) in product(enumerate(probes), enumerate(gallery)):
        assert mask[i, j] == comparable(probe, entry, rule)
        assert mated[i, j] == (patient_of(probe) == patient_of(entry))


@settings(deadline=None)
@given(probes=_rows, gallery=_rows, rule=_rules)
def test_no_pair_shares_a_study(probes: list[Row], gallery: list[Row], rule: Rule) -> None:
    for probe, entry in product(probes, gallery):
        if comparable(probe, entry, rule):
            assert study_of(probe) != study_of(entry)
            assert probe.role in (Role.PROBE, Role.BOTH)
            assert entry.role in (Role.GALLERY, Role.BOTH, Role.DISTRACTOR)


@settings(deadline=None)
@given(rows=_rows, rule=_rules, seed=st.integers(0, 3))
def test_training_pairs_share_no_study(rows: list[Row], rule: Rule, seed: int) -> None:
    try:
        pairs = list(training_pairs(keys_of(rows), seed, rule, negatives=2))
    except CommandError as error:
        assert error.reason == "NO_PAIRS"
        return
    for pair in pairs:
        first, second = rows[pair.first], rows[pair.second]
        assert study_of(first) != study_of(second)
        assert pair.mated == (patient_of(first) == patient_of(second))
    assert [pair.mated for pair in pairs] == [True, False, False] * (len(pairs) // 3)
    assert pairs == list(training_pairs(keys_of(rows), seed, rule, negatives=2))


@pytest.mark.parametrize(
    ("one", "other", "rule", "expected"),
    [
        ({}, {}, Rule(), True),
        ({"view": "PA"}, {"view": "AP"}, Rule(same_view=True), True),
        ({"view": "PA"}, {"view": "LL"}, Rule(same_view=True), False),
        ({}, {}, Rule(same_view=True), False),
        ({}, {}, Rule(same_view=True, same_laterality=True, unknown_alike=True), True),
        ({"view": "PA"}, {}, Rule(same_view=True, unknown_alike=True), False),
        ({"laterality": "L"}, {"laterality": "R"}, Rule(), True),
        ({"laterality": "L"}, {"laterality": "R"}, Rule(same_laterality=True), False),
        ({"modality": "CR"}, {"modality": "DX"}, Rule(same_modality=True), True),
        ({"modality": "CT"}, {"modality": "DX"}, Rule(same_modality=True), False),
        ({"days": 0}, {"days": 7}, Rule(min_days=7), True),
        ({"days": 7}, {"days": 0}, Rule(min_days=8), False),
        ({"days": 0}, {}, Rule(min_days=1), False),
        ({"patient_id": "B"}, {}, Rule(min_days=1), True),
        ({"role": Role.GALLERY}, {}, Rule(), False),
        ({"role": Role.DISTRACTOR}, {}, Rule(), False),
        ({}, {"role": Role.DISTRACTOR}, Rule(), True),
        ({}, {"role": Role.PROBE}, Rule(), False),
    ],
)
def test_rules(one: dict[str, object], other: dict[str, object], rule: Rule, expected: bool) -> None:
    probe = Row(**{"path": "a", "patient_id": "A", "study": "1", **one})  # type: ignore[arg-type]
    entry = Row(**{"path": "b", "patient_id": "A", "study": "2", **other})  # type: ignore[arg-type]
    assert comparable(probe, entry, rule) is expected


def test_patients_of_one_image_are_only_strangers() -> None:
    rows = [Row("x", "A", "1"), Row("x", "A", "2"), *(Row("x", f"S{n}", "1") for n in range(50))]
    keys = keys_of(rows)
    (mated, *strangers) = training_pairs(keys, 1, negatives=200)
    assert {mated.first, mated.second} == {0, 1}
    assert len(strangers) == 200
    assert {index for pair in strangers for index in (pair.first, pair.second)} > set(range(10, 40))


def test_a_patient_with_many_studies_does_not_drown_the_others() -> None:
    rows = [Row("x", "A", str(n)) for n in range(60)] + [Row("x", "B", str(n)) for n in range(2)]
    keys = keys_of(rows)
    mated = [pair for pair in training_pairs(keys, 1, per_patient=20) if pair.mated]
    assert len(mated) == 21
    assert len({(pair.first, pair.second) for pair in mated}) == 21


def test_pairs_that_cannot_be_made() -> None:
    alone = keys_of([Row("x", f"S{n}", "1") for n in range(5)])
    single = keys_of([Row("x", "A", "1"), Row("x", "A", "2")])
    for keys in (alone, single, keys_of([])):
        with pytest.raises(CommandError) as caught:
            list(training_pairs(keys, 1))
        assert caught.value.reason == "NO_PAIRS"


def test_pairs_are_streamed() -> None:
    keys = keys_of(Row("x", f"P{n // 2}", str(n)) for n in range(20_000))
    assert len(list(islice(training_pairs(keys, 1), 10))) == 10


def test_keys_of_several_chunks_keep_their_order() -> None:
    rows = [Row("x", f"P{n}", "1", days=n) for n in range(5000)]
    keys = keys_of(iter(rows))
    assert len(keys) == 5000
    np.testing.assert_array_equal(keys.days, np.arange(5000))
    np.testing.assert_array_equal(keys.take(np.array([4999])).patient, keys_of(rows[-1:]).patient)
