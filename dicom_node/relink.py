"""Acting on a decision and undoing it: guards that hold for every archive, the inverse first, an audit row after."""

from __future__ import annotations

from config.errors import ArchiveConflictError, ArchiveError, RelinkRefusedError
from config.settings import Settings
from dicom_node.archives.protocol import Archive, Provenance, RelinkReceipt
from dicom_node.audit import Action, AuditTrail
from dicom_node.crashpoints import crash_point
from dicom_node.ledger import DecisionRecord, Ledger, ReceivedIdentity, RelinkRecord, RelinkState
from dicom_node.orphans import OrphanDetector
from inference.types import PatientIdentity


class Relinker:
    """The one place where a decision changes an archive.

    Parameters
    ----------
    archive
        where the studies are.
    ledger
        keeps the receipts: each is durable before the archive changes anything.
    audit
        gets a row for every link, sweep and undo.
    """

    def __init__(self, archive: Archive, ledger: Ledger, audit: AuditTrail, settings: Settings) -> None:
        self._archive = archive
        self._ledger = ledger
        self._audit = audit
        self._system = settings.node.name
        self._detector = OrphanDetector(settings.orphans, settings.identity)

    def link(self, decision: DecisionRecord, target: PatientIdentity, actor: str) -> RelinkReceipt:
        """Gives the decision's study to ``target``. Called again, it finishes what an interruption left.

        Raises
        ------
        RelinkRefusedError
            ``TARGET_IS_PLACEHOLDER``, ``LINKED_ALREADY`` (by another decision), or what the archive's own guards say.
        ArchiveError
            when the archive is away or disagrees; the next call goes on from there.
        """
        self._check(decision, target)
        standing = self._ledger.relink(decision.id)
        if standing is not None and standing.state is RelinkState.DONE:
            return RelinkReceipt.from_json(standing.receipt)
        provenance = Provenance(decision.id, self._system)
        try:
            receipt = self._archive.relink(
                decision.study_uid, target, provenance, lambda receipt: self._intend(decision, receipt)
            )
        except ArchiveError as error:
            self._note_failure(decision, error)
            raise
        crash_point("relink.archived")
        with self._ledger.transaction():
            # An archive that had finished before a kill reports so without asking for the intent again.
            self._intend(decision, receipt)
            self._ledger.finish_relink(decision.id, RelinkState.DONE, receipt=receipt.to_json())
            self._note(actor, Action.LINK, decision.study_uid, receipt)
            self._ledger.count("study_linked")
        return receipt

    def sweep(self, relink: RelinkRecord, actor: str) -> int:
        """Moves what arrived under the former identity after the re-link; returns how many instances."""

        def extend(receipt: RelinkReceipt) -> None:
            self._ledger.finish_relink(relink.decision_id, RelinkState.DONE, receipt=receipt.to_json())

        moved = self._archive.sweep(RelinkReceipt.from_json(relink.receipt), extend)
        if moved:
            payload = {"decision": relink.decision_id, "late_instances": moved}
            self._audit.record(actor, Action.LINK, relink.study_uid, payload)
            self._ledger.count("late_instances_linked", moved)
        return moved

    def undo(self, relink: RelinkRecord, actor: str) -> None:
        """Gives the study its former identity back. A second call changes nothing.

        Raises
        ------
        ArchiveError
            when the archive is away or disagrees; the next call goes on from there.
        """
        receipt = RelinkReceipt.from_json(relink.receipt)
        # Evidence names the patient that the study is about to lose.
        self._archive.remove(relink.study_uid, self._ledger.evidence_objects(relink.study_uid, relink.decision_id))
        self._archive.undo(receipt)
        crash_point("relink.undone")
        with self._ledger.transaction():
            self._ledger.finish_relink(relink.decision_id, RelinkState.UNDONE)
            self._note(actor, Action.UNDO, relink.study_uid, receipt)
            self._ledger.count("study_unlinked")

    def _check(self, decision: DecisionRecord, target: PatientIdentity) -> None:
        as_received = ReceivedIdentity(target.key.id, target.key.issuer, target.name, target.birth_date, target.sex)
        if self._detector.assess([as_received], self._ledger).is_orphan:
            raise RelinkRefusedError(
                "the target looks like a placeholder itself; link to a real patient", reason="TARGET_IS_PLACEHOLDER"
            )
        for other in self._ledger.relinks(study_uid=decision.study_uid):
            standing = other.state in (RelinkState.INTENDED, RelinkState.DONE)
            if standing and other.decision_id != decision.id:
                raise RelinkRefusedError(
                    "the study is linked by another decision; undo that one first", reason="LINKED_ALREADY"
                )

    def _intend(self, decision: DecisionRecord, receipt: RelinkReceipt) -> None:
        self._ledger.intend_relink(decision.id, decision.study_uid, receipt.to_json())

    def _note_failure(self, decision: DecisionRecord, error: ArchiveError) -> None:
        """What the archive refused, or found contradicted, is over: it has changed nothing, or taken it back.

        What it could not finish stays intended and is taken up again.
        """
        self._ledger.count("relink_failed", reason=error.reason)
        if (
            isinstance(error, RelinkRefusedError | ArchiveConflictError)
            and self._ledger.relink(decision.id) is not None
        ):
            self._ledger.finish_relink(decision.id, RelinkState.FAILED, failure=error.reason)

    def _note(self, actor: str, action: Action, study_uid: str, receipt: RelinkReceipt) -> None:
        target = receipt.target.key
        payload = {
            "decision": receipt.decision_id,
            "patient": {"issuer": target.issuer, "id": target.id},
            "instances": len(receipt.instances),
        }
        self._audit.record(actor, action, study_uid, payload)
