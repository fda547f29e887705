"""Audits fail loudly on a test set that is faulty, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.audits import audits, device, near_duplicates, shared_study, splits
from training.evaluation.enrolling import DETAIL_SIZE, FLOOR_SIZE, Enrolled
from training.evaluation.floors import metadata_vectors
from training.manifests.schema import Role, Row


def silent(*_: object) -> None: ...


def unit(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    values = rng.standard_normal(shape).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def enrolled(rows: Sequence[Row], seed: int = 0, study_uids: Sequence[str] | None = None) -> Enrolled:
    rng = np.random.default_rng(seed)
    return Enrolled(
        rows=rows,
        vectors=unit(rng, (len(rows), 8)),
        cropped=None,
        pixels=unit(rng, (len(rows), 3 * FLOOR_SIZE**2)),
        details=unit(rng, (len(rows), DETAIL_SIZE**2)).astype(np.float16),
        words=[()] * len(rows),
        study_uids=study_uids or [""] * len(rows),
        failed=np.zeros(len(rows), bool),
        reasons={},
    )


def cohort(persons: int = 30, studies: int = 3, *, coupled: bool) -> list[Row]:
    """Studies on four machines: dealt at random, or one machine to each person."""
    rng = np.random.default_rng(5)
    return [
        Row(f"{n}-{k}.png", f"P{n}", f"S{k}", device=f"D{n % 4 if coupled else rng.integers(4)}", site="A")
        for n in range(persons)
        for k in range(studies)
    ]


def test_a_sound_test_set_passes_every_audit() -> None:
    assert [one.name for one in audits(enrolled(cohort(coupled=False)), silent) if not one.passed] == []


def test_machines_that_tell_the_person_are_named() -> None:
    found = device(enrolled(cohort(coupled=True)))
    assert not found.passed
    assert found.value == 1.0
    assert found.expected == pytest.approx(0.25, abs=0.05)
    assert "shortcut" in found.statement


def test_machines_in_the_header_alone_are_found_as_well() -> None:
    rows = [replace(row, device="", site="") for row in cohort(coupled=True)]
    made = enrolled(rows)
    words = [(("StationName", f"D{int(row.patient_id[1:]) % 4}"),) for row in rows]
    assert not device(replace(made, words=words)).passed


def test_one_machine_tells_nothing() -> None:
    rows = [replace(row, device="D0") for row in cohort(coupled=False)]
    assert device(enrolled(rows)).passed


@pytest.mark.parametrize("across", ["patients", "studies"])
def test_a_picture_that_is_there_twice_is_found(across: str) -> None:
    rows = cohort(coupled=False)
    made = enrolled(rows)
    source, copy = (0, 40) if across == "patients" else (0, 2)
    noise = 0.02 * unit(np.random.default_rng(9), (1, DETAIL_SIZE**2))[0]
    made.details[copy] = made.details[source] + noise.astype(np.float16)
    made.pixels[copy] = made.pixels[source]
    found = near_duplicates(made, silent)
    assert not found.passed
    assert found.examples == ((rows[source].path, rows[copy].path),)
    assert f"{1 if across == 'patients' else 0} of them under two patients" in found.statement


def test_two_views_of_one_study_may_be_alike() -> None:
    rows = [Row("a.png", "P", "S"), Row("b.png", "P", "S"), Row("c.png", "Q", "S")]
    made = enrolled(rows)
    made.details[1], made.pixels[1] = made.details[0], made.pixels[0]
    assert near_duplicates(made, silent).passed


def test_a_study_on_both_sides_is_found_by_its_roles() -> None:
    rows = [Row("a.png", "P", "S", role=Role.PROBE), Row("b.png", "P", "S", role=Role.GALLERY)]
    found = shared_study(enrolled(rows))
    assert not found.passed and found.examples == (("a.png", "b.png"),)
    other = [rows[0], replace(rows[1], study="T")]
    assert shared_study(enrolled(other)).passed


@pytest.mark.parametrize("patient", ["P", "Q"])
def test_a_study_under_two_names_is_found_by_its_uid(patient: str) -> None:
    rows = [Row("a.dcm", "P", "1"), Row("b.dcm", patient, "2")]
    assert not shared_study(enrolled(rows, study_uids=["1.2.3", "1.2.3"])).passed
    assert shared_study(enrolled(rows, study_uids=["1.2.3", "1.2.4"])).passed


def test_a_patient_in_two_splits_is_found() -> None:
    rows = [Row("a.png", "P", "1", split="train"), Row("b.png", "P", "2", split="test")]
    assert not splits(rows).passed
    assert splits([rows[0], replace(rows[1], patient_id="Q")]).passed


def test_what_two_images_have_in_common_weighs_by_its_rarity() -> None:
    rows = [
        Row(f"{n}", f"P{n}", "S", sex="F" if n < 8 else "M", device="D1" if n in (0, 9) else "D2") for n in range(10)
    ]
    vectors = metadata_vectors(enrolled(rows))
    common, rare = float(vectors[1] @ vectors[2]), float(vectors[0] @ vectors[9])
    assert common == pytest.approx(2 * -np.log2(0.8), rel=1e-5)
    assert rare == pytest.approx(-np.log2(0.2), rel=1e-5)
