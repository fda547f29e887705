"""From one orphan study's searches to evidence per patient: the same statistic that the calibration was fitted on.

For every encoder the score of a patient is the best over all pairs of the study's series and the patient's enrolled
ones. Patients on any list are then scored by every encoder, so that a patient who is missing from one list brings the
evidence against him too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.errors import GalleryError
from inference.calibration import Calibration
from inference.gallery.protocol import Candidate, CandidateList, Gallery, GalleryFilter
from inference.matching import PatientEvidence, Reason, contradictions
from inference.types import Encoding, PatientIdentity, PatientKey


@dataclass(frozen=True, slots=True)
class Evidence:
    """What :func:`inference.matching.decide` needs, and why an automatic link may not be made on it.

    ``rest_log10_lr`` bounds the fused log10 LR of every searched patient without an entry in ``patients``.
    ``trusted`` is whether every calibration behind the evidence has a trusted scope. ``notes`` are stable names.
    ``references`` is each patient's best enrolled image per encoder: what a reviewer looks at and a verifier compares.
    """

    patients: tuple[PatientEvidence, ...]
    searched: int
    rest_log10_lr: float
    trusted: bool
    notes: tuple[str, ...]
    references: Mapping[PatientKey, Mapping[str, Candidate]]


@dataclass(frozen=True, slots=True)
class _View:
    """What one encoder says: per patient the best reference and the log10 LR, and a bound for those on no list."""

    best: Mapping[PatientKey, Candidate]
    log10_lrs: Mapping[PatientKey, float]
    rest: int
    rest_bound: float


def search_filter(encoding: Encoding, exclude_studies: frozenset[str]) -> GalleryFilter:
    """What an embedding is compared with, in the search and in the calibration alike: its own modality and view."""
    return GalleryFilter(exclude_studies=exclude_studies, modality=encoding.modality, view=encoding.view)


def gather_evidence(
    encodings: Sequence[Encoding],
    galleries: Mapping[str, Gallery],
    calibrations: Mapping[str, Calibration | None],
    *,
    candidates: int,
    trusted_scopes: Sequence[str],
    exclude_studies: frozenset[str] = frozenset(),
    probe: PatientIdentity | None = None,
    known: Callable[[PatientKey], PatientIdentity | None] = lambda _: None,
) -> Evidence:
    """Searches all embeddings of one study and calibrates what was found.

    Parameters
    ----------
    encodings
        of one study, by any encoders.
    galleries, calibrations
        per encoder name. An encoder without a calibration ranks candidates but supports no decision.
    candidates
        patients kept per search.
    trusted_scopes
        calibration scopes that may support an automatic link.
    exclude_studies
        the probe's own study is always left out as well.
    probe, known
        what the orphan says of sex and birth date, and what is known of a patient; absent is neutral.

    Raises
    ------
    GalleryError, CalibrationError
        when gallery, calibration and embeddings are not of one encoder version.
    """
    own_studies = exclude_studies | {item.study_uid for item in encodings}
    by_encoder = {
        name: [item for item in encodings if item.encoder == name] for name in sorted({e.encoder for e in encodings})
    }
    lists = {name: _search(items, galleries[name], candidates, own_studies) for name, items in by_encoder.items()}
    everyone = frozenset(c.patient for found in lists.values() for item in found for c in item.candidates)
    views = {
        name: _view(items, galleries[name], calibrations.get(name), lists[name], everyone, own_studies)
        for name, items in by_encoder.items()
    }
    rests = [view for view in views.values() if view.rest]
    return Evidence(
        patients=tuple(_of_patient(patient, views, by_encoder, probe, known(patient)) for patient in sorted(everyone)),
        searched=len(everyone) + sum(view.rest for view in rests),
        # One who is enrolled with several encoders may come near every one of their bounds.
        rest_log10_lr=rests[0].rest_bound if len(rests) == 1 else sum(max(view.rest_bound, 0.0) for view in rests),
        trusted=bool(views) and all(_is_trusted(calibrations.get(name), trusted_scopes) for name in views),
        notes=tuple(note for name in views for note in _notes(name, calibrations.get(name), trusted_scopes)),
        references={
            patient: {name: view.best[patient] for name, view in views.items() if patient in view.best}
            for patient in sorted(everyone)
        },
    )


def _search(
    encodings: Sequence[Encoding],
    gallery: Gallery,
    k: int,
    exclude_studies: frozenset[str],
    patients: frozenset[PatientKey] | None = None,
) -> list[CandidateList]:
    found: list[CandidateList] = []
    for item in encodings:
        if (item.encoder, item.version) != (gallery.encoder, gallery.version):
            raise GalleryError(
                f"an embedding of {item.encoder} {item.version} cannot be searched in the gallery of "
                f"{gallery.encoder} {gallery.version}; index the archive again",
                reason="GALLERY_VERSION",
            )
        where = replace(search_filter(item, exclude_studies), patients=patients)
        found.extend(gallery.search(item.vector[None], k, where))
    return found


def _view(
    encodings: Sequence[Encoding],
    gallery: Gallery,
    calibration: Calibration | None,
    first: Sequence[CandidateList],
    everyone: frozenset[PatientKey],
    exclude_studies: frozenset[str],
) -> _View:
    """Scores everyone who is on any list, also where this encoder's own list had ended before."""
    complete = _search(encodings, gallery, max(len(everyone), 1), exclude_studies, everyone)
    best: dict[PatientKey, Candidate] = {}
    log10_lrs: dict[PatientKey, float] = {}
    bounds: list[float] = []
    for item, found, listed in zip(encodings, complete, first, strict=True):
        if calibration is not None:
            calibration.require(item.encoder, item.version)
        for candidate in found.candidates:
            if candidate.patient not in best or candidate.score > best[candidate.patient].score:
                best[candidate.patient] = candidate
                if calibration is not None:
                    log10_lrs[candidate.patient] = calibration.log10_lr(
                        candidate.score, item.modality, item.view
                    ).item()
        if calibration is not None and listed.candidates:
            bounds.append(calibration.log10_lr(listed.candidates[-1].score, item.modality, item.view).item())
    rest = max((item.searched for item in first), default=0) - len(best)
    return _View(best, log10_lrs, max(rest, 0), max(bounds, default=0.0))


def _of_patient(
    patient: PatientKey,
    views: Mapping[str, _View],
    encodings: Mapping[str, Sequence[Encoding]],
    probe: PatientIdentity | None,
    record: PatientIdentity | None,
) -> PatientEvidence:
    seen = {name: view for name, view in views.items() if patient in view.best}
    log10_lrs = {name: view.log10_lrs[patient] for name, view in seen.items() if patient in view.log10_lrs}
    found: tuple[Reason, ...] = ()
    if probe is not None and record is not None:
        found = contradictions(probe.sex, probe.birth_date, record.sex, record.birth_date)
    return PatientEvidence(
        patient=patient,
        log10_lrs=log10_lrs,
        quality=max(item.quality for name in seen for item in encodings[name]),
        score=max(view.best[patient].score for view in seen.values()),
        contradictions=found,
        calibrated=bool(log10_lrs),
    )


def _is_trusted(calibration: Calibration | None, trusted_scopes: Sequence[str]) -> bool:
    return calibration is not None and calibration.scope in trusted_scopes


def _notes(name: str, calibration: Calibration | None, trusted_scopes: Sequence[str]) -> tuple[str, ...]:
    if calibration is None:
        return (f"CALIBRATION_MISSING:{name}",)
    if not _is_trusted(calibration, trusted_scopes):
        return (f"CALIBRATION_NOT_TRUSTED:{name}",)
    return ()
