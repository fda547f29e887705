"""Decisions acted on through a real ledger and the embedded archive: guards, intents first, receipts, audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ArchiveConflictError, ArchiveUnavailableError, RelinkRefusedError
from config.settings import load_settings
from dicom_node.archives.elements import parse
from dicom_node.archives.local import LocalArchive
from dicom_node.archives.protocol import IntentSink, Provenance, RelinkReceipt
from dicom_node.importing import import_files
from dicom_node.ledger import DecisionRecord, NewDecision, Outcome, RelinkState
from dicom_node.node import Node
from inference.types import PatientIdentity, PatientKey
from tests.archives.studies import OTHER_TARGET, TARGET, instance, uid

STUDY = uid("relinker")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    settings = load_settings(environment={"MEDREID_SPOOL__MIN_FREE_BYTES": "1048576"}, home=tmp_path / "home")
    path = tmp_path / "one.dcm"
    path.write_bytes(instance(STUDY, 1))
    with Node(settings) as node:
        import_files(node, [path])
        node.archive.store(STUDY, node.files(STUDY))
        yield node


def decide(node: Node) -> DecisionRecord:
    return node.ledger.record_decision(NewDecision(STUDY, 1, Outcome.LINK, "test", "hash", TARGET.key))


def state(node: Node) -> list[RelinkState]:
    return [relink.state for relink in node.ledger.relinks(study_uid=STUDY)]


def test_the_inverse_is_durable_before_the_archive_changes(node: Node) -> None:
    class Watching(LocalArchive):
        def relink(
            self, study_uid: str, to: PatientIdentity, provenance: Provenance, intent: IntentSink
        ) -> RelinkReceipt:
            def watched(receipt: RelinkReceipt) -> None:
                intent(receipt)
                (stored,) = node.ledger.relinks(study_uid=STUDY)
                seen.append((stored.state, RelinkReceipt.from_json(stored.receipt) == receipt, self.identity(STUDY)))

            return super().relink(study_uid, to, provenance, watched)

    seen: list[object] = []
    node.archive = Watching(node.settings.archive_folder)
    node.relinker.link(decide(node), TARGET, "test")
    assert seen == [(RelinkState.INTENDED, True, PatientIdentity(PatientKey("", "UNKNOWN"), "UNKNOWN^MALE"))]
    assert state(node) == [RelinkState.DONE]


def test_the_same_link_twice_is_one(node: Node) -> None:
    record = decide(node)
    first = node.relinker.link(record, TARGET, "test")
    files = list(node.archive.fetch(STUDY))
    assert node.relinker.link(record, TARGET, "test") == first
    assert list(node.archive.fetch(STUDY)) == files
    assert [row.action for row in node.ledger.audit_entries()].count("LINK") == 1


def test_a_kill_between_archive_and_ledger_is_made_good_by_the_next_call(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    record = decide(node)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dicom_node.relink.crash_point", die)
        node.relinker.link(record, TARGET, "test")
    assert state(node) == [RelinkState.INTENDED]
    node.relinker.link(record, TARGET, "test")
    assert state(node) == [RelinkState.DONE]
    (relink,) = node.ledger.relinks(study_uid=STUDY)
    node.relinker.undo(relink, "test")
    assert [parse(data).text(0x00100020) for data in node.archive.fetch(STUDY)] == ["UNKNOWN"]


@pytest.mark.parametrize("placeholder", ["UNKNOWN", "TEMP-17", "20240101101010", "0000"])
def test_a_placeholder_is_no_target(node: Node, placeholder: str) -> None:
    with pytest.raises(RelinkRefusedError) as caught:
        node.relinker.link(decide(node), PatientIdentity(PatientKey("", placeholder)), "test")
    assert caught.value.reason == "TARGET_IS_PLACEHOLDER"
    assert state(node) == []


def test_another_decision_waits_for_the_undo(node: Node) -> None:
    node.relinker.link(decide(node), TARGET, "test")
    with pytest.raises(RelinkRefusedError) as caught:
        node.relinker.link(decide(node), OTHER_TARGET, "test")
    assert caught.value.reason == "LINKED_ALREADY"


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (RelinkRefusedError("no", reason="A_GUARD"), RelinkState.FAILED),
        (ArchiveConflictError("no", reason="OTHER_CONTENT"), RelinkState.FAILED),
        (ArchiveUnavailableError("away"), RelinkState.INTENDED),
    ],
)
def test_what_was_refused_is_over_and_what_was_interrupted_is_not(
    node: Node, error: Exception, after: RelinkState
) -> None:
    class Failing(LocalArchive):
        def relink(
            self, study_uid: str, to: PatientIdentity, provenance: Provenance, intent: IntentSink
        ) -> RelinkReceipt:
            intent(RelinkReceipt("local", study_uid, provenance.decision_id, None, to, {}))
            raise error

    node.archive = Failing(node.settings.archive_folder)
    with pytest.raises(type(error)):
        node.relinker.link(decide(node), TARGET, "test")
    assert state(node) == [after]


def test_the_audit_names_keys_and_numbers_only(node: Node) -> None:
    node.relinker.link(decide(node), TARGET, "test")
    (relink,) = node.ledger.relinks(study_uid=STUDY)
    node.relinker.undo(relink, "test")
    rows = "".join(row.payload for row in node.ledger.audit_entries())
    assert TARGET.key.id in rows
    for private in (TARGET.name, TARGET.birth_date, "UNKNOWN^MALE"):
        assert private not in rows


def test_a_receipt_survives_its_text() -> None:
    receipt = RelinkReceipt("local", STUDY, "d", None, TARGET, {"1.2": ""}, {"formers": [{"00100020": None}]})
    assert RelinkReceipt.from_json(receipt.to_json()) == receipt
    from config.errors import ArchiveError

    with pytest.raises(ArchiveError) as caught:
        RelinkReceipt.from_json('{"former": 1}')
    assert caught.value.reason == "RECEIPT_UNREADABLE"
