"""Received objects made from a few words, and a clock that moves only when told."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.ledger import AssociationEnded, Ledger, NewDecision, Outcome, PersonSeen, ReceivedObject
from inference.types import Encoding, FloatArray, InstanceHeader, PatientKey

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
STUDY = "1.2.826.1"
ALICE = PatientKey("SITE", "P1")
BOB = PatientKey("SITE", "P2")


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def received(
    number: int,
    study: str = STUDY,
    *,
    series: str | None = None,
    uid: str | None = None,
    content: str = "",
    association: str = "a1",
    command_uid: str | None = None,
    person: PersonSeen | None = None,
    **attributes: Any,
) -> ReceivedObject:
    """Instance ``number`` of a study; ``content`` tells apart objects with the same UID."""
    uid = uid or f"{study}.9.{number}"
    series = series or f"{study}.1"
    header = InstanceHeader(
        sop_instance_uid=uid,
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        study_uid=study,
        series_uid=series,
        path=Path("unused"),
        attributes={"Modality": "CT", "InstanceNumber": number, **attributes},
    )
    sha256 = hashlib.sha256(f"{study} {series} {uid} {content}".encode()).hexdigest()
    return ReceivedObject(
        sha256=sha256,
        size=1000,
        sop_class_uid=CT,
        sop_instance_uid=uid if command_uid is None else command_uid,
        transfer_syntax_uid=EXPLICIT_LE,
        calling_ae="MODALITY",
        called_ae="MEDREID",
        peer="127.0.0.1",
        association=association,
        received_at=1.0,
        header=header,
        person=person,
    )


def ended(association: str = "a1") -> AssociationEnded:
    return AssociationEnded(association, "RELEASED", 2.0)


def make_ready(ledger: Ledger, *studies: str) -> None:
    """Studies of one instance each, complete and in the queue."""
    for study in studies:
        ledger.ingest([received(1, study, association=f"of {study}"), ended(f"of {study}")])
    assert set(ledger.promote_complete(0.0, 1e9)) == set(studies)


def unit_vector(seed: int, dimension: int = 8) -> FloatArray:
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def encoding(study: str = STUDY, seed: int = 0, *, encoder: str = "general", version: str = "1") -> Encoding:
    return Encoding(
        encoder=encoder,
        version=version,
        study_uid=study,
        series_uid=f"{study}.1",
        vector=unit_vector(seed),
        quality=0.75,
        modality="CT",
        view="AP",
        laterality="L",
        template=f"template {seed}".encode(),
    )


def decision(study: str = STUDY, outcome: Outcome = Outcome.LINK, **values: Any) -> NewDecision:
    defaults: dict[str, Any] = {
        "generation": 1,
        "policy": "default-1",
        "policy_hash": "0" * 64,
        "patient": ALICE,
        "posterior": 0.999,
        "p_nobody": 0.001,
        "log10_lr": 4.5,
        "margin": 3.0,
        "candidates": ({"issuer": "SITE", "id": "P1", "log10_lr": 4.5},),
        "evidence": {"encoders": ["general"]},
        "reasons": ("STRONG",),
    }
    return NewDecision(study_uid=study, outcome=outcome, **(defaults | values))
