"""Decisions and the re-links that act on them; patients as the archive knows them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, select, update

from config.errors import LedgerError
from dicom_node.ledger.core import Core
from dicom_node.ledger.database import insert_or_update
from dicom_node.ledger.models import Decision, Patient, Relink
from dicom_node.ledger.records import (
    DecisionRecord,
    DecisionStatus,
    NewDecision,
    Outcome,
    PatientRecord,
    RelinkRecord,
    RelinkState,
)
from inference.types import PatientIdentity, PatientKey


class Decisions(Core):
    def record_decision(self, decision: NewDecision, status: DecisionStatus = DecisionStatus.PENDING) -> DecisionRecord:
        """Stores a decision under a new UUID; the study's earlier pending decisions are superseded."""
        with self._write() as session:
            now = self.now()
            earlier = update(Decision).where(
                Decision.study_uid == decision.study_uid, Decision.status == DecisionStatus.PENDING.value
            )
            session.execute(earlier.values(status=DecisionStatus.SUPERSEDED.value, closed_at=now))
            values = asdict(decision) | {"outcome": decision.outcome.value}
            patient = values.pop("patient")
            row = Decision(
                **values,
                id=str(uuid.uuid4()),
                issuer=patient["issuer"] if patient else None,
                patient_id=patient["id"] if patient else None,
                status=status.value,
                created_at=now,
                closed_at=None if status is DecisionStatus.PENDING else now,
                closed_by="",
            )
            session.add(row)
            session.flush()
            session.refresh(row)
            return _decision(row)

    def close_decision(
        self, decision_id: str, status: DecisionStatus, by: str, *, was: Sequence[DecisionStatus] = ()
    ) -> DecisionRecord:
        """Moves a decision to ``status``; with ``was`` only from one of those.

        Raises
        ------
        LedgerError
            when there is no such decision (``NO_SUCH_DECISION``), or it stands elsewhere (``DECISION_CLOSED``).
        """
        with self._write() as session:
            row = session.get(Decision, decision_id, with_for_update=True, populate_existing=True)
            if row is None:
                raise LedgerError("there is no such decision; medreid worklist lists them", reason="NO_SUCH_DECISION")
            if was and row.status not in [state.value for state in was]:
                raise LedgerError(f"decision {row.id} is {row.status} already", reason="DECISION_CLOSED")
            row.status, row.closed_at, row.closed_by = status.value, self.now(), by
            session.flush()
            return _decision(row)

    def decision(self, decision_id: str) -> DecisionRecord | None:
        with self._read() as session:
            row = session.get(Decision, decision_id)
            return None if row is None else _decision(row)

    def decisions(
        self, study_uid: str | None = None, status: DecisionStatus | None = None, limit: int = 1000
    ) -> tuple[DecisionRecord, ...]:
        """Decisions, the latest first."""
        statement = select(Decision).order_by(Decision.created_at.desc(), Decision.id).limit(limit)
        if study_uid is not None:
            statement = statement.where(Decision.study_uid == study_uid)
        if status is not None:
            statement = statement.where(Decision.status == status.value)
        with self._read() as session:
            return tuple(_decision(row) for row in session.scalars(statement))


class Relinks(Core):
    def intend_relink(self, decision_id: str, study_uid: str, receipt: str) -> RelinkRecord:
        """Makes the inverse of a re-link durable *before* the archive changes anything.

        Asked again for the same decision, it keeps the first receipt: after an interruption only that one
        knows what the study was before.
        """
        with self._write() as session:
            now = self.now()
            statement = select(Relink).where(Relink.decision_id == decision_id).with_for_update()
            row = session.scalars(statement).one_or_none()
            if row is None:
                row = Relink(decision_id=decision_id, study_uid=study_uid, receipt=receipt, intended_at=now)
                session.add(row)
            elif row.state in (RelinkState.FAILED.value, RelinkState.UNDONE.value):
                row.receipt, row.intended_at = receipt, now
            row.state, row.failure, row.changed_at = RelinkState.INTENDED.value, "", now
            session.flush()
            return _relink(row)

    def finish_relink(
        self, decision_id: str, state: RelinkState, *, receipt: str | None = None, failure: str = ""
    ) -> RelinkRecord:
        """
        Raises
        ------
        LedgerError
            when no re-link was intended for the decision.
        """
        with self._write() as session:
            statement = select(Relink).where(Relink.decision_id == decision_id).with_for_update()
            row = session.scalars(statement).one_or_none()
            if row is None:
                raise LedgerError(f"no re-link was intended for decision {decision_id}", reason="NO_SUCH_RELINK")
            row.state, row.failure, row.changed_at = state.value, failure, self.now()
            if receipt is not None:
                row.receipt = receipt
            session.flush()
            return _relink(row)

    def relink(self, decision_id: str) -> RelinkRecord | None:
        with self._read() as session:
            row = session.scalars(select(Relink).where(Relink.decision_id == decision_id)).one_or_none()
            return None if row is None else _relink(row)

    def relinks(self, state: RelinkState | None = None, study_uid: str | None = None) -> tuple[RelinkRecord, ...]:
        """Re-links, oldest first. Those that are INTENDED after a start were interrupted."""
        statement = select(Relink).order_by(Relink.id)
        if state is not None:
            statement = statement.where(Relink.state == state.value)
        if study_uid is not None:
            statement = statement.where(Relink.study_uid == study_uid)
        with self._read() as session:
            return tuple(_relink(row) for row in session.scalars(statement))


class Patients(Core):
    def put_patient(self, identity: PatientIdentity) -> None:
        """Notes a patient's demographics; empty ones do not overwrite those that are known."""
        row = {
            "issuer": identity.key.issuer,
            "id": identity.key.id,
            "name": identity.name,
            "birth_date": identity.birth_date,
            "sex": identity.sex,
            "updated_at": self.now(),
        }
        known = [name for name in ("name", "birth_date", "sex") if row[name]]
        with self._write() as session:
            insert_or_update(session, Patient, row, ("issuer", "id"), [*known, "updated_at"])

    def patient(self, key: PatientKey) -> PatientRecord | None:
        with self._read() as session:
            row = session.get(Patient, (key.issuer, key.id))
            return None if row is None else PatientRecord(key, row.name, row.birth_date, row.sex)

    def demographic_counts(self) -> tuple[dict[str, int], dict[int, int]]:
        """How many known patients there are of each sex (M, F) and of each year of birth."""
        born = select(func.substr(Patient.birth_date, 1, 4).label("year")).subquery()
        with self._read() as session:
            sexes = session.execute(select(Patient.sex, func.count()).group_by(Patient.sex)).all()
            years = session.execute(select(born.c.year, func.count()).group_by(born.c.year)).all()
        return (
            {sex: count for sex, count in sexes if sex in ("M", "F")},
            {int(year): count for year, count in years if re.fullmatch("[0-9]{4}", year)},
        )


def _decision(row: Decision) -> DecisionRecord:
    return DecisionRecord(
        id=row.id,
        study_uid=row.study_uid,
        generation=row.generation,
        outcome=Outcome(row.outcome),
        policy=row.policy,
        policy_hash=row.policy_hash,
        patient=PatientKey(row.issuer or "", row.patient_id) if row.patient_id else None,
        posterior=row.posterior,
        p_nobody=row.p_nobody,
        log10_lr=row.log10_lr,
        margin=row.margin,
        candidates=tuple(row.candidates),
        evidence=row.evidence,
        reasons=tuple(row.reasons),
        status=DecisionStatus(row.status),
        created_at=row.created_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
    )


def _relink(row: Relink) -> RelinkRecord:
    return RelinkRecord(
        id=row.id,
        decision_id=row.decision_id,
        study_uid=row.study_uid,
        receipt=row.receipt,
        state=RelinkState(row.state),
        failure=row.failure,
        intended_at=row.intended_at,
        changed_at=row.changed_at,
    )
