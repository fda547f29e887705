"""From one orphan study's searches to evidence per patient: the same statistic that the calibration was fitted on.

A *source* is an encoder and the kind of pair that it compares: frontal films with frontal films, lateral with lateral,
a film with a CT where a calibration knows such pairs. Its score of a patient is the best over all pairs of the study's
series and the patient's enrolled ones. Patients on any list are then scored by every source, so that a patient who is
missing from one list brings the evidence against him too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from config.errors import GalleryError
from inference.calibration import Calibration, Pair, Side, source_name
from inference.demographics import Demographics, DemographicWeights
from inference.fusion import Fusion
from inference.gallery.protocol import Candidate, CandidateList, Gallery, GalleryFilter
from inference.matching import DEMOGRAPHICS, PatientEvidence, Reason, contradictions
from inference.types import Encoding, PatientIdentity, PatientKey


@dataclass(frozen=True, slots=True)
class Evidence:
    """What :func:`inference.matching.decide` needs, and why an automatic link may not be made on it.

    ``rest_log10_lr`` bounds the fused log10 LR of every searched patient without an entry in ``patients``, and
    ``rest_mean_log10_lr`` is that of their mean. ``trusted`` is whether every calibration behind the evidence has a
    trusted scope. ``notes`` are stable names. ``references`` is each patient's best enrolled image per source: what a
    reviewer looks at and a verifier compares. ``fusion`` says how the sources go together. ``review_only`` names the
    sources that may not bring a link about.
    """

    patients: tuple[PatientEvidence, ...]
    searched: int
    rest_log10_lr: float
    rest_mean_log10_lr: float
    trusted: bool
    notes: tuple[str, ...]
    references: Mapping[PatientKey, Mapping[str, Candidate]]
    fusion: Fusion
    review_only: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GeometricEvidence:
    """What a verifier's comparison of one candidate amounts to; made by :func:`geometric_evidence`.

    ``p_value`` is None where the verifier's calibration has no guard, ``separation`` None where it is not known.
    """

    log10_lr: float
    p_value: float | None = None
    separation: float | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """All embeddings of one encoder and kind, and what they are searched among."""

    name: str
    encodings: tuple[Encoding, ...]
    gallery: Gallery
    calibration: Calibration | None
    pair: Pair
    other: Side

    def pair_of(self, encoding: Encoding) -> Pair:
        return self.pair.with_quality(encoding.quality)


@dataclass(frozen=True, slots=True)
class _View:
    """What one source says: per patient the best reference, log10 LR and p-value; and of those on no list."""

    best: Mapping[PatientKey, Candidate] = field(default_factory=dict)
    log10_lrs: Mapping[PatientKey, float] = field(default_factory=dict)
    p_values: Mapping[PatientKey, float] = field(default_factory=dict)
    rest: int = 0
    rest_bound: float = 0.0
    rest_mean: float = 0.0


def search_filter(encoding: Encoding, exclude_studies: frozenset[str], other: Side | None = None) -> GalleryFilter:
    """What an embedding is compared with, in the search and in the calibration alike: its own modality and view.

    ``other`` is another kind of image, which it is only compared with where a calibration knows such pairs.
    """
    side = other or Side(encoding.modality, encoding.view)
    return GalleryFilter(exclude_studies=exclude_studies, modality=side.modality, view=side.view)


def gather_evidence(
    encodings: Sequence[Encoding],
    galleries: Mapping[str, Gallery],
    calibrations: Mapping[str, Calibration | None],
    *,
    candidates: int,
    trusted_scopes: Sequence[str],
    exclude_studies: frozenset[str] = frozenset(),
    probe: Demographics | None = None,
    known: Callable[[PatientKey], PatientIdentity | None] = lambda _: None,
    weights: DemographicWeights | None = None,
    review_only: Collection[str] = (),
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
        what the orphan says of sex, birth date and the like, and what is known of a patient; absent is neutral.
    weights
        makes evidence of them; None lets them only contradict.
    review_only
        names of encoders that may not bring a link about. Where a link could follow from the others, one of these whose
        calibration is not trusted ranks candidates and has no say, so that it cannot stop the link either.

    Raises
    ------
    GalleryError, CalibrationError
        when gallery, calibration and embeddings are not of one encoder version.
    """
    own_studies = exclude_studies | {item.study_uid for item in encodings}
    names = sorted({encoding.encoder for encoding in encodings})
    notes = tuple(note for name in names for note in _notes(name, calibrations.get(name), trusted_scopes))
    untrusted = frozenset(name for name in names if not _is_trusted(calibrations.get(name), trusted_scopes))
    deciding = frozenset(names) - frozenset(review_only)
    silent = untrusted - deciding if deciding and not deciding & untrusted else frozenset()
    calibrations = {name: None if name in silent else calibrations.get(name) for name in names}
    sources = _sources(encodings, galleries, calibrations)
    lists = [_search(source, candidates, own_studies) for source in sources]
    everyone = frozenset(c.patient for found in lists for item in found for c in item.candidates)
    views = {
        source.name: _view(source, found, everyone, own_studies) for source, found in zip(sources, lists, strict=True)
    }
    # The frontal and the lateral films of an archive are of the same people; two encoders may know different ones.
    rests = [max((views[s.name] for s in sources if s.encodings[0].encoder == name), key=_rest) for name in names]
    rests = [view for view in rests if view.rest]
    seen = [view for view in views.values() if view.rest]
    return Evidence(
        patients=tuple(
            _of_patient(patient, sources, views, probe, known(patient), weights) for patient in sorted(everyone)
        ),
        searched=len(everyone) + sum(view.rest for view in rests),
        # One who is enrolled in several ways may come near every one of their bounds.
        rest_log10_lr=seen[0].rest_bound if len(seen) == 1 else sum(max(view.rest_bound, 0.0) for view in seen),
        rest_mean_log10_lr=max((view.rest_mean for view in seen), default=0.0),
        trusted=bool(names) and untrusted <= silent,
        notes=notes,
        references={
            patient: {name: view.best[patient] for name, view in views.items() if patient in view.best}
            for patient in sorted(everyone)
        },
        fusion=_fusion(sources),
        review_only=frozenset(source.name for source in sources if source.encodings[0].encoder in review_only),
    )


def geometric_evidence(calibration: Calibration, score: float, searched: int, pair: Pair) -> GeometricEvidence:
    """What a verifier's score of one candidate is worth.

    Parameters
    ----------
    calibration
        of the verifier: its maps fitted on *nominated* candidates, whom an embedding already found alike, for among
        them even strangers fit; its guard on strangers as they come, which bounds any choice of them.
    searched
        patients in the search that nominated the candidate.
    """
    found = calibration.map_of(pair)
    guarded = calibration.guard_of(pair) is not None
    return GeometricEvidence(
        log10_lr=float(found.log10_lr(score)),
        p_value=calibration.p_value(score, searched, pair) if guarded else None,
        separation=found.separation,
    )


def with_verification(evidence: Evidence, found: Mapping[PatientKey, Mapping[str, GeometricEvidence]]) -> Evidence:
    """The evidence with what geometry said of its top candidates; the decision then ranks them anew.

    Parameters
    ----------
    found
        per patient and verifier. A candidate that was not verified gets nothing for it and nothing against: it was
        not looked at. Patients who are no candidates are ignored.
    """
    verifiers = sorted({name for of_patient in found.values() for name in of_patient})
    guarded = [
        name for name in verifiers if any(one[name].p_value is not None for one in found.values() if name in one)
    ]
    separations = {
        name: one.separation
        for of_patient in found.values()
        for name, one in of_patient.items()
        if one.separation is not None
    }
    return replace(
        evidence,
        patients=tuple(_with_verification(item, found.get(item.patient, {}), guarded) for item in evidence.patients),
        fusion=evidence.fusion.joined(Fusion(separations)),
    )


def _with_verification(
    item: PatientEvidence, found: Mapping[str, GeometricEvidence], guarded: Sequence[str]
) -> PatientEvidence:
    p_values = {name: found[name].p_value if name in found else None for name in guarded}
    return replace(
        item,
        log10_lrs={**item.log10_lrs, **{name: one.log10_lr for name, one in found.items()}},
        p_values={**item.p_values, **{name: 1.0 if value is None else value for name, value in p_values.items()}},
    )


def _sources(
    encodings: Sequence[Encoding], galleries: Mapping[str, Gallery], calibrations: Mapping[str, Calibration | None]
) -> list[_Source]:
    """What is searched: every kind of image among its own, and among others where a calibration knows how."""
    groups: dict[tuple[str, Side], list[Encoding]] = {}
    for item in encodings:
        groups.setdefault((item.encoder, Side(item.modality, item.view)), []).append(item)
    found: list[_Source] = []
    for (encoder, own), items in sorted(groups.items()):
        calibration = calibrations.get(encoder)
        for item in items:
            _check(item, galleries[encoder], calibration)
        for other in (own, *(calibration.partners(own) if calibration is not None else ())):
            pair = Pair(own, other)
            name = source_name(encoder, pair)
            # A study with both kinds compares them with each other in two directions.
            if any(source.name == name for source in found):
                name = f"{name}|{own}"
            found.append(_Source(name, tuple(items), galleries[encoder], calibration, pair, other))
    return found


def _check(item: Encoding, gallery: Gallery, calibration: Calibration | None) -> None:
    if (item.encoder, item.version) != (gallery.encoder, gallery.version):
        raise GalleryError(
            f"an embedding of {item.encoder} {item.version} cannot be searched in the gallery of "
            f"{gallery.encoder} {gallery.version}; index the archive again",
            reason="GALLERY_VERSION",
        )
    if calibration is not None:
        calibration.require(item.encoder, item.version)


def _search(
    source: _Source, k: int, exclude_studies: frozenset[str], patients: frozenset[PatientKey] | None = None
) -> list[CandidateList]:
    found: list[CandidateList] = []
    for item in source.encodings:
        where = replace(search_filter(item, exclude_studies, source.other), patients=patients)
        found.extend(source.gallery.search(item.vector[None], k, where))
    return found


def _view(
    source: _Source,
    first: Sequence[CandidateList],
    everyone: frozenset[PatientKey],
    exclude_studies: frozenset[str],
) -> _View:
    """Scores everyone who is on any list, also where this source's own list had ended before."""
    complete = _search(source, max(len(everyone), 1), exclude_studies, everyone)
    searched = max((item.searched for item in first), default=0)
    best: dict[PatientKey, Candidate] = {}
    shown: dict[PatientKey, Pair] = {}
    for item, found in zip(source.encodings, complete, strict=True):
        for candidate in found.candidates:
            if candidate.patient not in best or candidate.score > best[candidate.patient].score:
                best[candidate.patient] = candidate
                shown[candidate.patient] = source.pair_of(item)
    rest = max(searched - len(best), 0)
    calibration = source.calibration
    if calibration is None:
        return _View(best, rest=rest)
    last = [
        (calibration.map_of(source.pair_of(item)), listed.candidates[-1].score)
        for item, listed in zip(source.encodings, first, strict=True)
        if listed.candidates
    ]
    guarded = calibration.guard_of(source.pair) is not None
    return _View(
        best=best,
        log10_lrs={p: calibration.log10_lr(c.score, shown[p]).item() for p, c in best.items()},
        p_values={p: calibration.p_value(c.score, searched, shown[p]) for p, c in best.items()} if guarded else {},
        rest=rest,
        rest_bound=max((found.log10_lr(score).item() for found, score in last), default=0.0),
        rest_mean=max((found.log10_lr_below(score) for found, score in last), default=0.0),
    )


def _of_patient(
    patient: PatientKey,
    sources: Sequence[_Source],
    views: Mapping[str, _View],
    probe: Demographics | None,
    record: PatientIdentity | None,
    weights: DemographicWeights | None,
) -> PatientEvidence:
    seen = [source for source in sources if patient in views[source.name].best]
    log10_lrs = {s.name: views[s.name].log10_lrs[patient] for s in seen if patient in views[s.name].log10_lrs}
    calibrated = bool(log10_lrs)
    found: tuple[Reason, ...] = ()
    if probe is not None and record is not None:
        found = contradictions(probe.sex, probe.birth_date, record.sex, record.birth_date)
        if weights is not None:
            log10_lrs[DEMOGRAPHICS] = weights.log10_lr(probe, Demographics(record.sex, record.birth_date))
    return PatientEvidence(
        patient=patient,
        log10_lrs=log10_lrs,
        quality=max(item.quality for source in seen for item in source.encodings),
        score=max(views[source.name].best[patient].score for source in seen),
        contradictions=found,
        calibrated=calibrated,
        # Every source that was searched is a look; where the patient was not seen it shows nothing.
        p_values={name: view.p_values.get(patient, 1.0) for name, view in views.items() if view.p_values},
    )


def _fusion(sources: Sequence[_Source]) -> Fusion:
    calibrated = [(source, source.calibration) for source in sources if source.calibration is not None]
    return Fusion(
        separations={source.name: found.map_of(source.pair).separation for source, found in calibrated},
        correlations={(one.first, one.second): one.together for _, found in calibrated for one in found.correlations},
    )


def _rest(view: _View) -> int:
    return view.rest


def _is_trusted(calibration: Calibration | None, trusted_scopes: Sequence[str]) -> bool:
    return calibration is not None and calibration.scope in trusted_scopes


def _notes(name: str, calibration: Calibration | None, trusted_scopes: Sequence[str]) -> tuple[str, ...]:
    if calibration is None:
        return (f"CALIBRATION_MISSING:{name}",)
    if not _is_trusted(calibration, trusted_scopes):
        return (f"CALIBRATION_NOT_TRUSTED:{name}",)
    return ()
