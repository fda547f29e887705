from __future__ import annotations

import math
from typing import Any

import pytest

from config.errors import LedgerError
from dicom_node.ledger import DecisionStatus, ItemKind, Ledger, Outcome, PatientRecord, RelinkState
from inference.types import PatientIdentity
from tests.ledger.builders import ALICE, STUDY, Clock, decision, make_ready


def test_a_decision_comes_back_as_it_was(ledger: Ledger, clock: Clock) -> None:
    make_ready(ledger, STUDY)
    stored = ledger.record_decision(decision(margin=math.inf, reasons=("A", "B")))
    assert ledger.decision(stored.id) == stored
    assert (stored.patient, stored.margin, stored.reasons) == (ALICE, math.inf, ("A", "B"))
    assert (stored.status, stored.created_at) == (DecisionStatus.PENDING, clock.now)
    assert stored.candidates == ({"issuer": "SITE", "id": "P1", "log10_lr": 4.5},)


def test_a_decision_without_evidence_holds_no_numbers(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    nothing: dict[str, Any] = {"patient": None, "posterior": None, "p_nobody": None, "log10_lr": None, "margin": None}
    stored = ledger.record_decision(decision(outcome=Outcome.NO_EVIDENCE, candidates=(), **nothing))
    found = ledger.decision(stored.id)
    assert found is not None and found.patient is None and found.posterior is None


def test_a_new_decision_supersedes_the_pending_one_only(ledger: Ledger, clock: Clock) -> None:
    make_ready(ledger, STUDY)
    acted = ledger.record_decision(decision(), DecisionStatus.ACTED)
    clock.pass_(1)
    pending = ledger.record_decision(decision(outcome=Outcome.REVIEW))
    clock.pass_(1)
    newest = ledger.record_decision(decision(outcome=Outcome.NO_MATCH))
    assert [d.id for d in ledger.decisions(STUDY)] == [newest.id, pending.id, acted.id]
    assert [d.status for d in ledger.decisions(STUDY)] == [
        DecisionStatus.PENDING,
        DecisionStatus.SUPERSEDED,
        DecisionStatus.ACTED,
    ]
    assert [d.id for d in ledger.decisions(status=DecisionStatus.PENDING)] == [newest.id]


def test_a_decision_is_approved_once(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    stored = ledger.record_decision(decision(outcome=Outcome.REVIEW))
    pending = [DecisionStatus.PENDING]
    closed = ledger.close_decision(stored.id, DecisionStatus.APPROVED, "user:a", was=pending)
    assert (closed.status, closed.closed_by) == (DecisionStatus.APPROVED, "user:a")
    with pytest.raises(LedgerError) as raised:
        ledger.close_decision(stored.id, DecisionStatus.REJECTED, "user:b", was=pending)
    assert raised.value.reason == "DECISION_CLOSED"
    with pytest.raises(LedgerError) as raised:
        ledger.close_decision("no such", DecisionStatus.REJECTED, "user:b")
    assert raised.value.reason == "NO_SUCH_DECISION"
    assert ledger.decision("no such") is None


def test_the_first_receipt_of_an_interrupted_relink_is_kept(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    stored = ledger.record_decision(decision())
    ledger.intend_relink(stored.id, STUDY, '{"former": "unknown"}')
    again = ledger.intend_relink(stored.id, STUDY, '{"former": "already changed"}')
    assert (again.receipt, again.state) == ('{"former": "unknown"}', RelinkState.INTENDED)
    assert [r.decision_id for r in ledger.relinks(RelinkState.INTENDED)] == [stored.id]
    done = ledger.finish_relink(stored.id, RelinkState.DONE, receipt='{"former": "unknown", "n": 2}')
    assert done == ledger.relink(stored.id)
    assert ledger.relinks(RelinkState.INTENDED) == ()
    assert ledger.relinks(study_uid=STUDY) == (done,)


def test_a_relink_that_failed_or_was_undone_may_be_intended_anew(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    stored = ledger.record_decision(decision())
    for n, state in enumerate((RelinkState.FAILED, RelinkState.UNDONE)):
        ledger.intend_relink(stored.id, STUDY, f'{{"n": {n}}}')
        ledger.finish_relink(stored.id, state, failure="ARCHIVE")
        assert ledger.intend_relink(stored.id, STUDY, f'{{"n": {n + 1}}}').receipt == f'{{"n": {n + 1}}}'


def test_a_relink_nobody_intended_cannot_be_finished(ledger: Ledger) -> None:
    with pytest.raises(LedgerError) as raised:
        ledger.finish_relink("no such", RelinkState.DONE)
    assert raised.value.reason == "NO_SUCH_RELINK"
    assert ledger.relink("no such") is None


def test_a_relink_needs_its_decision(ledger: Ledger) -> None:
    with pytest.raises(LedgerError) as raised:
        ledger.intend_relink("no such", STUDY, "{}")
    assert raised.value.reason == "LEDGER_INTEGRITY"


def test_demographics_that_are_known_are_not_blanked(ledger: Ledger) -> None:
    ledger.put_patient(PatientIdentity(ALICE, "PHANTOM^0001", "19700101", ""))
    ledger.put_patient(PatientIdentity(ALICE, "", "", "F"))
    ledger.put_patient(PatientIdentity(ALICE, "PHANTOM^0001^B", "", ""))
    assert ledger.patient(ALICE) == PatientRecord(ALICE, "PHANTOM^0001^B", "19700101", "F")


def test_an_open_item_is_updated_and_a_closed_one_comes_back(ledger: Ledger, clock: Clock) -> None:
    number = ledger.open_item(ItemKind.REVIEW, "CLOSE_CALL", study_uid=STUDY, detail={"n": 1})
    assert ledger.open_item(ItemKind.REVIEW, "CLOSE_CALL", study_uid=STUDY, detail={"n": 2}) == number
    (item,) = ledger.worklist()
    assert (item.id, item.detail, item.opened_at) == (number, {"n": 2}, clock.now)
    assert ledger.close_items("user:a", "APPROVED", item_id=number) == 1
    assert ledger.close_items("user:a", "APPROVED", item_id=number) == 0
    closed = ledger.worklist_item(number)
    assert closed is not None and (closed.closed_by, closed.resolution) == ("user:a", "APPROVED")
    assert ledger.worklist(closed=True) == (closed,)
    assert ledger.open_item(ItemKind.REVIEW, "CLOSE_CALL", study_uid=STUDY) != number
    assert ledger.worklist_item(10**9) is None


def test_items_are_closed_by_study_and_kind(ledger: Ledger) -> None:
    ledger.open_item(ItemKind.REVIEW, "A", study_uid="1.1")
    ledger.open_item(ItemKind.MISFILE, "B", study_uid="1.1")
    ledger.open_item(ItemKind.REVIEW, "A", study_uid="1.2")
    assert ledger.close_items("w", "SUPERSEDED", study_uid="1.1", kind=ItemKind.REVIEW) == 1
    assert [(i.kind, i.study_uid) for i in ledger.worklist()] == [(ItemKind.MISFILE, "1.1"), (ItemKind.REVIEW, "1.2")]
    assert [i.study_uid for i in ledger.worklist(ItemKind.REVIEW)] == ["1.2"]
    assert ledger.status().worklist == {ItemKind.MISFILE: 1, ItemKind.REVIEW: 1}
    with pytest.raises(LedgerError, match="must be named"):
        ledger.close_items("w", "ALL")


def test_counters_add_up_by_name_and_labels(ledger: Ledger) -> None:
    ledger.count("rejected", reason="A")
    ledger.count("rejected", 2, reason="B")
    ledger.count("rejected", reason="A")
    with ledger.transaction():
        ledger.count("other")
        ledger.count("other", 4)
    assert [(c.name, c.labels, c.value) for c in ledger.counters()] == [
        ("other", {}, 5),
        ("rejected", {"reason": "A"}, 2),
        ("rejected", {"reason": "B"}, 2),
    ]


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.transaction():
        ledger.count("counted")
        ledger.open_item(ItemKind.REVIEW, "A", study_uid=STUDY)
        ledger.append_audit("w", "LINK", STUDY, {})
        raise RuntimeError
    assert ledger.counters() == () and ledger.worklist() == () and ledger.audit_head().seq == 0
    ledger.count("counted")
    assert ledger.counters()[0].value == 1
