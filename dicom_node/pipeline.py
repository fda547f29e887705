"""The walk of a study: load, encode, search, decide, act. Every step may be repeated after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from config.errors import RelinkRefusedError
from dicom_node.audit import Action
from dicom_node.crashpoints import crash_point
from dicom_node.ledger import (
    Claim,
    DecisionRecord,
    DecisionStatus,
    ItemKind,
    NewDecision,
    Outcome,
    RelinkRecord,
    RelinkState,
    StudyState,
)
from dicom_node.material import Material, material_of
from dicom_node.node import Node
from dicom_node.subject import Subject
from dicom_node.verifying import Verified, nominated
from inference.evidence import Evidence, gather_evidence
from inference.matching import Decision, Reason, decide, policy_hash
from inference.types import Encoding, PatientIdentity, PatientKey, SeriesHeader

WORKER = "worker"
_Verified = Mapping[PatientKey, Mapping[str, Verified]]
# A person's word stands: what was undone or rejected once is never linked again without one.
_HUMAN_SAID_NO = (DecisionStatus.UNDONE, DecisionStatus.REJECTED)

log = structlog.get_logger()


class Pipeline:
    """Walks studies with the parts of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def walk(self, claim: Claim) -> StudyState:
        """Takes a claimed study as far as it goes, records why, and settles it.

        Raises
        ------
        MedReIDError
            for whatever may pass (an archive that is away): the caller gives the study back for another try.
        """
        node = self.node
        series = node.series(claim.study_uid)
        if node.keeps_received:
            node.archive.store(claim.study_uid, node.files(claim.study_uid))
        crash_point("walk.stored")
        standing = self._standing_link(claim.study_uid)
        if standing is not None:
            return self._continue_link(claim, standing, series)
        subject = node.subject(claim.study_uid)
        material = material_of(node, series)
        if subject.identity is None:
            return self._identify(claim, subject, material)
        return self._enrol(claim, subject.identity, material)

    def _enrol(self, claim: Claim, identity: PatientIdentity, material: Material) -> StudyState:
        ledger = self.node.ledger
        with ledger.transaction():
            ledger.put_patient(identity)
            material.keep(self.node, claim.study_uid, identity.key)
            ledger.record_decision(
                self._new_decision(claim, Outcome.ENROL, patient=identity.key), status=DecisionStatus.ACTED
            )
            self._close_items(claim, "ENROLLED")
            self._audit(
                Action.ENROL, claim.study_uid, {"patient": _key(identity), "embeddings": len(material.encodings)}
            )
            return ledger.settle(claim, StudyState.ENROLLED, "" if material.encodings else "NO_USABLE_IMAGE")

    def _identify(self, claim: Claim, subject: Subject, material: Material) -> StudyState:
        ledger = self.node.ledger
        pending = self._pending_link(claim)
        if pending is not None:
            return self._link(claim, pending)
        material.keep(self.node, claim.study_uid)
        if not material.encodings:
            return self._without_evidence(claim, subject)
        evidence, verified = self._search(subject, material)
        decision = self._decide(claim, subject, evidence)
        with ledger.transaction():
            record = ledger.record_decision(
                self._described(claim, subject, material.encodings, evidence, verified, decision)
            )
            self._audit(Action.SEARCH, claim.study_uid, {"decision": record.id, "searched": evidence.searched})
            self._audit(Action.DECISION, claim.study_uid, _summary(record))
            ledger.count("decision", outcome=record.outcome.value)
            if decision.reasons == (Reason.REVIEW_ONLY,):
                ledger.count("link_withheld", reason=Reason.REVIEW_ONLY.value)
        crash_point("walk.decided")
        if record.outcome is Outcome.LINK:
            return self._link(claim, record)
        return self._settle_unlinked(claim, record)

    def _search(self, subject: Subject, material: Material) -> tuple[Evidence, _Verified]:
        node, encodings = self.node, material.encodings
        names = sorted({encoding.encoder for encoding in encodings})
        evidence = gather_evidence(
            encodings,
            {name: node.galleries.of(node.registry.get(name)) for name in names},
            {name: node.registry.calibration(name) for name in names},
            candidates=node.settings.gallery.candidates,
            trusted_scopes=node.settings.calibration.trusted_scopes,
            probe=subject.demographics,
            known=node.known_patient,
            weights=node.demographic_weights(),
            review_only=[name for name in names if not node.registry.bundle(name).manifest.may_link],
        )
        verified = node.verifying.verify(material.templates, nominated(evidence))
        return node.verifying.joined(evidence, verified), verified

    def _decide(self, claim: Claim, subject: Subject, evidence: Evidence) -> Decision:
        said_no = any(
            record.status in _HUMAN_SAID_NO for record in self.node.ledger.decisions(study_uid=claim.study_uid)
        )
        notes = [*evidence.notes]
        if said_no:
            notes.append("A_PERSON_SAID_NO_BEFORE")
        if not subject.assessment.may_link:
            notes.append(_reason(subject))
        return decide(
            evidence.patients,
            evidence.searched,
            self.node.settings.policy,
            auto_allowed=evidence.trusted and subject.assessment.may_link and not said_no,
            rest_log10_lr=evidence.rest_log10_lr,
            rest_mean_log10_lr=evidence.rest_mean_log10_lr,
            fusion=evidence.fusion,
            review_only=evidence.review_only,
            notes=notes,
        )

    def _link(self, claim: Claim, record: DecisionRecord) -> StudyState:
        """Acts on a LINK. What the archive's guards refuse goes to a person, with the guard's name."""
        ledger = self.node.ledger
        assert record.patient is not None
        try:
            self.node.relinker.link(
                record, self.node.known_patient(record.patient) or PatientIdentity(record.patient), WORKER
            )
        except RelinkRefusedError as error:
            ledger.count("relink_refused", reason=error.reason)
            return self._to_review(claim, record, error.reason)
        crash_point("walk.linked")
        self.node.evidence.store(record, record.patient, WORKER)
        with ledger.transaction():
            ledger.close_decision(record.id, DecisionStatus.ACTED, WORKER)
            self._close_items(claim, "LINKED")
            return ledger.settle(claim, StudyState.LINKED)

    def _settle_unlinked(self, claim: Claim, record: DecisionRecord) -> StudyState:
        if record.outcome is Outcome.REVIEW:
            return self._to_review(claim, record, next(iter(record.reasons), "REVIEW"))
        with self.node.ledger.transaction():
            self.node.ledger.close_decision(record.id, DecisionStatus.ACTED, WORKER)
            self._close_items(claim, "NO_MATCH")
            return self.node.ledger.settle(claim, StudyState.NO_MATCH)

    def _to_review(self, claim: Claim, record: DecisionRecord, reason: str) -> StudyState:
        ledger = self.node.ledger
        with ledger.transaction():
            self._close_items(claim, "SUPERSEDED")
            ledger.open_item(ItemKind.REVIEW, reason, study_uid=claim.study_uid, decision_id=record.id)
            return ledger.settle(claim, StudyState.REVIEW, reason)

    def _without_evidence(self, claim: Claim, subject: Subject) -> StudyState:
        ledger = self.node.ledger
        with ledger.transaction():
            record = ledger.record_decision(
                self._new_decision(claim, Outcome.NO_EVIDENCE, evidence={"orphan": _reason(subject)}),
                status=DecisionStatus.ACTED,
            )
            ledger.open_item(ItemKind.NO_EVIDENCE, "NO_USABLE_IMAGE", study_uid=claim.study_uid, decision_id=record.id)
            self._audit(Action.DECISION, claim.study_uid, _summary(record))
            ledger.count("decision", outcome=record.outcome.value)
            return ledger.settle(claim, StudyState.NO_EVIDENCE, "NO_USABLE_IMAGE")

    def _close_items(self, claim: Claim, resolution: str) -> None:
        """Closes what an earlier walk asked a person about this study; conflicts and quarantines stay."""
        for kind in (ItemKind.REVIEW, ItemKind.NO_EVIDENCE):
            self.node.ledger.close_items(WORKER, resolution, study_uid=claim.study_uid, kind=kind)

    def _standing_link(self, study_uid: str) -> RelinkRecord | None:
        """The re-link that this study is under, finished or interrupted."""
        standing = [
            record
            for record in self.node.ledger.relinks(study_uid=study_uid)
            if record.state in (RelinkState.INTENDED, RelinkState.DONE)
        ]
        return standing[-1] if standing else None

    def _continue_link(self, claim: Claim, relink: RelinkRecord, series: Sequence[SeriesHeader]) -> StudyState:
        """Finishes an interrupted re-link, or moves late slices to where the study went; the decision stands."""
        ledger = self.node.ledger
        record = ledger.decision(relink.decision_id)
        assert record is not None and record.patient is not None
        if relink.state is RelinkState.INTENDED:
            return self._link(claim, record)
        self.node.relinker.sweep(relink, WORKER)
        material = material_of(self.node, series)
        # Only links that a person confirmed may enrol: otherwise one wrong link would breed others.
        patient = record.patient if record.status is DecisionStatus.APPROVED else None
        with ledger.transaction():
            if record.status is DecisionStatus.PENDING:  # killed between the finished link and its settling
                ledger.close_decision(record.id, DecisionStatus.ACTED, WORKER)
            self._close_items(claim, "LINKED")
            material.keep(self.node, claim.study_uid, patient)
            return ledger.settle(claim, StudyState.LINKED)

    def _pending_link(self, claim: Claim) -> DecisionRecord | None:
        """A LINK for these very instances that an interruption left undone."""
        for record in self.node.ledger.decisions(study_uid=claim.study_uid, status=DecisionStatus.PENDING):
            if record.outcome is Outcome.LINK and record.generation == claim.generation:
                return record
        return None

    def _described(
        self,
        claim: Claim,
        subject: Subject,
        encodings: Sequence[Encoding],
        evidence: Evidence,
        verified: _Verified,
        decision: Decision,
    ) -> NewDecision:
        candidates = tuple(
            {
                "issuer": ranked.patient.issuer,
                "id": ranked.patient.id,
                "posterior": ranked.posterior,
                "log10_lr": ranked.log10_lr,
                "log10_lrs": dict(ranked.log10_lrs),
                "p_value": ranked.p_value,
                "score": ranked.score,
                "contradictions": [str(reason) for reason in ranked.contradictions],
                "references": {
                    name: {"study": found.study_uid, "embedding": found.embedding_id, "score": found.score}
                    for name, found in evidence.references.get(ranked.patient, {}).items()
                },
                "verified": {
                    name: {
                        "version": found.version,
                        "score": found.score,
                        "study": found.reference.study_uid,
                        "series": found.reference.series_uid,
                        "probe_series": found.probe.series_uid,
                    }
                    for name, found in verified.get(ranked.patient, {}).items()
                },
            }
            for ranked in decision.ranked
        )
        return self._new_decision(
            claim,
            Outcome(decision.outcome.value),
            patient=decision.best,
            posterior=decision.posterior,
            p_nobody=decision.p_nobody,
            log10_lr=decision.log10_lr,
            margin=decision.margin_log10,
            candidates=candidates,
            evidence={
                "orphan": _reason(subject),
                "searched": decision.searched,
                "gallery": f"revision {self.node.ledger.embedding_revision()}",
                "p_rest": decision.p_rest,
                "p_value": decision.p_value,
                "fpir": decision.fpir,
                "quality": decision.quality,
                "notes": list(decision.notes),
                "encoders": sorted({f"{encoding.encoder} {encoding.version}" for encoding in encodings}),
            },
            reasons=tuple(str(reason) for reason in decision.reasons),
        )

    def _new_decision(self, claim: Claim, outcome: Outcome, **values: Any) -> NewDecision:
        policy = self.node.settings.policy
        return NewDecision(
            study_uid=claim.study_uid,
            generation=claim.generation,
            outcome=outcome,
            policy=policy.name,
            policy_hash=policy_hash(policy),
            **values,
        )

    def _audit(self, action: Action, study_uid: str, payload: dict[str, Any]) -> None:
        self.node.audit.record(WORKER, action, study_uid, payload)


def _reason(subject: Subject) -> str:
    return str(subject.assessment.reason or "")


def _key(identity: PatientIdentity) -> dict[str, str]:
    return {"issuer": identity.key.issuer, "id": identity.key.id}


def _summary(record: DecisionRecord) -> dict[str, Any]:
    return {
        "decision": record.id,
        "outcome": record.outcome.value,
        "patient": {"issuer": record.patient.issuer, "id": record.patient.id} if record.patient else None,
        "posterior": record.posterior,
        "log10_lr": record.log10_lr,
        "policy": record.policy,
        "policy_hash": record.policy_hash,
        "reasons": list(record.reasons),
    }
