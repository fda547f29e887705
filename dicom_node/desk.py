"""What a person does with a study: approve a candidate, reject all, undo a link, try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.errors import CommandError
from dicom_node.audit import Action
from dicom_node.ledger import Claim, DecisionRecord, DecisionStatus, ItemKind, RelinkRecord, RelinkState, StudyState
from dicom_node.node import Node
from dicom_node.roles import owner_name
from inference.types import PatientIdentity, PatientKey

_LEASE_SECONDS = 120.0


class Desk:
    """The worklist's verbs. Every one leases the study, acts, and leaves an audit row."""

    def __init__(self, node: Node, actor: str) -> None:
        self._node = node
        self._actor = actor

    def study_of(self, reference: str) -> str:
        """The study that ``reference`` means: a worklist item's number, a decision's id, or a study's UID.

        Raises
        ------
        CommandError
            ``NOT_FOUND`` when it means none.
        """
        ledger = self._node.ledger
        if reference.isascii() and reference.isdigit() and len(reference) < 19:
            item = ledger.worklist_item(int(reference))
            if item is not None and item.study_uid:
                return item.study_uid
        record = ledger.decision(reference)
        if record is not None:
            return record.study_uid
        if ledger.study(reference) is not None:
            return reference
        raise CommandError(
            "no worklist item, decision or study goes by that name; `medreid worklist` lists what is open",
            reason="NOT_FOUND",
        )

    def approve(self, study_uid: str, patient: PatientKey | None = None) -> DecisionRecord:
        """Links the study to ``patient``, by default the decision's best candidate, and enrols its images.

        Raises
        ------
        CommandError
            when the study has no open decision, or the patient is none of its candidates.
        ArchiveError
            when the archive refuses or is away; the study stays on the worklist.
        """
        ledger = self._node.ledger
        with self._leased(study_uid) as claim:
            record = self._open_decision(study_uid)
            target = self._target(record, patient)
            self._node.relinker.link(record, target, self._actor)
            self._node.evidence.store(record, target.key, self._actor)
            with ledger.transaction():
                closed = ledger.close_decision(record.id, DecisionStatus.APPROVED, self._actor)
                ledger.assign_embeddings(study_uid, target.key)
                self._close(study_uid, "APPROVED")
                self._audit(Action.APPROVE, study_uid, record, target.key)
                ledger.settle(claim, StudyState.LINKED)
        return closed

    def reject(self, study_uid: str) -> DecisionRecord:
        """Says that no candidate is right: the study is nobody's who is enrolled, and is not linked automatically."""
        ledger = self._node.ledger
        with self._leased(study_uid) as claim, ledger.transaction():
            record = self._open_decision(study_uid)
            closed = ledger.close_decision(record.id, DecisionStatus.REJECTED, self._actor)
            self._close(study_uid, "REJECTED")
            self._audit(Action.REJECT, study_uid, record, None)
            ledger.settle(claim, StudyState.NO_MATCH, "REJECTED")
        return closed

    def undo(self, study_uid: str) -> DecisionRecord:
        """Gives the study its former identity back and puts it on the worklist.

        Raises
        ------
        CommandError
            ``NOT_FOUND`` when the study is not linked.
        """
        ledger = self._node.ledger
        with self._leased(study_uid) as claim:
            relink = self._standing(study_uid)
            self._node.relinker.undo(relink, self._actor)
            with ledger.transaction():
                closed = ledger.close_decision(relink.decision_id, DecisionStatus.UNDONE, self._actor)
                ledger.assign_embeddings(study_uid, None)
                ledger.open_item(ItemKind.REVIEW, "UNDONE", study_uid=study_uid, decision_id=relink.decision_id)
                self._audit(Action.UNDO, study_uid, closed, None)
                ledger.settle(claim, StudyState.REVIEW, "UNDONE")
        return closed

    def retry(self, study_uid: str) -> None:
        """Walks a settled study once more, as after the cause of a quarantine was removed."""
        if not self._node.ledger.requeue(study_uid):
            raise CommandError("the study is being worked on, or is not settled yet; try again later")
        self._close(study_uid, "RETRIED")
        self._node.audit.record(self._actor, Action.REQUEUE, study_uid)

    def forget(self, patient: PatientKey) -> int:
        """Deletes every embedding and template of a patient; the studies stay. Returns how many there were.

        Raises
        ------
        CommandError
            ``NOT_FOUND`` when the node knows nothing of the patient.
        """
        ledger = self._node.ledger
        if ledger.patient(patient) is None:
            raise CommandError("the node knows no such patient; check the ID and --issuer", reason="NOT_FOUND")
        with ledger.transaction():
            removed = ledger.forget(patient)
            payload = {"patient": {"issuer": patient.issuer, "id": patient.id}, "embeddings": removed}
            self._node.audit.record(self._actor, Action.FORGET, "", payload)
        return removed

    @contextmanager
    def _leased(self, study_uid: str) -> Iterator[Claim]:
        ledger = self._node.ledger
        before = ledger.study(study_uid)
        claim = ledger.claim_study(study_uid, owner_name(), _LEASE_SECONDS)
        if before is None or claim is None:
            raise CommandError("the study is being worked on or still arriving; try again in a moment", reason="BUSY")
        try:
            yield claim
        except BaseException:
            ledger.release(claim)
            raise

    def _open_decision(self, study_uid: str) -> DecisionRecord:
        for record in self._node.ledger.decisions(study_uid=study_uid):
            if record.status in (DecisionStatus.PENDING, DecisionStatus.UNDONE) and record.candidates:
                return record
        raise CommandError(
            "the study has no open decision; `medreid worklist` lists those there are", reason="NOT_FOUND"
        )

    def _target(self, record: DecisionRecord, patient: PatientKey | None) -> PatientIdentity:
        listed = [PatientKey(candidate["issuer"], candidate["id"]) for candidate in record.candidates]
        chosen = patient or listed[0]
        if chosen not in listed and self._node.ledger.patient(chosen) is None:
            raise CommandError(
                "that patient is neither a candidate nor enrolled; check --patient and --issuer", reason="NOT_FOUND"
            )
        return self._node.known_patient(chosen) or PatientIdentity(chosen)

    def _standing(self, study_uid: str) -> RelinkRecord:
        # One that was interrupted can be taken back as well: the archive cancels what it has of it.
        standing = (RelinkState.INTENDED, RelinkState.DONE)
        found = [r for r in self._node.ledger.relinks(study_uid=study_uid) if r.state in standing]
        if not found:
            raise CommandError("the study is not linked, so there is nothing to undo", reason="NOT_FOUND")
        return found[-1]

    def _close(self, study_uid: str, resolution: str) -> None:
        self._node.ledger.close_items(self._actor, resolution, study_uid=study_uid)

    def _audit(self, action: Action, study_uid: str, record: DecisionRecord, patient: PatientKey | None) -> None:
        payload = {"decision": record.id, "patient": patient and {"issuer": patient.issuer, "id": patient.id}}
        self._node.audit.record(self._actor, action, study_uid, payload)
