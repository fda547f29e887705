"""Embeddings: the truth that every gallery is a cache of. Sealed at rest when a key is configured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sqlalchemy import Row, Select, and_, delete, select, update
from sqlalchemy.orm import Session

from dicom_node.ledger.core import Core
from dicom_node.ledger.database import add_to, insert_new
from dicom_node.ledger.models import Embedding, EmbeddingRemoval, Patient, Revision
from dicom_node.ledger.records import EmbeddingRecord, GalleryChanges
from dicom_node.ledger.templates import assign_templates, forget_templates
from inference.gallery.protocol import GalleryEntry
from inference.types import Encoding, FloatArray, PatientKey

PAGE = 1000
REVISION = "embeddings"


class Embeddings(Core):
    def store_embeddings(
        self, study_uid: str, encodings: Sequence[Encoding], patient: PatientKey | None = None
    ) -> tuple[int, ...]:
        """Replaces what the study had from the same encoder versions; returns the new ids, in order.

        ``patient`` is None while nobody knows whose they are: then no gallery holds them.
        """
        with self._write() as session:
            revision = _next_revision(session)
            for encoder, version in {(e.encoder, e.version) for e in encodings}:
                of_study = and_(
                    Embedding.study_uid == study_uid, Embedding.encoder == encoder, Embedding.version == version
                )
                _remove(session, of_study, revision)
            return tuple(self._insert(session, study_uid, e, patient, revision) for e in encodings)

    def assign_embeddings(self, study_uid: str, patient: PatientKey | None) -> int:
        """Gives the embeddings of a study to a patient, or to nobody; returns how many there are."""
        with self._write() as session:
            issuer, patient_id = (patient.issuer, patient.id) if patient else (None, None)
            statement = update(Embedding).where(Embedding.study_uid == study_uid)
            statement = statement.values(issuer=issuer, patient_id=patient_id, revision=_next_revision(session))
            assign_templates(session, study_uid, patient)
            return len(session.scalars(statement.returning(Embedding.id)).all())

    def forget(self, patient: PatientKey) -> int:
        """Deletes every embedding and template of a patient, and the patient's record; returns how many."""
        with self._write() as session:
            mine = and_(Embedding.issuer == patient.issuer, Embedding.patient_id == patient.id)
            removed = _remove(session, mine, _next_revision(session)) + forget_templates(session, patient)
            session.execute(delete(Patient).where(Patient.issuer == patient.issuer, Patient.id == patient.id))
            return removed

    def embeddings_of_study(self, study_uid: str) -> tuple[EmbeddingRecord, ...]:
        statement = select(Embedding).where(Embedding.study_uid == study_uid).order_by(Embedding.id)
        with self._read() as session:
            return tuple(_record(row) for row in session.scalars(statement))

    def encodings_of_study(self, study_uid: str) -> tuple[Encoding, ...]:
        """The stored encodings of a study with vectors and templates, in the order they were stored."""
        statement = select(Embedding).where(Embedding.study_uid == study_uid).order_by(Embedding.id)
        with self._read() as session:
            return tuple(self._encoding(row) for row in session.scalars(statement))

    def embeddings_of(self, encoder: str, version: str, batch: int = PAGE) -> Iterator[tuple[GalleryEntry, ...]]:
        """All enrolled embeddings of an encoder version, ``batch`` at a time in the order of their ids."""
        after = 0
        while True:
            statement = _enrolled(encoder, version).where(Embedding.id > after).order_by(Embedding.id).limit(batch)
            with self._read() as session:
                entries = tuple(self._entry(row) for row in session.execute(statement))
            if entries:
                yield entries
            if len(entries) < batch:
                return
            after = entries[-1].embedding_id

    def embedding_revision(self) -> int:
        """Grows with every change of any embedding: read it *before* :meth:`embeddings_of` to follow from there."""
        with self._read() as session:
            return _revision(session)

    def gallery_changes(self, encoder: str, version: str, since: int, limit: int = PAGE) -> GalleryChanges:
        """What other processes did to an encoder's enrolled embeddings after revision ``since``.

        Embeddings that no longer belong to anybody are reported as removed. Where ``complete`` is false, ask
        again from the returned revision.
        """
        with self._read() as session:
            newest = _revision(session)
            changed = _revisions_of(session, Embedding, encoder, version, since, limit)
            gone = _revisions_of(session, EmbeddingRemoval, encoder, version, since, limit)
            # A revision is taken whole or not at all, so that the next question can begin after it.
            upto = min([newest, *(seen[-1] for seen in (changed, gone) if len(seen) == limit)])
            window = and_(Embedding.revision > since, Embedding.revision <= upto)
            entries = tuple(self._entry(row) for row in session.execute(_enrolled(encoder, version).where(window)))
            unassigned = select(Embedding.id).where(
                Embedding.encoder == encoder, Embedding.version == version, Embedding.patient_id.is_(None), window
            )
            removed = select(EmbeddingRemoval.embedding_id).where(
                EmbeddingRemoval.encoder == encoder,
                EmbeddingRemoval.version == version,
                EmbeddingRemoval.revision > since,
                EmbeddingRemoval.revision <= upto,
            )
            ids = (*session.scalars(unassigned), *session.scalars(removed))
        return GalleryChanges(upto, entries, ids, complete=upto == newest)

    def _insert(
        self, session: Session, study_uid: str, encoding: Encoding, patient: PatientKey | None, revision: int
    ) -> int:
        row = Embedding(
            study_uid=study_uid,
            series_uid=encoding.series_uid,
            encoder=encoding.encoder,
            version=encoding.version,
            issuer=patient.issuer if patient else None,
            patient_id=patient.id if patient else None,
            vector=b"",
            template=b"",
            key_id=self._seal.key_id,
            quality=float(encoding.quality),
            modality=encoding.modality,
            view=encoding.view,
            laterality=encoding.laterality,
            created_at=self.now(),
            revision=revision,
        )
        session.add(row)
        # The row's number is part of what its bytes are bound to, so it has to exist first.
        session.flush()
        row.vector = self._seal.close(_to_bytes(encoding.vector), _bound(row, b"vector"))
        row.template = self._seal.close(encoding.template, _bound(row, b"template"))
        session.flush()
        return row.id

    def _entry(self, row: Row[Embedding, str, str]) -> GalleryEntry:
        embedding, sex, birth_date = row
        assert embedding.issuer is not None and embedding.patient_id is not None
        return GalleryEntry(
            embedding_id=embedding.id,
            patient=PatientKey(embedding.issuer, embedding.patient_id),
            study_uid=embedding.study_uid,
            vector=self._vector(embedding),
            modality=embedding.modality,
            view=embedding.view,
            laterality=embedding.laterality,
            sex=sex or "",
            birth_date=birth_date or "",
            quality=embedding.quality,
        )

    def _encoding(self, row: Embedding) -> Encoding:
        return Encoding(
            encoder=row.encoder,
            version=row.version,
            study_uid=row.study_uid,
            series_uid=row.series_uid,
            vector=self._vector(row),
            quality=row.quality,
            modality=row.modality,
            view=row.view,
            laterality=row.laterality,
            template=self._seal.open(row.template, _bound(row, b"template"), row.key_id),
        )

    def _vector(self, row: Embedding) -> FloatArray:
        plain = self._seal.open(row.vector, _bound(row, b"vector"), row.key_id)
        return np.frombuffer(plain, dtype="<f4").astype(np.float32)


def _to_bytes(vector: FloatArray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _bound(row: Embedding, part: bytes) -> bytes:
    names = (str(row.id), row.encoder, row.version)
    return b"\x00".join([part, *(name.encode("utf-8") for name in names)])


def _enrolled(encoder: str, version: str) -> Select[Embedding, str, str]:
    same_patient = and_(Patient.issuer == Embedding.issuer, Patient.id == Embedding.patient_id)
    return (
        select(Embedding, Patient.sex, Patient.birth_date)
        .outerjoin(Patient, same_patient)
        .where(Embedding.encoder == encoder, Embedding.version == version, Embedding.patient_id.isnot(None))
    )


def _revisions_of(
    session: Session, model: type[Embedding | EmbeddingRemoval], encoder: str, version: str, since: int, limit: int
) -> list[int]:
    statement = select(model.revision).where(model.encoder == encoder, model.version == version, model.revision > since)
    return list(session.scalars(statement.order_by(model.revision).limit(limit)))


def _remove(session: Session, which: object, revision: int) -> int:
    statement = delete(Embedding).where(which)  # type: ignore[arg-type]
    gone = session.execute(statement.returning(Embedding.id, Embedding.encoder, Embedding.version)).all()
    rows = [{"embedding_id": i, "encoder": e, "version": v, "revision": revision} for i, e, v in gone]
    insert_new(session, EmbeddingRemoval, rows)
    return len(rows)


def _revision(session: Session) -> int:
    return session.scalar(select(Revision.value).where(Revision.name == REVISION)) or 0


def _next_revision(session: Session) -> int:
    add_to(session, Revision, {"name": REVISION, "value": 1}, ("name",), "value")
    return _revision(session)


def _record(row: Embedding) -> EmbeddingRecord:
    patient = PatientKey(row.issuer or "", row.patient_id) if row.patient_id else None
    return EmbeddingRecord(
        id=row.id,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        encoder=row.encoder,
        version=row.version,
        patient=patient,
        quality=row.quality,
        modality=row.modality,
        view=row.view,
        laterality=row.laterality,
        sealed=bool(row.key_id),
    )
