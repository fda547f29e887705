"""Calibration from known studies: mates only across studies, the search's own statistic, judged on other patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.errors import CalibrationError, EncoderError
from inference.calibration import Pair, to_json
from inference.encoders.bundle import Bundle
from inference.evidence import search_filter
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry
from inference.types import Encoding, PatientKey
from tests.recognition.test_registry import MANIFEST, bundle, calibration
from training.calibrate import CalibrationReport, calibrate_from_embeddings, rank1_hits
from training.recipes.bundles import name_calibration, put_file
from training.study_scores import alike, study_scores

DIMENSION = 24


def cohort(
    seed: int, patients: int = 60, studies: int = 2, series: int = 1, spread: float = 0.12, views: bool = False
) -> list[GalleryEntry]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(patients):
        centre = rng.normal(size=DIMENSION)
        centre /= np.linalg.norm(centre)
        for study in range(studies):
            for _ in range(series):
                vector = centre + rng.normal(0, spread, DIMENSION)
                found.append(
                    GalleryEntry(
                        len(found),
                        PatientKey("H", f"{number:03d}"),
                        f"1.{number}.{study}",
                        (vector / np.linalg.norm(vector)).astype(np.float32),
                        modality="DX",
                        view=str(rng.choice(["", "FRONTAL", "LATERAL"])) if views else "FRONTAL",
                    )
                )
    return found


def fitted(entries: list[GalleryEntry], seed: int = 0) -> tuple[object, CalibrationReport]:
    return calibrate_from_embeddings(entries, encoder="e", version="1", scope="site", fitted_on="a test", seed=seed)


def test_scores_are_what_a_search_would_have_found() -> None:
    entries = cohort(1, patients=12, studies=3, series=2, views=True)
    gallery = FaissGallery("e", "1", DIMENSION)
    gallery.enrol(entries)
    scores = alike(study_scores(entries))
    patients = sorted({entry.patient for entry in entries})
    studies = sorted({entry.study_uid for entry in entries})
    expected = {}
    for entry in entries:
        probe = Encoding("e", "1", entry.study_uid, "s", entry.vector, 1.0, modality=entry.modality, view=entry.view)
        where = search_filter(probe, frozenset({entry.study_uid}))
        (found,) = gallery.search(entry.vector[None], 50, where)
        for item in found.candidates:
            kind = Pair.alike(entry.modality, entry.view).kind
            key = (studies.index(entry.study_uid), patients.index(item.patient), kind)
            expected[key] = max(item.score, expected.get(key, -2.0))
    made = {
        (int(study), int(patient), str(name).partition("@")[0]): score
        for study, patient, name, score in zip(scores.study, scores.patient, scores.names(), scores.score, strict=True)
    }
    assert made.keys() == expected.keys()
    assert all(made[key] == pytest.approx(expected[key], abs=1e-5) for key in made)


def test_mates_come_from_other_studies_only() -> None:
    """Two series of one study are nearly equal: they must not pass for a mated pair."""
    single = cohort(2, patients=30, studies=1, series=2, spread=0.01)
    scores = study_scores(single)
    assert not scores.mated.any()
    with pytest.raises(CalibrationError, match="0 mated"):
        fitted(single)


def test_good_embeddings_give_a_calibrated_and_useful_map() -> None:
    _, report = fitted(cohort(3, patients=120))
    assert report.patients == 120
    assert report.studies == 240
    assert report.mated == 240
    assert report.rank1 > 0.9
    assert report.rank1_interval[0] <= report.rank1 <= report.rank1_interval[1]
    assert report.chance == pytest.approx(1 / 120)
    assert report.cllr - report.min_cllr < 0.1
    assert report.largest_log10_lr == pytest.approx(np.log10(240 * 119 + 1))


def test_embeddings_that_know_nothing_claim_nothing() -> None:
    rng = np.random.default_rng(4)
    entries = []
    for number, entry in enumerate(cohort(4, patients=120)):
        vector = rng.normal(size=DIMENSION)
        entries.append(
            GalleryEntry(
                number, entry.patient, entry.study_uid, (vector / np.linalg.norm(vector)).astype(np.float32), "DX"
            )
        )
    found, report = fitted(entries)
    assert report.cllr == pytest.approx(1.0, abs=0.05)
    assert np.abs(found.log10_lr(np.linspace(-1, 1, 21))).max() < 1.0  # type: ignore[attr-defined]
    assert report.rank1_interval[0] < 0.05


def test_rank1_counts_probes_whose_own_patient_beats_all_others() -> None:
    scores = study_scores(cohort(5, patients=40, spread=0.25))
    _, hits, _ = rank1_hits(scores)
    by_hand = []
    for study in np.unique(scores.study):
        rows = scores.study == study
        best = scores.patient[rows][scores.score[rows].argmax()]
        by_hand.append(best == scores.owner[rows][0])
    assert hits.tolist() == [float(value) for value in by_hand]


def test_a_large_site_is_sampled_by_probes() -> None:
    entries = cohort(6, patients=50)
    some = study_scores(entries, max_scores=500)
    assert len(np.unique(some.study)) == 10
    assert some.patients == 50


def test_nothing_enrolled_is_too_little() -> None:
    with pytest.raises(CalibrationError, match="no embeddings"):
        fitted([])


def test_files_go_into_a_bundle_with_their_hash(tmp_path: Path) -> None:
    folder = bundle(tmp_path, "# a comment stays\n" + MANIFEST)
    put_file(folder, "a.npz", b"one")
    put_file(folder, "c.json", to_json(calibration("mine", "2.1")).encode())
    put_file(folder, "a.npz", b"two")
    name_calibration(folder, "c.json")
    name_calibration(folder, "c.json")
    read = Bundle.read(folder)
    assert read.bytes_of("a.npz") == b"two"
    assert read.calibration() is not None
    assert set(read.manifest.files) == {"a.npz", "c.json"}
    assert "# a comment stays" in (folder / "bundle.toml").read_text()
    (folder / "a.npz").write_bytes(b"one")
    with pytest.raises(EncoderError, match="SHA-256"):
        read.bytes_of("a.npz")
