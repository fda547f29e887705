"""The demo's cohort: enrolment visits, then orphans with their truth."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from config.errors import CommandError
from training.cohort.demo import DemoSize, build_demo_cohort
from training.cohort.visit import Dials
from training.manifests.files import read_manifest


def test_orphans_are_later_visits_with_a_known_truth(tmp_path: Path, small: Dials) -> None:
    size = DemoSize(enrolled=2, strangers=1, mated_ct=1, mated_dx=2, stranger_ct=1, stranger_dx=1)
    steps: list[int] = []
    cohort = build_demo_cohort(
        tmp_path,
        77,
        progress=lambda done, total, label: steps.append(total - done),
        size=size,
        processes=1,
        dials=small,
    )
    assert steps == list(range(len(steps)))[::-1]
    assert len(cohort.orphans) == 5
    enrolled = {study.truth for study in cohort.enrolment}
    assert [study.truth in enrolled for study in cohort.orphans] == [True, True, True, False, False]
    assert len({study.kind for study in cohort.orphans}) == 5
    studies = [*cohort.enrolment, *cohort.orphans]
    assert len({study.study_uid for study in studies}) == len(studies)
    truth = {row.study: row for row in read_manifest(cohort.manifest).rows()}
    for study in studies:
        for path in study.files:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            assert ds.StudyInstanceUID == study.study_uid
            assert (ds.get("PatientID") == truth[study.study_uid].patient_id) == (study.kind == "")
    latest = {
        row.patient_id: max(r.days for r in truth.values() if r.patient_id == row.patient_id) for row in truth.values()
    }
    for study in cohort.orphans:
        assert truth[study.study_uid].days <= latest[truth[study.study_uid].patient_id]


def test_a_demo_without_strangers_asks_for_none() -> None:
    with pytest.raises(CommandError):
        DemoSize(strangers=0)
    assert DemoSize(strangers=0, stranger_ct=0, stranger_dx=0).enrolled == 8
