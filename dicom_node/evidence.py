"""Evidence of a link as DICOM: a Comprehensive 3D SR (PS3.16 TID 1500), and overlays as secondary capture.

The report speaks of the linked patient alone: other candidates are other people, and stay in the ledger.
UIDs follow from the decision, so that the same decision always makes the same objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REPORT, OVERLAY = "REPORT", "OVERLAY"
# Codes that no standard scheme has (a private coding scheme designator begins with 99, PS3.16 8.2).
_SCHEME = "99MEDREID"
_TITLE = ("126000", "DCM", "Imaging Measurement Report")
_SERIES_NUMBER = 9900


@dataclass(frozen=True, slots=True)
class Source:
    """What one encoder or verifier said for the linked patient. ``score`` is None where it has none (demographics)."""

    name: str
    version: str
    log10_lr: float
    score: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    overlay: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was made, and why. ``gallery`` names the state of the gallery; ``made_at`` is when (UTC)."""

    decision_id: str
    posterior: float
    log10_lr: float
    searched: int
    policy: str
    policy_hash: str
    gallery: str
    made_by: str
    made_at: datetime
    sources: Sequence[Source]


def object_uids(link: Link) -> list[tuple[str, str]]:
    """(SOP Instance UID, kind) of every object that :func:`evidence_of` makes."""
    overlays = [_uid(link, OVERLAY, source.name) for source in link.sources if source.overlay is not None]
    return [(_uid(link, REPORT), REPORT), *((uid, OVERLAY) for uid in overlays)]


def evidence_of(link: Link, images: Sequence[Dataset]) -> list[Dataset]:
    """The report and the overlays, complete with file meta information.

    Parameters
    ----------
    images
        headers of the study's images as the archive has them after the link: patient and study are copied from the
        first one.
    """
    overlays = [_overlay(link, source, images[0]) for source in link.sources if source.overlay is not None]
    return [_report(link, [*images, *overlays]), *overlays]


def _overlay(link: Link, source: Source, of: Dataset) -> Dataset:
    from highdicom.sc import SCImage

    assert source.overlay is not None
    made: Dataset = SCImage(
        pixel_array=np.ascontiguousarray(source.overlay),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=of.StudyInstanceUID,
        series_instance_uid=_uid(link, "series", OVERLAY),
        series_number=_SERIES_NUMBER + 1,
        sop_instance_uid=_uid(link, OVERLAY, source.name),
        instance_number=1,
        manufacturer="MedReID",
        patient_id=of.get("PatientID"),
        patient_name=of.get("PatientName"),
        patient_birth_date=of.get("PatientBirthDate") or None,
        patient_sex=of.get("PatientSex") or None,
        accession_number=of.get("AccessionNumber") or None,
        study_id=of.get("StudyID") or None,
        study_date=of.get("StudyDate") or None,
        study_time=of.get("StudyTime") or None,
        referring_physician_name=of.get("ReferringPhysicianName") or None,
        patient_orientation=("L", "F"),
    )
    made.SeriesDescription = f"Alignment {source.name} {source.version}"[:64]
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "NO"
    made.Laterality = ""
    _sign(made, link, of)
    return made


def _report(link: Link, evidence: Sequence[Dataset]) -> Dataset:
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=_plain_uid("device", link.made_by), name=link.made_by[:64], manufacturer_name="MedReID"
    )
    observer = ObservationContext(
        observer_device_context=ObserverContext(codes.cid270.Device, observer_identifying_attributes=device)
    )
    report = MeasurementReport(
        observation_context=observer,
        procedure_reported=_code("identification", "Patient identification by images"),
        imaging_measurements=[_summary(link), *(_group(link, source) for source in link.sources)],
        title=_standard(_TITLE),
    )
    made: Dataset = Comprehensive3DSR(
        evidence=list(evidence),
        content=report[0],
        series_instance_uid=_uid(link, "series", REPORT),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=_uid(link, REPORT),
        instance_number=1,
        manufacturer="MedReID",
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    made.SeriesDescription = "Evidence of re-identification"
    _sign(made, link, evidence[0])
    return made


def _summary(link: Link) -> Any:
    """What all sources amount to, under which policy and in which gallery."""
    parameters = [
        f"policy {link.policy}",
        f"policy hash {link.policy_hash}",
        f"gallery {link.gallery}",
        f"patients searched {link.searched}",
    ]
    values = {"fused log10 likelihood ratio": link.log10_lr, "posterior probability": link.posterior}
    return _measured(link, "decision", ("MedReID decision", "1", parameters), values)


def _group(link: Link, source: Source) -> Any:
    values = {"log10 likelihood ratio": source.log10_lr}
    if source.score is not None:
        values["comparison score"] = source.score
    values.update(source.details)
    return _measured(link, source.name, (source.name, source.version or "1", None), values)


def _measured(link: Link, name: str, algorithm: tuple[str, str, list[str] | None], values: Mapping[str, float]) -> Any:
    from highdicom.sr import AlgorithmIdentification, Measurement, MeasurementsAndQualitativeEvaluations
    from highdicom.sr import TrackingIdentifier as Tracking
    from pydicom.sr.codedict import codes

    title, version, parameters = algorithm
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=Tracking(uid=_uid(link, "tracking", name), identifier=f"{name} {link.decision_id}"[:64]),
        algorithm_id=AlgorithmIdentification(name=title, version=version, parameters=parameters),
        measurements=[
            Measurement(name=_code(what, what.capitalize()), value=round(float(value), 6), unit=codes.UCUM.NoUnits)
            for what, value in values.items()
        ],
    )


def _sign(made: Dataset, link: Link, of: Dataset) -> None:
    """What highdicom takes from the clock is the decision's; the issuer stays with the identifier."""
    day, clock = link.made_at.astimezone(UTC).strftime("%Y%m%d"), link.made_at.astimezone(UTC).strftime("%H%M%S")
    for what in ("Series", "Content", "InstanceCreation"):
        setattr(made, f"{what}Date", day)
        setattr(made, f"{what}Time", clock)
    if "DateOfSecondaryCapture" in made:
        made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = day, clock
    for element in made.iterall():
        if element.VR == "DT":
            element.value = day + clock
    made.TimezoneOffsetFromUTC = "+0000"
    made.SpecificCharacterSet = of.get("SpecificCharacterSet") or "ISO_IR 192"
    if of.get("IssuerOfPatientID"):
        made.IssuerOfPatientID = of.IssuerOfPatientID


def _standard(code: tuple[str, str, str]) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code[0], code[1], code[2])


def _code(text: str, meaning: str) -> Any:
    """A code of our own: its value is the text in capitals, of at most 16 characters (SH)."""
    from highdicom.sr import CodedConcept

    words = "".join(letter if letter.isalnum() else "_" for letter in text.upper())
    value = words if len(words) <= 16 else words[:7] + "_" + hashlib.sha256(words.encode()).hexdigest()[:8].upper()
    return CodedConcept(value, _SCHEME, meaning[:64])


def _uid(link: Link, *parts: str) -> str:
    return _plain_uid("evidence", link.decision_id, *parts)


def _plain_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that only these parts have."""
    value = bytearray(hashlib.sha256("\x1f".join(("medreid", *parts)).encode()).digest()[:16])
    value[6] = (value[6] & 0x0F) | 0x80  # RFC 9562 version 8: custom content
    value[8] = (value[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(value, 'big')}"
