"""From the receiver's journal into the ledger: each acknowledged object exactly once, in batches.

Headers are read before the transaction begins, so that the database is held for as short as can be. The journal's
position moves in the same transaction as what was read from it: a process killed anywhere reads the batch again
or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from config.errors import HeaderError
from config.settings import IdentitySettings
from dicom_node.crashpoints import crash_point
from dicom_node.echoes import Echoes
from dicom_node.identity import patient_key, person_digest
from dicom_node.journal import JournalReader, Position
from dicom_node.ledger import (
    AssociationEnded,
    Counted,
    CursorMove,
    IntakeItem,
    IntakeReport,
    Ledger,
    PersonSeen,
    ReceivedObject,
)
from dicom_node.ledger.intake import attribute_text
from dicom_node.spool import Spool, StoredObject
from inference.imaging.headers import read_header
from inference.types import InstanceHeader

CURSOR = "journal"
BATCH = 500
UNKNOWN_RECORD = "journal_unknown_record"

log = structlog.get_logger()


class Ingester:
    """Reads the journal of one spool. Only one may run per spool; the ledger refuses a second one's cursor."""

    def __init__(self, ledger: Ledger, spool: Spool, identity: IdentitySettings, batch: int = BATCH) -> None:
        self._ledger = ledger
        self._spool = spool
        self._identity = identity
        self._batch = batch
        self._journal = JournalReader(spool.journal_folder)

    def run_once(self) -> IntakeReport | None:
        """Ingests the next batch; None when the journal has no more.

        Raises
        ------
        JournalError
            where the journal is damaged.
        LedgerError
            when the database refuses, or another ingester moved the cursor.
        """
        old = self._ledger.cursor(CURSOR)
        position = Position.parse(old)
        records, after = self._journal.read(position, self._batch)
        if not records:
            return None
        echoes = Echoes(self._ledger, self._spool)
        items = [self._item(record, echoes) for record in records]
        report = self._ingest(items, CursorMove(CURSOR, old, str(after)))
        self._journal.trim(after)
        return report

    def drain(self) -> int:
        """Ingests everything there is; returns how many instances were new."""
        added = 0
        while (report := self.run_once()) is not None:
            added += report.added
        return added

    def add(self, stored: Iterable[StoredObject]) -> IntakeReport:
        """Ingests objects that were put into the spool without the journal (fetched, or read from a folder).

        Their association has to be ended by :meth:`Ledger.end_association` once all are there.
        """
        echoes = Echoes(self._ledger, self._spool)
        return self._ingest([self._item(one.record(), echoes) for one in stored], None)

    def retry(self, sha256: str) -> IntakeReport:
        """Tries again to index an object whose header could not be read; a person asks for it."""
        known = self._ledger.object(sha256)
        if known is None or not known.failure:
            return IntakeReport()
        record = {name: getattr(known, name) for name in known.__dataclass_fields__}
        return self._ingest([self._object(record, Echoes(self._ledger, self._spool))], None)

    def _ingest(self, items: Sequence[IntakeItem], move: CursorMove | None) -> IntakeReport:
        crash_point("ingest.headers_read")
        with self._ledger.transaction():
            report = self._ledger.ingest(items, move)
            crash_point("ingest.before_commit")
        crash_point("ingest.committed")
        if report.conflicts or report.quarantined:
            log.warning("ingest.batch", added=report.added, conflicts=report.conflicts, quarantined=report.quarantined)
        return report

    def _item(self, record: Mapping[str, Any], echoes: Echoes) -> IntakeItem:
        try:
            if record["kind"] == "instance":
                return self._object(record, echoes)
            if record["kind"] == "association_end":
                return AssociationEnded(record["association"], str(record["how"]), _seconds(record["at"]))
            if record["kind"] == "count":
                return Counted(record["name"], int(record["n"]))
        except (KeyError, TypeError, ValueError):
            log.error("ingest.malformed_record")
        # Written by another version: what we do not understand must not hold up what we do.
        return Counted(UNKNOWN_RECORD, 1)

    def _object(self, record: Mapping[str, Any], echoes: Echoes) -> ReceivedObject:
        received = ReceivedObject(
            sha256=record["sha256"],
            size=int(record["size"]),
            sop_class_uid=record["sop_class_uid"],
            sop_instance_uid=record["sop_instance_uid"],
            transfer_syntax_uid=record["transfer_syntax_uid"],
            calling_ae=record["calling_ae"],
            called_ae=record["called_ae"],
            peer=record["peer"],
            association=record["association"],
            received_at=_seconds(record["received_at"]),
        )
        try:
            header = read_header(self._spool.path(received.sha256))
        except HeaderError as error:
            return replace(received, failure=error.reason)
        except Exception as error:  # noqa: BLE001
            # Whatever a hostile object provokes, it is kept and named, and does not hold up the others.
            log.error("ingest.header_failed", error=type(error).__name__)
            return replace(received, failure="HEADER_FAILED")
        return replace(
            received, header=header, person=self._person(header), echo=echoes.is_echo(header, received.sha256)
        )

    def _person(self, header: InstanceHeader) -> PersonSeen | None:
        names = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
        patient_id, issuer, name, birth_date = (attribute_text(header.attributes.get(keyword)) for keyword in names)
        key = patient_key(patient_id, issuer, self._identity)
        digest = person_digest(name, birth_date)
        return PersonSeen(key, digest) if key is not None and digest else None


def _seconds(time: str | float) -> float:
    """Seconds since the epoch of an ISO 8601 time; one without a zone is UTC."""
    if not isinstance(time, str):
        return float(time)
    moment = datetime.fromisoformat(time)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
