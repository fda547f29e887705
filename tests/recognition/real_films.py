"""Real radiographs as DICOM: a trial of enrolled films, orphans, strangers, and other patients to calibrate on.

The films themselves stay in the data folder. :func:`plan_trial` chooses patients (disjoint between calibration and
trial), :func:`write_cr` wraps a film as Computed Radiography, and :func:`run_trial` walks all of it through loading,
encoder, gallery, calibration and decision. The first two serve whoever sends the same trial through a whole node.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from config.settings import PolicySettings, Settings
from inference.calibration import Calibration
from inference.encoders.protocol import Encoder
from inference.evidence import gather_evidence
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.matching import Decision, Outcome, decide
from inference.types import Encoding, PatientIdentity, PatientKey, SeriesHeader
from training.evaluation.metrics import mate_ranks, person_bootstrap

COLLECTIONS = ("paediatric_cxr", "adult_cxr_64px")


@dataclass(frozen=True)
class Film:
    """One radiograph. ``patient`` and ``study`` are the collection's own identifiers."""

    path: Path
    patient: str
    study: str
    view: str = ""

    @property
    def key(self) -> PatientKey:
        return PatientKey("REAL-FILMS", self.patient)

    @property
    def study_uid(self) -> str:
        return _uid("study", self.patient, self.study)


@dataclass(frozen=True)
class Trial:
    """``orphans`` have a mate among ``enrolled``, ``strangers`` have none; ``calibration`` shares no patient."""

    enrolled: tuple[Film, ...]
    orphans: tuple[Film, ...]
    strangers: tuple[Film, ...]
    calibration: tuple[Film, ...]


@dataclass
class Tally:
    """What became of the orphans and strangers, and rank-1 with its floors."""

    rank1: float = 0.0
    rank1_interval: tuple[float, float] = (0.0, 0.0)
    chance: float = 0.0
    pixel_rank1: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)


def read_films(data: Path, collection: str) -> list[Film]:
    if collection == "paediatric_cxr":
        with (data / collection / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return [
                Film(data / collection / row["path"], row["patient_id"], f"{row['study']} {row['path']}", row["view"])
                for row in csv.DictReader(file)
            ]
    found = []
    for path in sorted((data / collection / "images").glob("*.jpg")):
        patient, _, study = path.stem.split("__")[-1].partition("_")
        found.append(Film(path, patient, study))
    return found


def plan_trial(
    data: Path, collection: str, *, mated: int, distractors: int, strangers: int, calibration: int, seed: int = 0
) -> Trial:
    """Draws patients: ``mated`` with an enrolled film and an orphan, ``distractors`` enrolled only, ``strangers``
    never enrolled, and ``calibration`` others with up to three films each."""
    by_patient: dict[str, list[Film]] = {}
    for film in read_films(data, collection):
        by_patient.setdefault(film.patient, []).append(film)
    rng = np.random.default_rng(seed)
    several = [p for p in sorted(by_patient) if len({film.study for film in by_patient[p]}) > 1]
    single = [p for p in sorted(by_patient) if p not in set(several)]
    rng.shuffle(several)
    rng.shuffle(single)
    trial, kept = several[:mated], several[mated : mated + calibration]
    aside = single[:distractors], single[distractors : distractors + strangers]
    assert len(kept) >= calibration * 0.9
    pairs = [tuple(by_patient[p][i] for i in rng.permutation(len(by_patient[p]))[:2]) for p in trial]
    return Trial(
        enrolled=tuple(pair[0] for pair in pairs) + tuple(by_patient[p][0] for p in aside[0]),
        orphans=tuple(pair[1] for pair in pairs),
        strangers=tuple(by_patient[p][0] for p in aside[1]),
        calibration=tuple(film for p in kept for film in by_patient[p][:3]),
    )


def write_cr(film: Film, folder: Path, identity: PatientIdentity | None) -> Path:
    """Writes the film as a CR object; without an identity Patient ID and name are empty, as on an orphan."""
    pixels = cv2.imread(str(film.path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None, film.path
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = _uid("image", film.patient, film.study)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = film.study_uid
    dataset.SeriesInstanceUID = _uid("series", film.patient, film.study)
    dataset.PatientID = identity.key.id if identity else ""
    dataset.PatientName = identity.name if identity else ""
    dataset.PatientBirthDate = identity.birth_date if identity else ""
    dataset.PatientSex = identity.sex if identity else ""
    if identity:
        dataset.IssuerOfPatientID = identity.key.issuer
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "Manufacturer"):
        setattr(dataset, keyword, "")
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", film.view
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = None
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes() + b"\x00" * (pixels.size % 2)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    with pydicom_config.disable_value_validation():
        dataset.save_as(path, enforce_file_format=True)
    return path


def encode_films(films: Iterable[Film], encoder: Encoder, folder: Path) -> dict[Film, Encoding]:
    """Every film through DICOM, loader and encoder."""
    chosen = list(films)
    images = []
    for film in chosen:
        header = read_header(write_cr(film, folder, None))
        loaded = load_series(SeriesHeader(header.study_uid, header.series_uid, (header,)))
        assert not loaded.rejections, loaded.rejections
        images.extend(loaded.images)
    found = encoder.encode(images)
    assert len(found) == len(chosen)
    return {film: item for film, item in zip(chosen, found, strict=True) if item is not None}


def entries_of(films: Sequence[Film], encodings: dict[Film, Encoding]) -> list[GalleryEntry]:
    return [
        GalleryEntry(number, film.key, item.study_uid, item.vector, modality=item.modality, view=item.view)
        for number, film in enumerate(films)
        for item in [encodings[film]]
    ]


def run_trial(
    trial: Trial,
    encodings: dict[Film, Encoding],
    encoder: Encoder,
    calibration: Calibration | None,
    settings: Settings,
    policy: PolicySettings | None = None,
) -> Tally:
    """Searches and decides every orphan and stranger against the enrolled films."""
    gallery = FaissGallery(encoder.name, encoder.version, encoder.dimension)
    gallery.enrol(entries_of(trial.enrolled, encodings))
    tally = Tally()
    for film in (*trial.orphans, *trial.strangers):
        found = gather_evidence(
            [encodings[film]],
            {encoder.name: gallery},
            {encoder.name: calibration},
            candidates=settings.gallery.candidates,
            trusted_scopes=settings.calibration.trusted_scopes,
        )
        decision = decide(
            found.patients,
            found.searched,
            policy or settings.policy,
            found.trusted,
            rest_log10_lr=found.rest_log10_lr,
            notes=found.notes,
        )
        tally.add(_verdict(decision, film, enrolled=film in trial.orphans))
    _rank(tally, trial, encodings)
    return tally


def _verdict(decision: Decision, film: Film, *, enrolled: bool) -> str:
    if decision.outcome is Outcome.LINK:
        return "linked right" if enrolled and decision.best == film.key else "linked wrong"
    if decision.outcome is Outcome.REVIEW:
        listed = film.key in {item.patient for item in decision.ranked}
        return "review, mate listed" if listed else "review, mate not listed" if enrolled else "review, stranger"
    return "missed" if enrolled else "rightly nobody"


def _rank(tally: Tally, trial: Trial, encodings: dict[Film, Encoding]) -> None:
    patients = [film.patient for film in trial.enrolled]
    mates = [patients.index(film.patient) for film in trial.orphans]
    persons = [film.patient for film in trial.orphans]

    def hits(vectors: dict[Film, np.ndarray]) -> np.ndarray:
        scores = np.stack([vectors[f] for f in trial.orphans]) @ np.stack([vectors[f] for f in trial.enrolled]).T
        return (mate_ranks(scores, mates) == 1).astype(float)

    own = hits({film: item.vector for film, item in encodings.items()})
    tally.rank1, tally.rank1_interval = float(own.mean()), person_bootstrap(persons, own)
    tally.chance = 1 / len(patients)
    tally.pixel_rank1 = float(hits({f: _pixels(f) for f in (*trial.enrolled, *trial.orphans)}).mean())


def _pixels(film: Film) -> np.ndarray:
    small = cv2.resize(cv2.imread(str(film.path), cv2.IMREAD_GRAYSCALE), (32, 32), interpolation=cv2.INTER_AREA)
    centred = small.astype(np.float32).ravel() - small.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


def _uid(*parts: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(chr(0).join(parts).encode()).digest()[:15])}"
