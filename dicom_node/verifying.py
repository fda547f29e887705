"""The verify step: templates of what is loaded, and geometric comparison with the best candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from config.errors import EncoderError, ImagingError
from config.settings import VerificationSettings
from dicom_node.ledger import Ledger
from inference.calibration import Calibration, Pair, Side
from inference.evidence import Evidence, GeometricEvidence, geometric_evidence, with_verification
from inference.types import LoadedSeries, PatientKey
from inference.verification.calibration import verifier_calibration
from inference.verification.protocol import Template
from inference.verification.registry import verifiers


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verifier says of one candidate: its best comparison over the templates of probe and reference study."""

    verifier: str
    version: str
    score: float
    probe: Template
    reference: Template

    @property
    def pair(self) -> Pair:
        return Pair(Side(self.probe.modality, self.probe.view), Side(self.reference.modality, self.reference.view))


class Verifying:
    """Makes, keeps and compares templates. Whatever a verifier refuses is counted and stops nothing."""

    def __init__(
        self, ledger: Ledger, settings: VerificationSettings, trusted_scopes: Sequence[str], calibrations: Path
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._trusted_scopes = trusted_scopes
        self._calibrations = calibrations

    def templates(self, image: LoadedSeries) -> list[Template]:
        """A template of the image from every verifier that takes it."""
        found: list[Template] = []
        if not self._settings.enabled:
            return found
        for one in verifiers().values():
            if not one.accepts(image):
                continue
            try:
                template = one.template(image)
            except ImagingError as error:
                self._ledger.count("template_refused", verifier=one.name, reason=error.reason)
                continue
            if template is None:
                self._ledger.count("template_refused", verifier=one.name, reason="NOTHING_TO_COMPARE")
            else:
                found.append(template)
        return found

    def verify(
        self, probes: Sequence[Template], references: Iterable[tuple[PatientKey, Iterable[str]]]
    ) -> dict[PatientKey, dict[str, Verified]]:
        """Compares a study's templates with those of the best candidates.

        Parameters
        ----------
        references
            candidates, best first, each with the UIDs of the studies that nominated it; only as many as the settings
            say are looked at.

        Returns
        -------
        Per patient, what each verifier found; a patient without comparable templates is absent.
        """
        found: dict[PatientKey, dict[str, Verified]] = {}
        if not probes or not self._settings.enabled:
            return found
        for patient, studies in list(references)[: self._settings.candidates]:
            enrolled = [template for study in studies for template in self._ledger.templates_of_study(study)]
            best = self._best(probes, enrolled)
            if best:
                found[patient] = best
        return found

    def joined(self, evidence: Evidence, found: Mapping[PatientKey, Mapping[str, Verified]]) -> Evidence:
        """The evidence with what geometry is worth, by the calibration of each verifier.

        Where an automatic link could follow, a verifier whose calibration is not trusted shows the reviewer what it
        found and has no say.
        """
        notes: list[str] = []
        known: dict[str, Calibration] = {}
        versions = {name: one.version for of_patient in found.values() for name, one in of_patient.items()}
        for name, version in sorted(versions.items()):
            calibration = verifier_calibration(name, version, self._calibrations)
            if calibration is None:
                notes.append(f"CALIBRATION_MISSING:{name}")
            elif evidence.trusted and calibration.scope not in self._trusted_scopes:
                notes.append(f"CALIBRATION_NOT_TRUSTED:{name}")
            else:
                known[name] = calibration
        worth = {
            patient: {
                name: geometric_evidence(known[name], one.score, evidence.searched, one.pair)
                for name, one in of_patient.items()
                if name in known
            }
            for patient, of_patient in found.items()
        }
        return replace(with_verification(evidence, _some(worth)), notes=(*evidence.notes, *notes))

    def _best(self, probes: Sequence[Template], references: Sequence[Template]) -> dict[str, Verified]:
        best: dict[str, Verified] = {}
        for probe in probes:
            one = verifiers().get(probe.verifier)
            for reference in references:
                if one is None or not comparable(probe, reference):
                    continue
                try:
                    score = one.score(probe, reference)
                except EncoderError as error:
                    self._ledger.count("template_refused", verifier=probe.verifier, reason=error.reason)
                    continue
                if probe.verifier not in best or score > best[probe.verifier].score:
                    best[probe.verifier] = Verified(probe.verifier, probe.version, score, probe, reference)
        return best


def nominated(evidence: Evidence) -> list[tuple[PatientKey, list[str]]]:
    """Candidates, best first, with the studies that they were found by."""
    order = sorted(evidence.patients, key=lambda one: (-sum(one.log10_lrs.values()), -one.score, one.patient))
    return [
        (one.patient, sorted({found.study_uid for found in evidence.references[one.patient].values()})) for one in order
    ]


def _some(
    found: Mapping[PatientKey, Mapping[str, GeometricEvidence]],
) -> dict[PatientKey, Mapping[str, GeometricEvidence]]:
    return {patient: of_patient for patient, of_patient in found.items() if of_patient}


def comparable(probe: Template, reference: Template) -> bool:
    """One verifier version, one modality, and no view or side that differs; what is unknown may be anything."""
    same = (probe.verifier, probe.version, probe.modality) == (
        reference.verifier,
        reference.version,
        reference.modality,
    )
    agree = all(
        not a or not b or a == b for a, b in ((probe.view, reference.view), (probe.laterality, reference.laterality))
    )
    return same and agree and probe.study_uid != reference.study_uid
