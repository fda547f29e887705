"""Cohorts: same seed, same bytes, whatever the number of processes; a manifest that holds the truth."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pydicom
import pytest

from config.errors import CommandError, StorageError
from training.cohort.cohort import CohortPlan, StudyPlan, make_cohort, make_studies
from training.cohort.visit import Dials
from training.manifests.files import read_manifest
from training.manifests.schema import Role

BOTH = ("head-ct", "chest-film")


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_alone_and_in_parallel(tmp_path: Path, small: Dials) -> None:
    cohort = CohortPlan(2, 5, 1, BOTH, small)
    one = make_cohort(tmp_path / "one", cohort)
    two = make_cohort(tmp_path / "two", cohort, processes=2)
    assert digests(one.folder) == digests(two.folder)
    other = make_cohort(tmp_path / "other", CohortPlan(1, 6, 1, ("chest-film",), small))
    assert {row.study for row in one.rows()}.isdisjoint(row.study for row in other.rows())
    assert {row.patient_id for row in one.rows()}.isdisjoint(row.patient_id for row in other.rows())


def test_the_manifest_tells_the_truth_about_every_file(tmp_path: Path, small: Dials) -> None:
    said: list[tuple[int, int, str]] = []
    manifest = make_cohort(tmp_path, CohortPlan(2, 8, 2, BOTH, small), progress=lambda *step: said.append(step))
    rows = list(read_manifest(manifest.path).rows())
    assert len(rows) == 8
    assert [step[:2] for step in said] == [(n, 8) for n in range(1, 9)]
    for row in rows:
        files = manifest.files(row)
        assert len(files) == row.instances
        ds = pydicom.dcmread(files[0], stop_before_pixels=True)
        assert (row.patient_id, row.issuer, row.study, row.series) == (
            ds.PatientID,
            ds.IssuerOfPatientID,
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
        )
        assert (row.modality, row.device, row.sex) == (ds.Modality, ds.StationName, ds.PatientSex)
        assert row.instance in ("", ds.SOPInstanceUID)
    assert len({row.study for row in rows}) == 8


def test_every_patient_has_as_many_visits_as_asked_for() -> None:
    cohort = CohortPlan(50, 3, (2, 3), ("chest-film",), distractors=7)
    plans = list(cohort.studies())
    assert len(plans) == len(cohort)
    counts = {number: len(list(group)) for number, group in itertools.groupby(plans, key=lambda one: one.number)}
    assert sorted(counts) == list(range(1, 58))
    assert {counts[number] for number in range(1, 51)} == {2, 3}
    assert {counts[number] for number in range(51, 58)} == {1}
    assert {one.role for one in plans if one.number > 50} == {Role.DISTRACTOR}


def test_an_endless_cohort_streams(tmp_path: Path, small: Dials) -> None:
    endless = (StudyPlan(3, number, 0, "chest-film", small) for number in itertools.count(1))
    rows = list(itertools.islice(make_studies(tmp_path, endless), 3))
    assert [row.patient_id for (row, *_) in rows] == ["PH-3-00001", "PH-3-00002", "PH-3-00003"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0},
        {"seed": -1},
        {"visits": 0},
        {"visits": (3, 2)},
        {"distractors": -1},
        {"kinds": ()},
        {"kinds": ("head-ct", "foot-ct")},
    ],
)
def test_arguments_that_make_no_cohort_are_named(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"patients": 1, "seed": 1, **wrong}
    with pytest.raises(CommandError):
        CohortPlan(**arguments)  # type: ignore[arg-type]


def test_a_folder_with_a_cohort_is_left_alone(tmp_path: Path, small: Dials) -> None:
    make_cohort(tmp_path, CohortPlan(1, 1, 1, ("chest-film",), small))
    before = digests(tmp_path)
    with pytest.raises(CommandError, match="holds a cohort"):
        make_cohort(tmp_path, CohortPlan(1, 2, 1, ("chest-film",), small))
    assert digests(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, small: Dials) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        make_cohort(tmp_path / "file" / "cohort", CohortPlan(1, 1, 1, ("chest-film",), small))


def test_labels_are_those_that_the_kind_can_show(tmp_path: Path, small: Dials) -> None:
    manifest = make_cohort(tmp_path, CohortPlan(1, 4, 1, BOTH, small))
    head, chest = manifest.rows()
    assert head.labels["sinusitis"] in "01" and not head.labels["effusion"]
    assert chest.labels["effusion"] in "01" and not chest.labels["sinusitis"]
