"""Templates of the verifiers, and the DICOM objects that the node itself added: both go when their reason goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import and_, delete, select, update
from sqlalchemy.orm import Session

from dicom_node.ledger.core import Core
from dicom_node.ledger.database import insert_new
from dicom_node.ledger.models import EvidenceObject, TemplateRow
from inference.types import PatientKey
from inference.verification.protocol import Template


class Templates(Core):
    def store_templates(self, study_uid: str, templates: Sequence[Template], patient: PatientKey | None = None) -> None:
        """Replaces what the study had from the same verifier versions; ``patient`` is None while nobody knows whose."""
        with self._write() as session:
            for verifier, version in {(t.verifier, t.version) for t in templates}:
                session.execute(
                    delete(TemplateRow).where(
                        TemplateRow.study_uid == study_uid,
                        TemplateRow.verifier == verifier,
                        TemplateRow.version == version,
                    )
                )
            for template in templates:
                self._insert_template(session, study_uid, template, patient)

    def templates_of_study(self, study_uid: str) -> tuple[Template, ...]:
        """All templates of a study, in the order they were stored."""
        statement = select(TemplateRow).where(TemplateRow.study_uid == study_uid).order_by(TemplateRow.id)
        with self._read() as session:
            return tuple(self._template(row) for row in session.scalars(statement))

    def add_evidence_objects(self, decision_id: str, study_uid: str, uids: Iterable[tuple[str, str]]) -> None:
        """Remembers (SOP Instance UID, kind) of objects about to be added to a study; twice changes nothing."""
        rows = [
            {
                "sop_instance_uid": uid,
                "decision_id": decision_id,
                "study_uid": study_uid,
                "kind": kind,
                "created_at": self.now(),
            }
            for uid, kind in uids
        ]
        with self._write() as session:
            insert_new(session, EvidenceObject, rows)

    def evidence_objects(self, study_uid: str, decision_id: str | None = None) -> tuple[str, ...]:
        """SOP Instance UIDs of what the node added to a study, or for one decision."""
        statement = select(EvidenceObject.sop_instance_uid).where(EvidenceObject.study_uid == study_uid)
        if decision_id is not None:
            statement = statement.where(EvidenceObject.decision_id == decision_id)
        with self._read() as session:
            return tuple(session.scalars(statement.order_by(EvidenceObject.sop_instance_uid)))

    def is_evidence_object(self, sop_instance_uid: str) -> bool:
        with self._read() as session:
            return session.get(EvidenceObject, sop_instance_uid) is not None

    def _insert_template(
        self, session: Session, study_uid: str, template: Template, patient: PatientKey | None
    ) -> None:
        row = TemplateRow(
            study_uid=study_uid,
            series_uid=template.series_uid,
            verifier=template.verifier,
            version=template.version,
            issuer=patient.issuer if patient else None,
            patient_id=patient.id if patient else None,
            data=b"",
            key_id=self._seal.key_id,
            modality=template.modality,
            view=template.view,
            laterality=template.laterality,
            created_at=self.now(),
        )
        session.add(row)
        # The row's number is part of what its bytes are bound to, so it has to exist first.
        session.flush()
        row.data = self._seal.close(template.data, _bound(row))
        session.flush()

    def _template(self, row: TemplateRow) -> Template:
        return Template(
            verifier=row.verifier,
            version=row.version,
            study_uid=row.study_uid,
            series_uid=row.series_uid,
            data=self._seal.open(row.data, _bound(row), row.key_id),
            modality=row.modality,
            view=row.view,
            laterality=row.laterality,
        )


def assign_templates(session: Session, study_uid: str, patient: PatientKey | None) -> None:
    """Gives the templates of a study to a patient, or to nobody."""
    issuer, patient_id = (patient.issuer, patient.id) if patient else (None, None)
    statement = update(TemplateRow).where(TemplateRow.study_uid == study_uid)
    session.execute(statement.values(issuer=issuer, patient_id=patient_id))


def forget_templates(session: Session, patient: PatientKey) -> int:
    """Deletes every template of a patient; returns how many."""
    mine = and_(TemplateRow.issuer == patient.issuer, TemplateRow.patient_id == patient.id)
    return len(session.execute(delete(TemplateRow).where(mine).returning(TemplateRow.id)).all())


def _bound(row: TemplateRow) -> bytes:
    return b"\x00".join([b"template row", *(str(part).encode("utf-8") for part in (row.id, row.verifier, row.version))])
