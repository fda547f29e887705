"""Templates live beside the embeddings: sealed like them, moved with them, forgotten with them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from config.errors import LedgerError
from dicom_node.ledger import Ledger
from inference.verification.protocol import Template
from tests.ledger.builders import ALICE, BOB, STUDY, decision, encoding, make_ready

KEY = bytes(range(32))


def template(study: str = STUDY, data: bytes = b"points", *, version: str = "1", series: str = "1") -> Template:
    return Template("volume", version, study, f"{study}.{series}", data, "CT", "", "L")


def test_a_template_comes_back_as_it_was(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    both = (template(), template(data=b"", series="2"))
    ledger.store_templates(STUDY, both, ALICE)
    assert ledger.templates_of_study(STUDY) == both


def test_storing_again_replaces_that_version_alone(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ledger.store_templates(STUDY, [template(version="1"), template(version="2")])
    ledger.store_templates(STUDY, [template(data=b"new", version="2")])
    assert [(one.version, one.data) for one in ledger.templates_of_study(STUDY)] == [("1", b"points"), ("2", b"new")]


def test_forgetting_a_patient_takes_the_templates_too(ledger: Ledger) -> None:
    make_ready(ledger, "1.1", "1.2")
    ledger.store_embeddings("1.1", [encoding("1.1")])
    ledger.store_templates("1.1", [template("1.1")])
    ledger.store_templates("1.2", [template("1.2")], BOB)
    ledger.assign_embeddings("1.1", ALICE)
    assert ledger.forget(ALICE) == 2
    assert ledger.templates_of_study("1.1") == ()
    assert ledger.templates_of_study("1.2") == (template("1.2"),)


def test_what_is_taken_back_belongs_to_nobody(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ledger.store_templates(STUDY, [template()], ALICE)
    ledger.assign_embeddings(STUDY, None)
    assert ledger.forget(ALICE) == 0
    assert ledger.templates_of_study(STUDY) == (template(),)


def test_templates_are_sealed_and_bound_to_their_row(ledger_url: str) -> None:
    with Ledger.open(ledger_url, key=KEY) as ledger:
        make_ready(ledger, STUDY)
        ledger.store_templates(STUDY, [template(data=b"secret points"), template(data=b"others", series="2")])
        assert [one.data for one in ledger.templates_of_study(STUDY)] == [b"secret points", b"others"]
        with ledger._engine.begin() as connection:
            stored = connection.execute(text("SELECT data FROM templates ORDER BY id")).scalars().all()
            assert b"secret" not in bytes(stored[0])
            connection.execute(text("UPDATE templates SET data = :d WHERE id = 2"), {"d": stored[0]})
        with pytest.raises(LedgerError):
            ledger.templates_of_study(STUDY)
    with Ledger.open(ledger_url, key=bytes(32)) as other, pytest.raises(LedgerError) as refused:
        other.templates_of_study(STUDY)
    assert refused.value.reason == "EMBEDDING_KEY"


def test_evidence_objects_are_remembered_before_they_are_added(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    record = ledger.record_decision(decision())
    for _ in range(2):
        ledger.add_evidence_objects(record.id, STUDY, [("2.25.1", "REPORT"), ("2.25.2", "OVERLAY")])
    assert ledger.evidence_objects(STUDY) == ("2.25.1", "2.25.2")
    assert ledger.evidence_objects(STUDY, record.id) == ("2.25.1", "2.25.2")
    assert ledger.evidence_objects(STUDY, "another") == ()
    assert ledger.is_evidence_object("2.25.2") and not ledger.is_evidence_object("2.25.3")
