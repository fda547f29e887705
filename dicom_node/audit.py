"""Who did what, when, to which study: append-only, hash-chained, without names.

Every row's hash covers the row and its predecessor's hash. Somebody who can write the database can still compute
a new chain, or cut its end off; therefore the head is also noted in a file beside it (``audit.head``, which a
site may ship elsewhere), and verifying compares both.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from config.errors import AuditError
from dicom_node.ledger import AuditEntry, AuditHead, Ledger
from dicom_node.ledger.chain import FIRST, row_hash
from inference.whole_file import whole_file

# What would say who a patient is, or what a person looks like. Patient keys are needed to undo a link; these are not.
FORBIDDEN_KEYS = frozenset({"name", "patient_name", "birth_date", "sex", "address", "vector", "template"})


class Action(StrEnum):
    """What is audited."""

    SEARCH = "SEARCH"
    DECISION = "DECISION"
    ENROL = "ENROL"
    LINK = "LINK"
    UNDO = "UNDO"
    EVIDENCE = "EVIDENCE"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    FORGET = "FORGET"
    REQUEUE = "REQUEUE"
    CLOSE = "CLOSE"
    SETTINGS = "SETTINGS"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What verifying found. ``first_broken`` is the number of the first row that does not fit, None when all do."""

    rows: int
    head: AuditHead
    first_broken: int | None = None
    problem: str = ""

    @property
    def intact(self) -> bool:
        return self.first_broken is None

    def require(self) -> None:
        """
        Raises
        ------
        AuditError
            when the chain is broken.
        """
        if not self.intact:
            raise AuditError(f"the audit is broken at row {self.first_broken}: {self.problem}")


class AuditTrail:
    """Appends to the audit and notes its head in ``head_file``."""

    def __init__(self, ledger: Ledger, head_file: Path) -> None:
        self._ledger = ledger
        self._head_file = head_file

    def record(self, actor: str, action: Action, subject: str, payload: Mapping[str, Any] | None = None) -> None:
        """Adds a row, within the ledger's open transaction when there is one.

        ``actor`` is a worker or a person of :func:`person`; ``subject`` a study, decision or patient key.

        Raises
        ------
        AuditError
            when the payload has a field that would identify a person.
        """
        payload = payload or {}
        refuse_identifying(payload)
        self._ledger.append_audit(actor, action.value, subject, payload)

    def note_head(self) -> AuditHead:
        """Writes the chain's head to the head file, durably and never backwards."""
        head = self._ledger.audit_head()
        noted = read_head(self._head_file)
        if noted is None or noted.seq < head.seq:
            _write_head(self._head_file, head)
        return head

    def verify(self) -> AuditReport:
        """Checks the whole chain, and that it still holds the row that the head file notes."""
        return verify(self._ledger, read_head(self._head_file))


def verify(ledger: Ledger, noted: AuditHead | None = None) -> AuditReport:
    """Walks the chain once. ``noted`` is a head from elsewhere that the chain must contain."""
    stored = ledger.audit_head()
    rows, previous, seen_noted = 0, FIRST, noted is None or noted.seq == 0
    for entry in ledger.audit_entries():
        if entry.seq > stored.seq:
            # Appended after we read the head.
            break
        problem = _problem(entry, rows + 1, previous)
        if problem:
            return AuditReport(rows, stored, min(entry.seq, rows + 1), problem)
        if noted is not None and entry.seq == noted.seq:
            if entry.hash != noted.hash:
                return AuditReport(rows, stored, entry.seq, "it is not the row that the head file notes")
            seen_noted = True
        rows, previous = rows + 1, entry.hash
    if rows != stored.seq or previous != stored.hash:
        return AuditReport(rows, stored, rows + 1, "the end of the chain is missing")
    if not seen_noted:
        return AuditReport(rows, stored, rows + 1, "the head file notes a later row: the end of the chain is missing")
    return AuditReport(rows, stored)


def person() -> str:
    """The person at the command line, as the operating system knows them."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"


def refuse_identifying(payload: Any) -> None:
    if isinstance(payload, Mapping):
        for key, value in payload.items():
            if str(key).lower() in FORBIDDEN_KEYS:
                raise AuditError(f"{key!r} must not be written into the audit: it may identify a person")
            refuse_identifying(value)
    elif isinstance(payload, list | tuple):
        for value in payload:
            refuse_identifying(value)


def read_head(path: Path) -> AuditHead | None:
    """The noted head; None when none was noted yet.

    Raises
    ------
    AuditError
        when the file is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="ascii"))
        return AuditHead(int(values["seq"]), str(values["hash"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise AuditError(f"the audit's head file {path} cannot be read; restore it from a backup") from None


def _problem(entry: AuditEntry, expected: int, previous: str) -> str:
    if entry.seq != expected:
        return "rows before it are missing"
    if entry.previous != previous:
        return "it does not follow the row before it"
    fields = (entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.payload, entry.previous)
    return "" if row_hash(*fields) == entry.hash else "it was changed"


def _write_head(path: Path, head: AuditHead) -> None:
    with whole_file(path) as file:
        file.write(json.dumps({"seq": head.seq, "hash": head.hash}).encode())
