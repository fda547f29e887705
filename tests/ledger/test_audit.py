from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from config.errors import AuditError, LedgerError
from dicom_node.audit import Action, AuditTrail, person, read_head, verify
from dicom_node.ledger import AuditHead, Ledger
from dicom_node.ledger.chain import row_hash
from tests.ledger.builders import STUDY, Clock


@pytest.fixture
def trail(ledger: Ledger, tmp_path: Path) -> AuditTrail:
    return AuditTrail(ledger, tmp_path / "audit.head")


def fill(trail: AuditTrail, rows: int = 6) -> None:
    for n in range(rows):
        trail.record("worker:1", Action.LINK, f"{STUDY}.{n}", {"patient": ["SITE", f"P{n}"]})


def tamper(ledger: Ledger, *statements: str) -> None:
    """Does what somebody with the rights of the database's owner can do, triggers and all."""
    with ledger._write() as session:
        postgres = session.get_bind().dialect.name == "postgresql"
        for verb in ("update", "delete"):
            session.execute(text(f"DROP TRIGGER audit_no_{verb}" + (" ON audit" if postgres else "")))
        for statement in statements:
            session.execute(text(statement))


def test_a_chain_that_nobody_touched_is_intact(ledger: Ledger, trail: AuditTrail) -> None:
    fill(trail)
    report = trail.verify()
    assert report.intact and report.rows == 6 and report.head == ledger.audit_head()
    report.require()
    first, second = list(ledger.audit_entries())[:2]
    assert (first.seq, first.actor, first.action) == (1, "worker:1", "LINK")
    assert json.loads(first.payload) == {"patient": ["SITE", "P0"]}
    assert second.previous == first.hash


def test_an_empty_chain_is_intact(trail: AuditTrail) -> None:
    assert trail.verify().intact


def test_rows_can_be_read_from_a_number_on(ledger: Ledger, trail: AuditTrail) -> None:
    fill(trail)
    assert [entry.seq for entry in ledger.audit_entries(after=4)] == [5, 6]


@pytest.mark.parametrize(
    "change",
    [
        "at = '1999-01-01T00:00:00+00:00'",
        "actor = 'somebody else'",
        "action = 'UNDO'",
        "subject = '1.2.3'",
        "payload = '{}'",
        "previous = hash",
        "hash = previous",
    ],
)
def test_a_changed_column_is_found(ledger: Ledger, trail: AuditTrail, change: str) -> None:
    fill(trail)
    tamper(ledger, f"UPDATE audit SET {change} WHERE seq = 3")
    report = trail.verify()
    assert (report.intact, report.first_broken, report.rows) == (False, 3, 2)
    with pytest.raises(AuditError, match="row 3"):
        report.require()


@pytest.mark.parametrize(
    ("tampering", "first_broken"),
    [
        (["DELETE FROM audit WHERE seq = 3"], 3),
        (["DELETE FROM audit WHERE seq = 1"], 1),
        (["DELETE FROM audit WHERE seq = 3", "UPDATE audit SET seq = seq - 1 WHERE seq = 4"], 3),
        (
            [
                "UPDATE audit SET seq = 99 WHERE seq = 2",
                "UPDATE audit SET seq = 2 WHERE seq = 3",
                "UPDATE audit SET seq = 3 WHERE seq = 99",
            ],
            2,
        ),
        (["DELETE FROM audit WHERE seq = 6"], 6),
        (["DELETE FROM audit"], 1),
    ],
    ids=["middle deleted", "first deleted", "renumbered", "reordered", "tail cut", "all gone"],
)
def test_missing_and_moved_rows_are_found(
    ledger: Ledger, trail: AuditTrail, tampering: list[str], first_broken: int
) -> None:
    fill(trail)
    tamper(ledger, *tampering)
    assert trail.verify().first_broken == first_broken


CUT_TAIL = (
    "UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit WHERE seq = 4)",
    "DELETE FROM audit WHERE seq > 4",
)


def test_a_cut_tail_with_a_forged_head_is_found_by_the_noted_head(ledger: Ledger, trail: AuditTrail) -> None:
    fill(trail)
    trail.note_head()
    tamper(ledger, *CUT_TAIL)
    assert verify(ledger).intact
    assert trail.verify().first_broken == 5


def test_a_chain_computed_anew_is_found_by_the_noted_head(ledger: Ledger, trail: AuditTrail, clock: Clock) -> None:
    fill(trail)
    trail.note_head()
    tamper(ledger, "UPDATE audit_head SET seq = 0, hash = '" + "0" * 64 + "'", "DELETE FROM audit")
    clock.pass_(1)
    fill(trail, 7)
    assert verify(ledger).intact
    assert trail.verify().first_broken == 6


def test_the_head_file_never_goes_backwards(ledger: Ledger, trail: AuditTrail, tmp_path: Path) -> None:
    fill(trail)
    noted = trail.note_head()
    assert read_head(tmp_path / "audit.head") == noted == ledger.audit_head()
    tamper(ledger, *CUT_TAIL)
    trail.note_head()
    assert read_head(tmp_path / "audit.head") == noted
    fill(trail, 10)
    assert not trail.verify().intact


def test_a_damaged_head_file_is_named(trail: AuditTrail, tmp_path: Path) -> None:
    for content in ("", "[]", '{"seq": 1}', "\udcff"):
        (tmp_path / "audit.head").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(AuditError, match=r"audit\.head"):
            trail.verify()


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_the_database_itself_refuses_to_change_the_audit(ledger: Ledger, trail: AuditTrail, statement: str) -> None:
    fill(trail)
    with pytest.raises(LedgerError), ledger._write() as session:
        session.execute(text(statement))
    assert trail.verify().intact


def test_rows_of_one_transaction_follow_each_other_and_others_come_before_or_after(
    ledger: Ledger, trail: AuditTrail
) -> None:
    with ledger.transaction():
        trail.record("w", Action.SEARCH, STUDY)
        trail.record("w", Action.DECISION, STUDY)
        assert ledger.audit_head() == AuditHead(0, "0" * 64)
    assert [entry.action for entry in ledger.audit_entries()] == ["SEARCH", "DECISION"]
    assert trail.verify().intact


@pytest.mark.parametrize("payload", [{"name": "x"}, {"a": [{"Birth_Date": "x"}]}, {"vector": [1.0]}])
def test_what_identifies_a_person_stays_out(trail: AuditTrail, payload: dict[str, object]) -> None:
    with pytest.raises(AuditError, match="identify"):
        trail.record("w", Action.LINK, STUDY, payload)


def test_hostile_text_verifies_too(trail: AuditTrail) -> None:
    trail.record("user:\x00\ud800ü", Action.LINK, "1.2\x00", {"key": "\x00\udfff"})
    assert trail.verify().intact


def test_the_hash_covers_every_field() -> None:
    fields = (1, "at", "actor", "action", "subject", "payload", "previous")
    hashes = {row_hash(*fields)}
    for n in range(len(fields)):
        changed = [*fields]
        changed[n] = 2 if n == 0 else "other"
        hashes.add(row_hash(*changed))  # type: ignore[arg-type]
    assert len(hashes) == len(fields) + 1


def test_a_person_is_named_by_the_operating_system() -> None:
    assert person().startswith(("user:", "uid:"))
