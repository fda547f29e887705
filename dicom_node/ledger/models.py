"""The tables. Nothing outside this package knows them; values cross as :mod:`dicom_node.ledger.records`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Double, ForeignKey, Index, Integer, LargeBinary, MetaData, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dicom_node.ledger.types import BigId, CleanText, JsonText

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {str: CleanText(), float: Double(), bytes: LargeBinary(), bool: Boolean()}  # noqa: RUF012


class Object(Base):
    """Bytes in the spool, once per content. ``failure`` names why they could not be indexed."""

    __tablename__ = "objects"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigId)
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    calling_ae: Mapped[str]
    called_ae: Mapped[str]
    peer: Mapped[str]
    association: Mapped[str]
    received_at: Mapped[float]
    failure: Mapped[str]
    released_at: Mapped[float | None]


class Association(Base):
    __tablename__ = "associations"

    id: Mapped[str] = mapped_column(primary_key=True)
    opened_at: Mapped[float]
    ended_at: Mapped[float | None]
    how: Mapped[str]


class Study(Base):
    """A study and its place in the queue.

    A lease that ends much later than ``lease_seconds`` from now, or a wait much longer than ``retry_wait``, was
    written by a clock that has since been set back: it is not waited for.
    """

    __tablename__ = "studies"
    __table_args__ = (Index(None, "state", "due_at"),)

    study_uid: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    generation: Mapped[int] = mapped_column(Integer)
    first_at: Mapped[float]
    last_instance_at: Mapped[float]
    due_at: Mapped[float]
    retry_wait: Mapped[float]
    attempts: Mapped[int] = mapped_column(Integer)
    last_reason: Mapped[str]
    settled_at: Mapped[float | None]
    lease_owner: Mapped[str]
    lease_token: Mapped[str]
    lease_seconds: Mapped[float]
    lease_until: Mapped[float | None]


class StudyAssociation(Base):
    """Which associations delivered instances of a study: all must have ended before it is complete."""

    __tablename__ = "study_associations"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    association: Mapped[str] = mapped_column(ForeignKey("associations.id"), primary_key=True, index=True)


class Series(Base):
    __tablename__ = "series"

    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), primary_key=True)
    series_uid: Mapped[str] = mapped_column(primary_key=True)
    modality: Mapped[str]


class Instance(Base):
    """The object in force for a SOP Instance UID, with its header; ``id`` is the order of arrival."""

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid"),
        Index(None, "study_uid", "series_uid"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    sop_instance_uid: Mapped[str]
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"))
    series_uid: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    patient_id: Mapped[str]
    issuer: Mapped[str]
    patient_name: Mapped[str]
    birth_date: Mapped[str]
    sex: Mapped[str]
    attributes: Mapped[Any] = mapped_column(JsonText())


class Conflict(Base):
    __tablename__ = "conflicts"
    __table_args__ = (
        UniqueConstraint("kind", "sop_instance_uid", "sha256_other"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str]
    sop_instance_uid: Mapped[str]
    sha256_in_force: Mapped[str]
    sha256_other: Mapped[str] = mapped_column(ForeignKey("objects.sha256"))
    study_uid: Mapped[str]
    at: Mapped[float]


class Patient(Base):
    __tablename__ = "patients"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    birth_date: Mapped[str]
    sex: Mapped[str]
    updated_at: Mapped[float]


class PersonOfId(Base):
    """Digests of the (name, birth date) pairs that were called by an identifier."""

    __tablename__ = "persons_of_ids"

    issuer: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)


class Embedding(Base):
    """Vector and template as bytes; ``key_id`` names the key that sealed them (empty: not sealed)."""

    __tablename__ = "embeddings"
    __table_args__ = (
        Index(None, "encoder", "version", "revision"),
        Index(None, "issuer", "patient_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), index=True)
    series_uid: Mapped[str]
    encoder: Mapped[str]
    version: Mapped[str]
    issuer: Mapped[str | None]
    patient_id: Mapped[str | None]
    vector: Mapped[bytes]
    template: Mapped[bytes]
    key_id: Mapped[str]
    quality: Mapped[float]
    modality: Mapped[str]
    view: Mapped[str]
    laterality: Mapped[str]
    created_at: Mapped[float]
    revision: Mapped[int] = mapped_column(BigId)


class TemplateRow(Base):
    """What a geometric verifier keeps of an image, beside the embedding; sealed in the same way."""

    __tablename__ = "templates"
    __table_args__ = (Index(None, "issuer", "patient_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"), index=True)
    series_uid: Mapped[str]
    verifier: Mapped[str]
    version: Mapped[str]
    issuer: Mapped[str | None]
    patient_id: Mapped[str | None]
    data: Mapped[bytes]
    key_id: Mapped[str]
    modality: Mapped[str]
    view: Mapped[str]
    laterality: Mapped[str]
    created_at: Mapped[float]


class EvidenceObject(Base):
    """A DICOM object that the node itself added to a study as evidence of a link."""

    __tablename__ = "evidence_objects"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"), index=True)
    study_uid: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    created_at: Mapped[float]


class EmbeddingRemoval(Base):
    """That an embedding is gone, so that galleries in other processes drop it too. Holds nothing biometric."""

    __tablename__ = "embedding_removals"
    __table_args__ = (Index(None, "encoder", "version", "revision"),)

    embedding_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    encoder: Mapped[str]
    version: Mapped[str]
    revision: Mapped[int] = mapped_column(BigId)


class Decision(Base):
    __tablename__ = "decisions"
    __table_args__ = (Index(None, "study_uid", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_uid"))
    generation: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str]
    policy: Mapped[str]
    policy_hash: Mapped[str]
    issuer: Mapped[str | None]
    patient_id: Mapped[str | None]
    posterior: Mapped[float | None]
    p_nobody: Mapped[float | None]
    log10_lr: Mapped[float | None]
    margin: Mapped[float | None]
    candidates: Mapped[Any] = mapped_column(JsonText())
    evidence: Mapped[Any] = mapped_column(JsonText())
    reasons: Mapped[Any] = mapped_column(JsonText())
    status: Mapped[str]
    created_at: Mapped[float]
    closed_at: Mapped[float | None]
    closed_by: Mapped[str]


class Relink(Base):
    """A re-link's inverse, durable before the archive changes anything."""

    __tablename__ = "relinks"
    __table_args__ = (UniqueConstraint("decision_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"))
    study_uid: Mapped[str] = mapped_column(index=True)
    receipt: Mapped[str]
    state: Mapped[str]
    failure: Mapped[str]
    intended_at: Mapped[float]
    changed_at: Mapped[float]


class WorkItem(Base):
    """What a person is asked to look at. One open item per kind, reason and subject."""

    __tablename__ = "worklist"
    __table_args__ = (
        Index(
            "uq_worklist_open",
            "kind",
            "reason",
            "study_uid",
            "sha256",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(None, "study_uid"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str]
    reason: Mapped[str]
    study_uid: Mapped[str]
    sha256: Mapped[str]
    decision_id: Mapped[str]
    detail: Mapped[Any] = mapped_column(JsonText())
    opened_at: Mapped[float]
    closed_at: Mapped[float | None]
    closed_by: Mapped[str]
    resolution: Mapped[str]


class Counter(Base):
    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigId)


class Cursor(Base):
    """A position in something that is read once: the journal, an archive's change feed."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Revision(Base):
    """A number that grows with every change of what it names; its row lock keeps changes in commit order."""

    __tablename__ = "revisions"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigId)


class AuditRow(Base):
    """The hash chain. ``at`` and ``payload`` are text so that what was hashed is what is stored."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    at: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    payload: Mapped[str]
    previous: Mapped[str]
    hash: Mapped[str]


class AuditHeadRow(Base):
    """The last row of the chain; locking it puts appenders in line."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigId)
    hash: Mapped[str]
