"""The main job, end to end: real DICOM into a real node, its decisions, what people do with them, and undoing it."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner, Result

from dicom_node.archives.local import LocalArchive
from dicom_node.cli.app import command_line
from dicom_node.ledger import DecisionStatus, ItemKind, Ledger, Outcome, StudyState
from dicom_node.process import NodeProcess
from dicom_node.sending import send_files
from inference.types import PatientKey
from tests.node.conftest import in_state, settled, wait_for
from tests.node.films import ISSUER, film_dataset, known, study_uid, write_film

PERSONS = 4


def command(node: NodeProcess, *arguments: str) -> Result:
    """Runs ``medreid`` as a person at the node's machine would."""
    return CliRunner().invoke(
        command_line(),
        ["--config", str(node.site), *arguments],
        env={"MEDREID_HOME": str(node.home)},
        catch_exceptions=False,
    )


def send(node: NodeProcess, *files: Path) -> None:
    dicom = node.settings.dicom
    assert send_files(files, dicom.host, dicom.port, called_ae=dicom.ae_title) == len(files)


def archived(node: NodeProcess, uid: str) -> list[Dataset]:
    """What the local archive holds of a study, read back."""
    from pydicom.filebase import DicomBytesIO

    return [dcmread(DicomBytesIO(data)) for data in LocalArchive(node.settings.archive_folder).fetch(uid)]


@pytest.fixture
def enrolled(node_process: Callable[..., NodeProcess], tmp_path: Path) -> NodeProcess:
    """A running node with four patients, two studies each."""
    node = node_process()
    node.start()
    files = [write_film(tmp_path / "known", p, v, known(p)) for p in range(PERSONS) for v in range(2)]
    send(node, *files)
    with Ledger.of(node.settings) as ledger:
        for person in range(PERSONS):
            for visit in range(2):
                assert settled(ledger, study_uid(person, visit)).state is StudyState.ENROLLED
    return node


def test_an_orphan_is_reviewed_approved_late_slices_follow_and_undo_restores_every_byte(
    enrolled: NodeProcess, tmp_path: Path
) -> None:
    orphan = write_film(tmp_path / "orphan", 2, 7, None)
    before = sha256(dcmread(orphan).PixelData).hexdigest()
    send(enrolled, orphan)
    uid = study_uid(2, 7)
    with Ledger.of(enrolled.settings) as ledger:
        assert settled(ledger, uid).state is StudyState.REVIEW, "bundled calibrations never link by themselves"
        decision = ledger.decisions(study_uid=uid)[0]
        assert decision.outcome is Outcome.REVIEW
        assert "AUTOMATIC_LINK_NOT_ALLOWED" in decision.reasons
        assert decision.patient == PatientKey(ISSUER, known(2))
        (item,) = ledger.worklist(ItemKind.REVIEW)
        came_as = next(iter(LocalArchive(enrolled.settings.archive_folder).fetch(uid)))

        assert command(enrolled, "approve", str(item.id)).exit_code == 0
        assert ledger.study(uid).state is StudyState.LINKED
        (linked,) = archived(enrolled, uid)
        assert (linked.PatientID, linked.IssuerOfPatientID, str(linked.PatientName)) == (
            known(2), ISSUER, "PHANTOM^0002",
        )  # fmt: skip
        assert linked.OriginalAttributesSequence[0].ReasonForTheAttributeModification == "CORRECT"
        assert sha256(linked.PixelData).hexdigest() == before
        assert {e.patient for e in ledger.embeddings_of_study(uid)} == {PatientKey(ISSUER, known(2))}
        assert not ledger.worklist()

        echo = tmp_path / "echo.dcm"
        echo.write_bytes(archive_bytes(enrolled, uid)[0])
        send(enrolled, echo)
        wait_for(lambda: ledger.counters("ingest_echo"))
        assert not ledger.conflicts(), "what the node wrote itself is no news when it comes back"

        late = write_film(tmp_path / "late", 2, 7, None, number=2)
        send(enrolled, late)
        in_state(ledger, uid, StudyState.ASSEMBLING)
        in_state(ledger, uid, StudyState.LINKED)
        assert {ds.PatientID for ds in archived(enrolled, uid)} == {known(2)}
        assert len(archived(enrolled, uid)) == 2

        assert command(enrolled, "undo", uid).exit_code == 0
        restored = {dcmread_bytes(data).SOPInstanceUID: data for data in archive_bytes(enrolled, uid)}
        assert len(restored) == 2
        assert came_as in restored.values(), "the first instance is what it was, byte for byte"
        assert all("PatientID" not in dcmread_bytes(data) for data in restored.values())
        assert ledger.study(uid).state is StudyState.REVIEW
        assert ledger.decisions(study_uid=uid)[0].status is DecisionStatus.UNDONE
        assert {e.patient for e in ledger.embeddings_of_study(uid)} == {None}
    verified = command(enrolled, "audit", "verify", "--json")
    assert json.loads(verified.stdout)["intact"] is True
    actions = [row["action"] for row in json.loads(command(enrolled, "audit", "list", "--json").stdout)]
    for action in ("ENROL", "SEARCH", "DECISION", "APPROVE", "LINK", "UNDO"):
        assert action in actions


def test_a_rejected_orphan_is_nobodys_and_stays_so_when_it_is_walked_again(
    enrolled: NodeProcess, tmp_path: Path
) -> None:
    send(enrolled, write_film(tmp_path / "orphan", 1, 8, "UNKNOWN"))
    uid = study_uid(1, 8)
    with Ledger.of(enrolled.settings) as ledger:
        assert settled(ledger, uid).state is StudyState.REVIEW
        assert command(enrolled, "reject", uid).exit_code == 0
        assert ledger.study(uid).state is StudyState.NO_MATCH
        assert command(enrolled, "retry", uid).exit_code == 0
        assert settled(ledger, uid).state is StudyState.REVIEW
        assert "A_PERSON_SAID_NO_BEFORE" in ledger.decisions(study_uid=uid)[0].evidence["notes"]
    assert {ds.PatientID for ds in archived(enrolled, uid)} == {"UNKNOWN"}


def test_the_same_object_twice_is_one_and_other_bytes_are_a_conflict_with_both_kept(
    enrolled: NodeProcess, tmp_path: Path
) -> None:
    first = tmp_path / "known" / "0000-0-1.dcm"
    other = tmp_path / "other.dcm"
    changed = film_dataset(0, 0, known(0), StudyDescription="something else")
    changed.save_as(other, enforce_file_format=True)
    with Ledger.of(enrolled.settings) as ledger:
        before = ledger.object_count()
        send(enrolled, first)
        send(enrolled, other)
        in_state(ledger, study_uid(0, 0), StudyState.ENROLLED)
        (conflict,) = wait_for(ledger.conflicts)
        assert conflict.sop_instance_uid == changed.SOPInstanceUID
        assert ledger.object_count() == before + 1
        for kept in (conflict.sha256_in_force, conflict.sha256_other):
            path = enrolled.settings.spool_folder / "objects" / kept[:2] / f"{kept}.dcm"
            assert sha256(path.read_bytes()).hexdigest() == kept
        assert ledger.study(study_uid(0, 0)).generation == 1
        assert [item.kind for item in ledger.worklist()] == [ItemKind.CONFLICT]


def test_what_holds_no_image_is_settled_by_name(enrolled: NodeProcess, tmp_path: Path) -> None:
    send(enrolled, write_film(tmp_path / "orphan", 3, 9, "", Modality="CR", PixelData=b"\0\0", Rows=1, Columns=1))
    with Ledger.of(enrolled.settings) as ledger:
        assert settled(ledger, study_uid(3, 9)).state is StudyState.NO_EVIDENCE
        assert [item.kind for item in ledger.worklist()] == [ItemKind.NO_EVIDENCE]
        refusals = {c.labels.get("reason"): c.value for c in ledger.counters("image_refused")}
        assert refusals, "a refused image is counted under its name"
        send(enrolled, write_film(tmp_path / "late", 3, 9, "", number=2))
        in_state(ledger, study_uid(3, 9), StudyState.REVIEW)
        assert [item.kind for item in ledger.worklist()] == [ItemKind.REVIEW], "now there is evidence"


def dcmread_bytes(data: bytes) -> Dataset:
    from pydicom.filebase import DicomBytesIO

    return dcmread(DicomBytesIO(data))


def archive_bytes(node: NodeProcess, uid: str) -> list[bytes]:
    return list(LocalArchive(node.settings.archive_folder).fetch(uid))
