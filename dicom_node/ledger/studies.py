"""What is known of studies: their instances, identities, objects and conflicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from dicom_node.ledger.intake import Intake, attribute_text
from dicom_node.ledger.models import Conflict, Instance, Object, PersonOfId, Series, Study
from dicom_node.ledger.queue import Queue
from dicom_node.ledger.records import (
    ConflictKind,
    ConflictRecord,
    ObjectRecord,
    ReceivedIdentity,
    StudyRecord,
    StudyState,
)
from inference.types import InstanceHeader, PatientKey, SeriesHeader

# A person may still need the bytes of the others.
RELEASABLE = (StudyState.ENROLLED, StudyState.LINKED, StudyState.NO_MATCH, StudyState.NO_EVIDENCE)


class Studies(Intake, Queue):
    def study(self, study_uid: str) -> StudyRecord | None:
        with self._read() as session:
            return next(iter(_records(session, select(Study).where(Study.study_uid == study_uid))), None)

    def studies(self, state: StudyState | None = None, limit: int = 1000, offset: int = 0) -> tuple[StudyRecord, ...]:
        """Studies, the latest heard of first."""
        statement = select(Study).order_by(Study.last_instance_at.desc(), Study.study_uid)
        if state is not None:
            statement = statement.where(Study.state == state.value)
        with self._read() as session:
            return _records(session, statement.limit(limit).offset(offset))

    def series(self, study_uid: str, path_of: Callable[[str], Path]) -> tuple[SeriesHeader, ...]:
        """The series of a study in the order of their first instance, with the instances in force.

        ``path_of`` gives the file of an object by its SHA-256.
        """
        statement = select(Instance).where(Instance.study_uid == study_uid).order_by(Instance.id)
        found: dict[str, list[InstanceHeader]] = {}
        with self._read() as session:
            for row in session.scalars(statement):
                found.setdefault(row.series_uid, []).append(_header(row, path_of(row.sha256)))
        return tuple(SeriesHeader(study_uid, uid, tuple(instances)) for uid, instances in found.items())

    def identities(self, study_uid: str) -> tuple[ReceivedIdentity, ...]:
        """The distinct patient elements among the instances of a study, as received."""
        columns = (Instance.patient_id, Instance.issuer, Instance.patient_name, Instance.birth_date, Instance.sex)
        statement = select(*columns).where(Instance.study_uid == study_uid).distinct().order_by(*columns)
        with self._read() as session:
            return tuple(ReceivedIdentity(*row) for row in session.execute(statement))

    def age_and_date(self, study_uid: str) -> tuple[str, str]:
        """Patient's Age and Study Date as the first instance of a study carried them."""
        statement = select(Instance.attributes).where(Instance.study_uid == study_uid).order_by(Instance.id).limit(1)
        with self._read() as session:
            found = session.scalar(statement) or {}
        return attribute_text(found.get("PatientAge")), attribute_text(found.get("StudyDate"))

    def persons(self, key: PatientKey) -> int:
        """How many different (name, birth date) pairs were called by this identifier."""
        statement = select(func.count()).where(PersonOfId.issuer == key.issuer, PersonOfId.id == key.id)
        with self._read() as session:
            return session.scalar(statement.select_from(PersonOfId)) or 0

    def object(self, sha256: str) -> ObjectRecord | None:
        with self._read() as session:
            row = session.get(Object, sha256)
            return None if row is None else _object(row)

    def object_in_force(self, sop_instance_uid: str) -> str | None:
        """SHA-256 of the object that stands for an instance; None when the instance is not known."""
        with self._read() as session:
            return session.scalar(select(Instance.sha256).where(Instance.sop_instance_uid == sop_instance_uid))

    def object_count(self) -> int:
        with self._read() as session:
            return session.scalar(select(func.count()).select_from(Object)) or 0

    def conflicts(self, study_uid: str | None = None) -> tuple[ConflictRecord, ...]:
        statement = select(Conflict).order_by(Conflict.id)
        if study_uid is not None:
            statement = statement.where(Conflict.study_uid == study_uid)
        with self._read() as session:
            return tuple(
                ConflictRecord(
                    c.id, ConflictKind(c.kind), c.sop_instance_uid, c.sha256_in_force, c.sha256_other, c.study_uid, c.at
                )
                for c in session.scalars(statement)
            )

    def releasable_objects(self, retention_seconds: float, limit: int = 1000) -> tuple[str, ...]:
        """SHA-256 of objects in force whose study settled at least ``retention_seconds`` ago."""
        statement = (
            select(Object.sha256)
            .join(Instance, Instance.sha256 == Object.sha256)
            .join(Study, Study.study_uid == Instance.study_uid)
            .where(
                Object.released_at.is_(None),
                Study.state.in_([state.value for state in RELEASABLE]),
                Study.settled_at <= self.now() - retention_seconds,
            )
            .limit(limit)
        )
        with self._read() as session:
            return tuple(session.scalars(statement))

    def mark_released(self, hashes: tuple[str, ...]) -> None:
        """Notes that the spool no longer holds these objects; they still count as received."""
        with self._write() as session:
            session.execute(update(Object).where(Object.sha256.in_(hashes)).values(released_at=self.now()))


def _records(session: Session, statement: Select[Study]) -> tuple[StudyRecord, ...]:
    rows = session.scalars(statement).all()
    uids = [row.study_uid for row in rows]
    counted = select(Instance.study_uid, func.count()).where(Instance.study_uid.in_(uids)).group_by(Instance.study_uid)
    instances = dict(session.execute(counted).all())
    series: dict[str, list[str]] = {}
    for uid, modality in session.execute(select(Series.study_uid, Series.modality).where(Series.study_uid.in_(uids))):
        series.setdefault(uid, []).append(modality)
    return tuple(
        StudyRecord(
            study_uid=row.study_uid,
            state=StudyState(row.state),
            generation=row.generation,
            instances=instances.get(row.study_uid, 0),
            series=len(series.get(row.study_uid, ())),
            modalities=tuple(sorted({modality for modality in series.get(row.study_uid, ()) if modality})),
            first_at=row.first_at,
            last_instance_at=row.last_instance_at,
            due_at=row.due_at,
            attempts=row.attempts,
            last_reason=row.last_reason,
            settled_at=row.settled_at,
            lease_owner=row.lease_owner,
            lease_until=row.lease_until,
        )
        for row in rows
    )


def _header(row: Instance, path: Path) -> InstanceHeader:
    return InstanceHeader(
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        path=path,
        attributes=row.attributes,
    )


def _object(row: Object) -> ObjectRecord:
    return ObjectRecord(
        sha256=row.sha256,
        size=row.size,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        calling_ae=row.calling_ae,
        called_ae=row.called_ae,
        peer=row.peer,
        association=row.association,
        received_at=row.received_at,
        failure=row.failure,
        released_at=row.released_at,
    )
