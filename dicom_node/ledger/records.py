"""The values that the ledger takes and gives: frozen, without SQL, safe to keep after a transaction ended.

Times are seconds since the epoch (UTC): they compare across processes and restarts on every database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from inference.gallery.protocol import GalleryEntry
from inference.types import InstanceHeader, PatientKey


class StudyState(StrEnum):
    """Where a study stands. All but the first two are settled: nothing happens until something new is heard."""

    ASSEMBLING = "ASSEMBLING"
    READY = "READY"
    ENROLLED = "ENROLLED"
    LINKED = "LINKED"
    REVIEW = "REVIEW"
    NO_MATCH = "NO_MATCH"
    NO_EVIDENCE = "NO_EVIDENCE"
    QUARANTINED = "QUARANTINED"

    @property
    def settled(self) -> bool:
        return self not in (StudyState.ASSEMBLING, StudyState.READY)


class Outcome(StrEnum):
    LINK = "LINK"
    REVIEW = "REVIEW"
    NO_MATCH = "NO_MATCH"
    ENROL = "ENROL"
    NO_EVIDENCE = "NO_EVIDENCE"


class DecisionStatus(StrEnum):
    PENDING = "PENDING"
    ACTED = "ACTED"
    UNDONE = "UNDONE"
    SUPERSEDED = "SUPERSEDED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class RelinkState(StrEnum):
    INTENDED = "INTENDED"
    DONE = "DONE"
    UNDONE = "UNDONE"
    FAILED = "FAILED"


class ItemKind(StrEnum):
    """Why a person is asked to look."""

    REVIEW = "REVIEW"
    CONFLICT = "CONFLICT"
    QUARANTINE = "QUARANTINE"
    NO_EVIDENCE = "NO_EVIDENCE"
    MISFILE = "MISFILE"


class ConflictKind(StrEnum):
    """Two objects that cannot both be right: both are kept, the first one stays in force."""

    OTHER_BYTES = "OTHER_BYTES"
    OTHER_STUDY = "OTHER_STUDY"
    UID_MISMATCH = "UID_MISMATCH"


@dataclass(frozen=True, slots=True)
class ReceivedIdentity:
    """Patient elements exactly as an instance carried them (text decoded as well as it could be)."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """That somebody was called by a patient key: ``person`` is a digest of name and birth date, never the text."""

    key: PatientKey
    person: str


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """One durable object of the spool and what its header says; ``header`` is None when it could not be read.

    An ``echo`` says nothing new: other bytes under its UID are no conflict.
    """

    sha256: str
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    association: str
    received_at: float
    header: InstanceHeader | None = None
    failure: str = ""
    person: PersonSeen | None = None
    echo: bool = False


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    association: str
    how: str
    at: float


@dataclass(frozen=True, slots=True)
class Counted:
    name: str
    n: int


IntakeItem = ReceivedObject | AssociationEnded | Counted


@dataclass(frozen=True, slots=True)
class CursorMove:
    """A cursor goes from ``old`` (empty: never set) to ``new``; another value in its place is an error."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What became of a batch, in objects."""

    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    studies: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    sha256: str
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    association: str
    received_at: float
    failure: str
    released_at: float | None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    study_uid: str
    state: StudyState
    generation: int
    instances: int
    series: int
    modalities: tuple[str, ...]
    first_at: float
    last_instance_at: float
    due_at: float
    attempts: int
    last_reason: str
    settled_at: float | None
    lease_owner: str
    lease_until: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one generation of a study until ``until``. ``token`` tells one lease from the next."""

    study_uid: str
    generation: int
    attempt: int
    owner: str
    token: str
    lease_seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    id: int
    kind: ConflictKind
    sop_instance_uid: str
    sha256_in_force: str
    sha256_other: str
    study_uid: str
    at: float


@dataclass(frozen=True, slots=True)
class PatientRecord:
    key: PatientKey
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class EmbeddingRecord:
    """One stored embedding without its vector."""

    id: int
    study_uid: str
    series_uid: str
    encoder: str
    version: str
    patient: PatientKey | None
    quality: float
    modality: str
    view: str
    laterality: str
    sealed: bool


@dataclass(frozen=True, slots=True)
class GalleryChanges:
    """What happened to an encoder's enrolled embeddings since a revision. Apply removals first, then entries."""

    revision: int
    entries: tuple[GalleryEntry, ...]
    removed: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision before it is stored. Log likelihood ratios are base 10; probabilities are in [0, 1].

    ``candidates`` are JSON mappings, best first, each with the ``issuer`` and ``id`` of a patient; neither
    they nor ``evidence`` hold names or birth dates.
    """

    study_uid: str
    generation: int
    outcome: Outcome
    policy: str
    policy_hash: str
    patient: PatientKey | None = None
    posterior: float | None = None
    p_nobody: float | None = None
    log10_lr: float | None = None
    margin: float | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    id: str
    study_uid: str
    generation: int
    outcome: Outcome
    policy: str
    policy_hash: str
    patient: PatientKey | None
    posterior: float | None
    p_nobody: float | None
    log10_lr: float | None
    margin: float | None
    candidates: tuple[Mapping[str, Any], ...]
    evidence: Mapping[str, Any]
    reasons: tuple[str, ...]
    status: DecisionStatus
    created_at: float
    closed_at: float | None
    closed_by: str


@dataclass(frozen=True, slots=True)
class RelinkRecord:
    """``receipt`` is the JSON text of a :class:`dicom_node.archives.protocol.RelinkReceipt`."""

    id: int
    decision_id: str
    study_uid: str
    receipt: str
    state: RelinkState
    failure: str
    intended_at: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class WorklistItem:
    id: int
    kind: ItemKind
    reason: str
    study_uid: str
    sha256: str
    decision_id: str
    detail: Mapping[str, Any]
    opened_at: float
    closed_at: float | None
    closed_by: str
    resolution: str


@dataclass(frozen=True, slots=True)
class CounterValue:
    name: str
    labels: Mapping[str, str]
    value: int


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit chain; ``hash`` covers every other field, ``previous`` is the hash of the row before."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    payload: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The node at a glance. Ages are seconds; None where there is nothing to be old."""

    studies: Mapping[StudyState, int]
    leased: int
    worklist: Mapping[ItemKind, int]
    oldest_ready_age: float | None
    objects: int
    conflicts: int
    patients: int
    embeddings: int
    unsealed_embeddings: int
    open_associations: int
    counters: tuple[CounterValue, ...]
