"""Received objects become instances, series and studies; a batch and its journal position are one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.ledger.database import insert_new, take_turn
from dicom_node.ledger.models import (
    Association,
    Conflict,
    Instance,
    Object,
    PersonOfId,
    Series,
    Study,
    StudyAssociation,
)
from dicom_node.ledger.records import (
    AssociationEnded,
    ConflictKind,
    Counted,
    CursorMove,
    IntakeItem,
    IntakeReport,
    ItemKind,
    ReceivedObject,
    StudyState,
)
from dicom_node.ledger.types import clean_text
from dicom_node.ledger.worklist import Worklist
from inference.types import InstanceHeader

# Counters of this module.
ADDED = "ingest_added"
DUPLICATE = "ingest_duplicate"
ECHO = "ingest_echo"
CONFLICT = "ingest_conflict"
QUARANTINED = "ingest_quarantined"


@dataclass(slots=True)
class _Batch:
    """What a batch amounts to, before it is written."""

    known_objects: dict[str, str]
    """SHA-256 -> why the object could not be indexed (empty: it was)."""
    known_instances: dict[str, tuple[str, str]]
    """SOP Instance UID -> (Study Instance UID, SHA-256) of the object in force."""
    objects: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    series: dict[tuple[str, str], str] = field(default_factory=dict)
    studies: dict[str, int] = field(default_factory=dict)
    links: set[tuple[str, str]] = field(default_factory=set)
    persons: set[tuple[str, str, str]] = field(default_factory=set)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[ReceivedObject] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    associations: dict[str, AssociationEnded | None] = field(default_factory=dict)
    duplicates: int = 0
    echoes: int = 0


class Intake(Worklist):
    def ingest(self, items: Sequence[IntakeItem], cursor: CursorMove | None = None) -> IntakeReport:
        """Indexes a batch in one transaction that also moves ``cursor``.

        The same bytes again change nothing. Other bytes under a known SOP Instance UID are kept as an object
        and opened as a conflict. A new instance starts its study's quiet period again, and reopens a study
        that was settled or is being worked on.
        """
        with self._write() as session:
            # What one batch finds unknown must not be inserted by another meanwhile.
            take_turn(session, "intake")
            if cursor is not None:
                self.move_cursor(cursor)
            batch = _begin(session, items)
            for item in items:
                if isinstance(item, Counted):
                    self.count(item.name, item.n)
                elif isinstance(item, AssociationEnded):
                    batch.associations[clean_text(item.association)] = item
                else:
                    _sort_in(batch, item, self.now())
            reopened = self._store(session, batch)
            return IntakeReport(
                added=len(batch.instances),
                duplicates=batch.duplicates,
                conflicts=len(batch.conflicts),
                quarantined=len(batch.quarantined),
                studies=tuple(sorted(batch.studies)),
                reopened=reopened,
            )

    def end_association(self, association: str, how: str = "DONE") -> None:
        """Says that nothing more comes from a sender that has no association of its own (a folder, a fetch)."""
        self.ingest([AssociationEnded(association, how, self.now())])

    def _store(self, session: Session, batch: _Batch) -> tuple[str, ...]:
        now = self.now()
        insert_new(session, Object, batch.objects)
        self._mend(session, batch.mended)
        reopened = _arrive(session, batch.studies, now)
        insert_new(
            session,
            Series,
            [
                {"study_uid": study, "series_uid": uid, "modality": m}
                for (study, uid), m in sorted(batch.series.items())
            ],
        )
        insert_new(session, Instance, batch.instances)
        _store_associations(session, batch, now)
        insert_new(session, PersonOfId, [{"issuer": i, "id": d, "person": p} for i, d, p in sorted(batch.persons)])
        insert_new(session, Conflict, batch.conflicts)
        self._tell(batch)
        return reopened

    def _mend(self, session: Session, hashes: Sequence[str]) -> None:
        session.execute(update(Object).where(Object.sha256.in_(hashes)).values(failure=""))
        for sha256 in hashes:
            for item in self.worklist(ItemKind.QUARANTINE, sha256=sha256):
                self.close_items("ingest", "READ", item_id=item.id)

    def _tell(self, batch: _Batch) -> None:
        for conflict in batch.conflicts:
            self.count(CONFLICT, kind=conflict["kind"])
            self.open_item(
                ItemKind.CONFLICT,
                conflict["kind"],
                study_uid=conflict["study_uid"],
                sha256=conflict["sha256_other"],
                detail={name: conflict[name] for name in ("sop_instance_uid", "sha256_in_force")},
            )
        for item in batch.quarantined:
            self.count(QUARANTINED, reason=item.failure)
            self.open_item(ItemKind.QUARANTINE, item.failure, sha256=item.sha256)
        if batch.instances:
            self.count(ADDED, len(batch.instances))
        if batch.duplicates:
            self.count(DUPLICATE, batch.duplicates)
        if batch.echoes:
            self.count(ECHO, batch.echoes)


def _begin(session: Session, items: Iterable[IntakeItem]) -> _Batch:
    received = [item for item in items if isinstance(item, ReceivedObject)]
    hashes = [item.sha256 for item in received]
    uids = [item.header.sop_instance_uid for item in received if item.header is not None]
    objects = select(Object.sha256, Object.failure)
    known = select(Instance.sop_instance_uid, Instance.study_uid, Instance.sha256)
    return _Batch(
        known_objects=dict(session.execute(objects.where(Object.sha256.in_(hashes))).all()),
        known_instances={
            uid: (study, sha256)
            for uid, study, sha256 in session.execute(known.where(Instance.sop_instance_uid.in_(uids)))
        },
    )


def _sort_in(batch: _Batch, item: ReceivedObject, now: float) -> None:
    header = item.header
    failed_before = batch.known_objects.get(item.sha256)
    if failed_before == "" or (failed_before and header is None):
        batch.duplicates += 1
        return
    batch.known_objects[item.sha256] = "" if header is not None else item.failure
    if failed_before:
        # Read at last, by a newer reader or from a disk that answers again.
        batch.mended.append(item.sha256)
    else:
        batch.objects.append(_object_row(item))
    if header is None:
        batch.quarantined.append(item)
        return
    if item.sop_instance_uid and item.sop_instance_uid != header.sop_instance_uid:
        _conflict(batch, ConflictKind.UID_MISMATCH, item, header, item.sha256, now)
    in_force = batch.known_instances.get(header.sop_instance_uid)
    if item.echo:
        batch.echoes += 1
        return
    if in_force is not None:
        study_uid, sha256 = in_force
        kind = ConflictKind.OTHER_BYTES if study_uid == header.study_uid else ConflictKind.OTHER_STUDY
        _conflict(batch, kind, item, header, sha256, now)
        return
    batch.known_instances[header.sop_instance_uid] = (header.study_uid, item.sha256)
    batch.instances.append(_instance_row(item, header))
    batch.series.setdefault((header.study_uid, header.series_uid), header.modality)
    batch.studies[header.study_uid] = batch.studies.get(header.study_uid, 0) + 1
    association = clean_text(item.association)
    batch.links.add((header.study_uid, association))
    # An instance after the end of "its" association means that the name was used again.
    batch.associations[association] = None
    if item.person is not None:
        batch.persons.add((item.person.key.issuer, item.person.key.id, item.person.person))


def _conflict(
    batch: _Batch, kind: ConflictKind, item: ReceivedObject, header: InstanceHeader, in_force: str, now: float
) -> None:
    batch.conflicts.append(
        {
            "kind": kind.value,
            "sop_instance_uid": header.sop_instance_uid,
            "sha256_in_force": in_force,
            "sha256_other": item.sha256,
            "study_uid": header.study_uid,
            "at": now,
        }
    )


def _object_row(item: ReceivedObject) -> dict[str, Any]:
    names = ("sha256", "size", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid", "calling_ae", "called_ae")
    row = {name: getattr(item, name) for name in (*names, "peer", "association", "received_at")}
    return row | {"failure": "" if item.header is not None else item.failure, "released_at": None}


def _instance_row(item: ReceivedObject, header: InstanceHeader) -> dict[str, Any]:
    patient = {
        "patient_id": "PatientID",
        "issuer": "IssuerOfPatientID",
        "patient_name": "PatientName",
        "birth_date": "PatientBirthDate",
        "sex": "PatientSex",
    }
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "sha256": item.sha256,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "attributes": dict(header.attributes),
    } | {column: attribute_text(header.attributes.get(keyword)) for column, keyword in patient.items()}


def attribute_text(value: Any) -> str:
    """One text for an attribute that should have one value; several are joined as DICOM joins them."""
    if value is None:
        return ""
    return "\\".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def _arrive(session: Session, studies: dict[str, int], now: float) -> tuple[str, ...]:
    """Opens new studies, restarts the quiet period of others and reopens those that had gone further."""
    fresh = {"state": StudyState.ASSEMBLING.value, "generation": 1, "first_at": now, "last_instance_at": now}
    idle = {"due_at": now, "retry_wait": 0.0, "attempts": 0, "last_reason": "", "settled_at": None}
    free = {"lease_owner": "", "lease_token": "", "lease_seconds": 0.0, "lease_until": None}
    insert_new(session, Study, [{"study_uid": uid} | fresh | idle | free for uid in sorted(studies)])
    statement = select(Study).where(Study.study_uid.in_(list(studies))).order_by(Study.study_uid).with_for_update()
    reopened = []
    for study in session.scalars(statement.execution_options(populate_existing=True)):
        if StudyState(study.state).settled or study.lease_until is not None:
            # A lease is left alone: nobody else may start while its worker is still busy with what was.
            study.generation += 1
            reopened.append(study.study_uid)
        study.state = StudyState.ASSEMBLING.value
        study.last_instance_at, study.settled_at = now, None
        study.attempts, study.retry_wait, study.last_reason = 0, 0.0, ""
    session.flush()
    return tuple(reopened)


def _store_associations(session: Session, batch: _Batch, now: float) -> None:
    rows = [{"id": name, "opened_at": now, "ended_at": None, "how": ""} for name in sorted(batch.associations)]
    insert_new(session, Association, rows)
    for name, end in sorted(batch.associations.items()):
        values = {"ended_at": None, "how": ""} if end is None else {"ended_at": end.at, "how": end.how}
        session.execute(update(Association).where(Association.id == name).values(values))
    links = [{"study_uid": study, "association": name} for study, name in sorted(batch.links)]
    insert_new(session, StudyAssociation, links)
