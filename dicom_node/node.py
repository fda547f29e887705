"""The parts of one node, made from its settings when they are first asked for."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Self

import structlog

from config.errors import ConfigError
from config.settings import Settings
from dicom_node.archives.protocol import Archive
from dicom_node.audit import AuditTrail
from dicom_node.evidence_store import EvidenceStore
from dicom_node.galleries import Galleries
from dicom_node.ledger import Ledger
from dicom_node.orphans import OrphanDetector
from dicom_node.relink import Relinker
from dicom_node.routing import ReloadingRules, rules_path
from dicom_node.sight import Sight
from dicom_node.spool import Spool
from dicom_node.subject import Subject, subject_of
from dicom_node.verifying import Verifying
from inference.demographics import DemographicWeights, Frequencies
from inference.encoders.registry import Registry
from inference.imaging.options import LoadOptions
from inference.imaging.rejections import check_allowed
from inference.types import PatientIdentity, PatientKey, SeriesHeader

log = structlog.get_logger()


class Node:
    """Everything that a worker, or a person at the command line, works with. Closes what it opened."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "galleries" in self.__dict__:
            self.galleries.save()
        if "audit" in self.__dict__:
            self.audit.note_head()
        if "ledger" in self.__dict__:
            self.ledger.close()

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.of(self.settings)

    @cached_property
    def audit(self) -> AuditTrail:
        return AuditTrail(self.ledger, self.settings.audit_head_file)

    @cached_property
    def spool(self) -> Spool:
        return Spool(self.settings.spool_folder, self.settings.spool.min_free_bytes)

    @cached_property
    def rules(self) -> ReloadingRules:
        routing = self.settings.routing
        return ReloadingRules(
            rules_path(routing),
            routing.reload_seconds,
            on_refused=self._rules_refused,
            on_loaded=lambda: log.info("routing.loaded"),
        )

    @cached_property
    def registry(self) -> Registry:
        encoders = self.settings.encoders
        return Registry(
            (self.settings.bundle_folder,), encoders.device, encoders.batch_size, self.settings.calibration_folder
        )

    @cached_property
    def sight(self) -> Sight | None:
        """What looks at images whose headers are not to be believed; None where no bundle ``modality`` is there."""
        from inference.encoders.modality import load_classifier

        encoders = self.settings.encoders
        found = load_classifier(self.registry, encoders.device, encoders.batch_size)
        return None if found is None else Sight(found)

    @cached_property
    def galleries(self) -> Galleries:
        # A cache file would hold in clear what the ledger holds sealed.
        sealed = bool(self.settings.node.embedding_key_file)
        return Galleries(self.ledger, None if sealed else self.settings.gallery_folder)

    @cached_property
    def archive(self) -> Archive:
        if self.settings.archive.kind == "orthanc":
            from dicom_node.archives.orthanc import OrthancArchive

            return OrthancArchive.from_settings(self.settings.archive)
        from dicom_node.archives.local import LocalArchive

        return LocalArchive(self.settings.archive_folder)

    @property
    def keeps_received(self) -> bool:
        """Whether what the node receives is kept in its archive; an Orthanc has its studies already."""
        return self.settings.archive.kind == "local"

    @cached_property
    def relinker(self) -> Relinker:
        return Relinker(self.archive, self.ledger, self.audit, self.settings)

    @cached_property
    def evidence(self) -> EvidenceStore:
        return EvidenceStore(self.archive, self.ledger, self.audit, self.settings)

    @cached_property
    def verifying(self) -> Verifying:
        settings = self.settings
        return Verifying(
            self.ledger, settings.verification, settings.calibration.trusted_scopes, settings.calibration_folder
        )

    @cached_property
    def detector(self) -> OrphanDetector:
        return OrphanDetector(self.settings.orphans, self.settings.identity)

    @cached_property
    def load_options(self) -> LoadOptions:
        imaging = self.settings.imaging
        return LoadOptions(check_allowed(imaging.allow), imaging.max_decoded_bytes)

    def series(self, study_uid: str) -> tuple[SeriesHeader, ...]:
        """The series of a study with the files of the spool; what its retention already removed is left out."""
        found = []
        for series in self.ledger.series(study_uid, self.spool.path):
            there = tuple(instance for instance in series.instances if instance.path.is_file())
            if there:
                found.append(SeriesHeader(series.study_uid, series.series_uid, there))
        return tuple(found)

    def files(self, study_uid: str) -> tuple[Path, ...]:
        return tuple(instance.path for series in self.series(study_uid) for instance in series.instances)

    def release_settled(self) -> int:
        """Removes bytes as received whose study settled longer ago than the retention; returns how many objects."""
        retention = self.settings.spool.retention_seconds
        if not retention:
            return 0
        hashes = self.ledger.releasable_objects(retention)
        for sha256 in hashes:
            self.spool.remove(sha256)
        if hashes:
            self.ledger.mark_released(hashes)
        return len(hashes)

    def subject(self, study_uid: str) -> Subject:
        """Whom the study says it shows, judged by its instances as they were received."""
        identities = self.ledger.identities(study_uid)
        age, study_date = self.ledger.age_and_date(study_uid)
        assessment = self.detector.assess(identities, self.ledger)
        return subject_of(assessment, identities, self.settings.orphans, age, study_date)

    def demographic_weights(self) -> DemographicWeights:
        """What sex, birth date and the like are worth among the patients that the node knows now."""
        sexes, years = self.ledger.demographic_counts()
        placeholders = frozenset(self.settings.orphans.placeholder_birth_dates)
        return DemographicWeights(self.settings.policy.demographics, Frequencies(sexes, years), placeholders)

    def is_orphan(self, study_uid: str) -> bool:
        """Whether the study came without a usable identity."""
        return self.subject(study_uid).identity is None

    def known_patient(self, key: PatientKey) -> PatientIdentity | None:
        """A patient's record, None for one the ledger has only embeddings of."""
        record = self.ledger.patient(key)
        return None if record is None else PatientIdentity(key, record.name, record.birth_date, record.sex)

    def _rules_refused(self, error: ConfigError) -> None:
        log.error("routing.refused", message=str(error))
        self.ledger.count("routing_rules_refused")

    @staticmethod
    def token(text: str) -> str:
        """What stands for a received identifier in a log: stable, short, and not the identifier."""
        return hashlib.sha256(text.encode()).hexdigest()[:12]
