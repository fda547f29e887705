"""Stores the evidence of a link beside the linked images, when the site asked for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import EncoderError
from config.settings import Settings
from dicom_node.archives.protocol import Archive
from dicom_node.audit import Action, AuditTrail
from dicom_node.crashpoints import crash_point
from dicom_node.evidence import Link, Source, evidence_of, object_uids
from dicom_node.ledger import DecisionRecord, Ledger
from inference.types import PatientKey
from inference.verification.protocol import Template
from inference.verification.registry import verifiers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class EvidenceStore:
    """Makes and stores the objects of :mod:`dicom_node.evidence` after a link, once per decision."""

    def __init__(self, archive: Archive, ledger: Ledger, audit: AuditTrail, settings: Settings) -> None:
        self._archive = archive
        self._ledger = ledger
        self._audit = audit
        self._settings = settings

    def store(self, decision: DecisionRecord, patient: PatientKey, actor: str) -> int:
        """Adds the evidence of a link that was made; returns how many objects were new.

        Nothing happens where the site did not ask for it. Called again, it adds what is missing.

        Raises
        ------
        ArchiveError
            when the archive is away; the link stands, and the next call goes on from there.
        """
        if not self._settings.evidence.objects:
            return 0
        link = self._link(decision, patient)
        uids = object_uids(link)
        present = set(self._archive.sop_instance_uids(decision.study_uid))
        if all(uid in present for uid, _ in uids):
            return 0
        own = set(self._ledger.evidence_objects(decision.study_uid))
        images = list(_headers(self._archive.fetch(decision.study_uid, without=own)))
        # Known before they exist: what the archive's news then tell of them is no news.
        self._ledger.add_evidence_objects(decision.id, decision.study_uid, uids)
        crash_point("evidence.noted")
        added = self._put(decision.study_uid, evidence_of(link, images))
        self._audit.record(actor, Action.EVIDENCE, decision.study_uid, {"decision": decision.id, "objects": added})
        self._ledger.count("evidence_stored", added)
        return added

    def _put(self, study_uid: str, objects: Sequence[Dataset]) -> int:
        with tempfile.TemporaryDirectory(prefix="medreid-evidence-") as name:
            files = []
            for number, one in enumerate(objects):
                path = Path(name) / f"{number}.dcm"
                one.save_as(path, enforce_file_format=True)
                files.append(path)
            return self._archive.store(study_uid, files)

    def _link(self, decision: DecisionRecord, patient: PatientKey) -> Link:
        mine: Mapping[str, Any] = next(
            (one for one in decision.candidates if (one["issuer"], one["id"]) == (patient.issuer, patient.id)), {}
        )
        return Link(
            decision_id=decision.id,
            posterior=float(mine.get("posterior", 0.0)),
            log10_lr=float(mine.get("log10_lr", 0.0)),
            searched=int(decision.evidence.get("searched", 0)),
            policy=decision.policy,
            policy_hash=decision.policy_hash,
            gallery=str(decision.evidence.get("gallery", "")),
            made_by=self._settings.node.name,
            made_at=datetime.fromtimestamp(decision.created_at, UTC),
            sources=list(self._sources(decision, mine)),
        )

    def _sources(self, decision: DecisionRecord, candidate: Mapping[str, Any]) -> Iterator[Source]:
        versions = dict(text.rsplit(" ", 1) for text in decision.evidence.get("encoders", ()))
        references, verified = candidate.get("references", {}), candidate.get("verified", {})
        for name, value in sorted(candidate.get("log10_lrs", {}).items()):
            if name not in verified:
                score = references.get(name, {}).get("score")
                yield Source(name, versions.get(name.partition(":")[0], ""), float(value), score)
        for name, found in sorted(verified.items()):
            shown = self._compared(decision.study_uid, name, found)
            yield Source(
                name,
                str(found["version"]),
                float(candidate.get("log10_lrs", {}).get(name, 0.0)),
                float(found["score"]),
                shown.details if shown else {},
                shown.overlay if shown else None,
            )

    def _compared(self, study_uid: str, name: str, found: Mapping[str, Any]) -> Any:
        """The comparison once more, with its overlay; None when a template is gone or of another version."""
        one = verifiers().get(name)
        probe = self._template(study_uid, name, found["version"], found["probe_series"])
        reference = self._template(found["study"], name, found["version"], found["series"])
        if one is None or probe is None or reference is None:
            return None
        try:
            return one.compare(probe, reference)
        except EncoderError as error:
            self._ledger.count("evidence_incomplete", reason=error.reason)
            return None

    def _template(self, study_uid: str, verifier: str, version: str, series_uid: str) -> Template | None:
        for template in self._ledger.templates_of_study(study_uid):
            if (template.verifier, template.version, template.series_uid) == (verifier, version, series_uid):
                return template
        return None


def _headers(files: Iterator[bytes]) -> Iterator[Dataset]:
    from pydicom import dcmread

    for data in files:
        yield dcmread(BytesIO(data), stop_before_pixels=True)
