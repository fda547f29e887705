"""Cohorts: same seed, same bytes, whatever the number of processes; a manifest that holds the truth."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import fields
from pathlib import Path

import pydicom
import pytest

from config.errors import CommandError, StorageError
from training.cohort.cohort import StudyPlan, make_cohort, make_studies, plan
from training.cohort.manifest import COLUMNS, Manifest, Row
from training.cohort.visit import Dials


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_alone_and_in_parallel(tmp_path: Path, small: Dials) -> None:
    one = make_cohort(tmp_path / "one", 2, 5, visits=1, dials=small)
    two = make_cohort(tmp_path / "two", 2, 5, visits=1, dials=small, processes=2)
    assert digests(one.folder) == digests(two.folder)
    other = make_cohort(tmp_path / "other", 1, 6, visits=1, modalities=("DX",), dials=small)
    assert {row.study for row in one.rows()}.isdisjoint(row.study for row in other.rows())
    assert {row.patient for row in one.rows()}.isdisjoint(row.patient for row in other.rows())


def test_the_manifest_tells_the_truth_about_every_file(tmp_path: Path, small: Dials) -> None:
    said: list[tuple[int, int, str]] = []
    manifest = make_cohort(tmp_path, 2, 8, visits=2, dials=small, progress=lambda *step: said.append(step))
    rows = list(Manifest(manifest.path).rows())
    assert len(rows) == len(manifest) == 8
    assert [step[:2] for step in said] == [(n, 8) for n in range(1, 9)]
    for row in rows:
        files = manifest.files(row)
        assert len(files) == row.instances
        ds = pydicom.dcmread(files[0], stop_before_pixels=True)
        assert (row.patient, row.issuer, row.study, row.series) == (
            ds.PatientID,
            ds.IssuerOfPatientID,
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
        )
        assert (row.modality, row.device, row.sex) == (ds.Modality, ds.StationName, ds.PatientSex)
        assert row.instance in ("", ds.SOPInstanceUID)
    assert len({row.study for row in rows}) == 8


def test_columns_are_the_fields_of_a_row() -> None:
    assert tuple(item.name for item in fields(Row)) == COLUMNS


def test_every_patient_has_as_many_visits_as_asked_for() -> None:
    plans = list(plan(50, 3, visits=(2, 3), modalities=("DX",)))
    counts = {number: len(list(group)) for number, group in itertools.groupby(plans, key=lambda one: one.number)}
    assert sorted(counts) == list(range(1, 51))
    assert set(counts.values()) == {2, 3}


def test_an_endless_cohort_streams(tmp_path: Path, small: Dials) -> None:
    endless = (StudyPlan(3, number, 0, "DX", small) for number in itertools.count(1))
    rows = list(itertools.islice(make_studies(tmp_path, endless), 3))
    assert [row.patient for row in rows] == ["PH-3-00001", "PH-3-00002", "PH-3-00003"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0},
        {"seed": -1},
        {"visits": 0},
        {"visits": (3, 2)},
        {"modalities": ()},
        {"modalities": ("CT", "XA")},
    ],
)
def test_arguments_that_make_no_cohort_are_named(tmp_path: Path, wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"patients": 1, "seed": 1, **wrong}
    with pytest.raises(CommandError):
        make_cohort(tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_cohort_is_left_alone(tmp_path: Path, small: Dials) -> None:
    make_cohort(tmp_path, 1, 1, visits=1, modalities=("DX",), dials=small)
    before = digests(tmp_path)
    with pytest.raises(CommandError, match="holds a cohort"):
        make_cohort(tmp_path, 1, 2, visits=1, modalities=("DX",), dials=small)
    assert digests(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, small: Dials) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        make_cohort(tmp_path / "file" / "cohort", 1, 1, visits=1, modalities=("DX",), dials=small)


def test_a_torn_manifest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("patient,path\nPH-1-00001,x\n")
    with pytest.raises(CommandError, match="lacks the columns"):
        list(Manifest(path).rows())
    path.write_text(",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n")
    with pytest.raises(CommandError, match="line 2"):
        list(Manifest(path).rows())
    path.write_text(",".join(COLUMNS) + "\nPHANTOM,PH-1-00001\n")
    with pytest.raises(CommandError, match="line 2"):
        list(Manifest(path).rows())
