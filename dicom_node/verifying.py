"""The verify step: templates of what is loaded, and geometric comparison with the best candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from config.errors import EncoderError, ImagingError
from config.settings import VerificationSettings
from dicom_node.ledger import Ledger
from inference.types import LoadedSeries, PatientKey
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
    details: Mapping[str, float] = field(default_factory=dict)


class Verifying:
    """Makes, keeps and compares templates. Whatever a verifier refuses is counted and stops nothing."""

    def __init__(self, ledger: Ledger, settings: VerificationSettings) -> None:
        self._ledger = ledger
        self._settings = settings

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
