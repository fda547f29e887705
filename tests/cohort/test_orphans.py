"""Orphans: every kind has lost its patient by the node's own default rules, and nothing but its patient."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from config.errors import CommandError
from config.settings import load_settings
from dicom_node.ledger.records import ReceivedIdentity
from dicom_node.orphans import OrphanDetector
from inference.types import PatientKey
from training.cohort.dicom_dx import write_chest_radiograph
from training.cohort.orphans import make_orphan, orphan_kinds
from training.cohort.person import person
from training.cohort.visit import visit


class Nobody:
    def persons(self, key: PatientKey) -> int:
        return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from tests.cohort.conftest import SMALL

    who = person(9, 1)
    return pydicom.dcmread(write_chest_radiograph(tmp_path_factory.mktemp("dx"), who, visit(who, 0, SMALL))[0])


def received(ds: Dataset) -> ReceivedIdentity:
    return ReceivedIdentity(
        patient_id=str(ds.get("PatientID", "") or ""),
        issuer=str(ds.get("IssuerOfPatientID", "") or ""),
        name=str(ds.get("PatientName", "") or ""),
        birth_date=str(ds.get("PatientBirthDate", "") or ""),
        sex=str(ds.get("PatientSex", "") or ""),
    )


@pytest.fixture(scope="module")
def detector() -> OrphanDetector:
    settings = load_settings(environment={})
    return OrphanDetector(settings.orphans, settings.identity)


def test_a_whole_study_is_no_orphan(whole: Dataset, detector: OrphanDetector) -> None:
    assert detector.assess([received(whole)], Nobody()).key == PatientKey("PHANTOM", "PH-9-00001")


@pytest.mark.parametrize("kind", orphan_kinds())
def test_every_kind_lacks_identity(kind: str, whole: Dataset, detector: OrphanDetector, tmp_path: Path) -> None:
    orphan = make_orphan(whole, kind)
    path = tmp_path / "orphan.dcm"
    orphan.save_as(path)
    read = pydicom.dcmread(path)
    assert detector.assess([received(read)], Nobody()).is_orphan
    raw = path.read_bytes()
    assert b"PH-9-00001" not in raw
    assert b"PHANTOM^0001" not in raw
    assert "OtherPatientIDsSequence" not in read


@pytest.mark.parametrize("kind", orphan_kinds())
def test_nothing_but_the_patient_is_lost(kind: str, whole: Dataset) -> None:
    before = pydicom.dcmread(whole.filename)
    orphan = make_orphan(whole, kind)
    changed = {
        element.keyword for element in before if element.tag not in orphan or orphan[element.tag].value != element.value
    }
    allowed = {"PatientID", "PatientName", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"}
    assert changed <= allowed
    assert whole == before


def test_kinds_are_all_different(whole: Dataset) -> None:
    traces = {str(received(make_orphan(whole, kind))) for kind in orphan_kinds()}
    # Absent and empty differ only in whether the elements are there.
    assert len(traces) >= len(orphan_kinds()) - 1
    assert "PatientID" not in make_orphan(whole, "absent")


def test_instances_of_a_study_lose_their_patient_alike(whole: Dataset) -> None:
    for kind in orphan_kinds():
        assert received(make_orphan(whole, kind)) == received(make_orphan(whole, kind))


def test_an_unknown_kind_is_named(whole: Dataset) -> None:
    with pytest.raises(CommandError, match="choose from"):
        make_orphan(whole, "eaten by the dog")
