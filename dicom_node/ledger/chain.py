"""The audit's hash chain: each row's hash covers the row and the hash of the row before it.

The chain shows changes to a copy of the ledger whose head was noted elsewhere. Who can write the database can
also compute a new chain, which is why :mod:`dicom_node.audit` keeps the head in a file of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from dicom_node.ledger.core import AuditNote, Transaction
from dicom_node.ledger.counters import Counters
from dicom_node.ledger.models import AuditHeadRow, AuditRow
from dicom_node.ledger.records import AuditEntry, AuditHead
from dicom_node.ledger.types import canonical_json, clean_text

FIRST = "0" * 64
PAGE = 1000


def row_hash(seq: int, at: str, actor: str, action: str, subject: str, payload: str, previous: str) -> str:
    """SHA-256 over the canonical JSON of a row and its predecessor's hash."""
    row = {
        "seq": seq,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "payload": payload,
        "previous": previous,
    }
    return hashlib.sha256(canonical_json(row).encode("ascii")).hexdigest()


class Audit(Counters):
    def append_audit(self, actor: str, action: str, subject: str, payload: Any) -> None:
        """Adds a row at the end of the open transaction, or in one of its own."""
        with self._write():
            note = AuditNote(clean_text(actor), action, clean_text(subject), canonical_json(payload))
            self._pending.notes.append(note)

    def audit_head(self) -> AuditHead:
        with self._read() as session:
            row = session.get_one(AuditHeadRow, 1, populate_existing=True)
            return AuditHead(row.seq, row.hash)

    def audit_entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """All rows after ``after`` in the order of their numbers, read page by page."""
        while True:
            with self._read() as session:
                statement = select(AuditRow).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(PAGE)
                page = [
                    AuditEntry(r.seq, r.at, r.actor, r.action, r.subject, r.payload, r.previous, r.hash)
                    for r in session.scalars(statement)
                ]
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].seq

    def _finish(self, opened: Transaction) -> None:
        super()._finish(opened)
        if not opened.notes:
            return
        session = opened.session
        head = session.get_one(AuditHeadRow, 1, with_for_update=True, populate_existing=True)
        seq, previous = head.seq, head.hash
        at = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="microseconds")
        rows = []
        for note in opened.notes:
            seq += 1
            digest = row_hash(seq, at, note.actor, note.action, note.subject, note.payload, previous)
            rows.append(
                {
                    "seq": seq,
                    "at": at,
                    "actor": note.actor,
                    "action": note.action,
                    "subject": note.subject,
                    "payload": note.payload,
                    "previous": previous,
                    "hash": digest,
                }
            )
            previous = digest
        session.execute(insert(AuditRow), rows)
        session.execute(update(AuditHeadRow).where(AuditHeadRow.id == 1).values(seq=seq, hash=previous))
