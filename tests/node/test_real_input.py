"""Real films and real series through a whole node: over C-STORE, into the ledger, to a decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from config.settings import load_settings
from dicom_node.importing import files_of, import_files, walk_all
from dicom_node.ledger import DecisionRecord, Ledger, StudyState
from dicom_node.node import Node
from dicom_node.process import NodeProcess
from dicom_node.sending import send_files
from inference.calibration import write_calibration
from inference.encoders.bundle import site_calibration
from inference.types import PatientIdentity
from tests.node.conftest import settled
from tests.recognition.real_films import Film, plan_trial, write_cr
from training.calibrate import calibrate_from_embeddings
from training.evaluation.metrics import person_bootstrap

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(900)]

PLAN = {"mated": 40, "distractors": 30, "strangers": 20, "calibration": 60}


def send(node: NodeProcess, files: list[Path]) -> None:
    dicom = node.settings.dicom
    assert send_files(files, dicom.host, dicom.port, called_ae=dicom.ae_title) == len(files)


def written(films: tuple[Film, ...], folder: Path, *, known: bool) -> list[Path]:
    folder.mkdir()
    return [write_cr(film, folder, PatientIdentity(film.key) if known else None) for film in films]


def calibrated_on(films: tuple[Film, ...], folder: Path, calibrations: Path) -> None:
    """What ``medreid calibrate`` writes at a site that has only these films: none of them is in the trial."""
    with Node(load_settings(environment={}, home=folder / "calibration-home")) as node:
        node.settings.home.mkdir()
        import_files(node, files_of(written(films, folder / "calibration-films", known=True)))
        walk_all(node)
        encoder = node.registry.get("general")
        entries = (entry for page in node.ledger.embeddings_of(encoder.name, encoder.version) for entry in page)
        calibration, _ = calibrate_from_embeddings(
            entries, encoder=encoder.name, version=encoder.version, scope="site", fitted_on="films of other patients"
        )
    write_calibration(calibration, site_calibration(calibrations, encoder.name))


def test_real_films_as_orphans_none_is_linked_wrongly(
    node_process: Callable[..., NodeProcess], data_folder: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    trial = plan_trial(data_folder, "paediatric_cxr", **PLAN)
    node = node_process()
    calibrated_on(trial.calibration, tmp_path, node.settings.calibration_folder)
    node.start()
    probes = (*trial.orphans, *trial.strangers)
    with Ledger.of(node.settings) as ledger:
        send(node, written(trial.enrolled, tmp_path / "enrolled", known=True))
        for film in trial.enrolled:
            assert settled(ledger, film.study_uid, 300).state is StudyState.ENROLLED
        send(node, written(probes, tmp_path / "probes", known=False))
        states = {film: settled(ledger, film.study_uid, 300).state for film in probes}
        decisions = {film: ledger.decisions(study_uid=film.study_uid)[0] for film in probes}
    hits = [float(decisions[film].patient == film.key) for film in trial.orphans]
    low, high = person_bootstrap([film.patient for film in trial.orphans], np.asarray(hits))
    verdicts = Counter(_verdict(film, states[film], decisions[film], film in trial.orphans) for film in probes)
    report(
        f"real films through the node: {len(trial.orphans)} orphans, {len(trial.strangers)} strangers, "
        f"{len(trial.enrolled)} enrolled; rank-1 {np.mean(hits):.2f} [{low:.2f}, {high:.2f}] (95 % over persons), "
        f"chance {1 / len(trial.enrolled):.2f}; linked right {verdicts['linked right']}, "
        f"linked wrong {verdicts['linked wrong']}; {dict(verdicts)}"
    )
    assert verdicts["linked wrong"] == 0
    assert sum(hits) > 3, "a weak encoder is still far above chance"


def _verdict(film: Film, state: StudyState, decision: DecisionRecord, enrolled: bool) -> str:
    if state is StudyState.LINKED:
        return "linked right" if enrolled and decision.patient == film.key else "linked wrong"
    return f"{state.value}, {'enrolled' if enrolled else 'stranger'}"


def test_a_real_chest_ct_is_enrolled_and_as_an_orphan_named_as_without_evidence(
    node_process: Callable[..., NodeProcess], data_folder: Path, tmp_path: Path
) -> None:
    node = node_process()
    node.start()
    series = sorted((data_folder / "dicom" / "ct_chest").rglob("*.dcm")) or files_of([data_folder / "dicom/ct_chest"])
    with Ledger.of(node.settings) as ledger:
        send(node, series)
        uid = str(dcmread(series[0], stop_before_pixels=True).StudyInstanceUID)
        record = settled(ledger, uid)
        assert (record.state, record.instances) == (StudyState.ENROLLED, len(series))
        orphans = [_orphan(path, tmp_path / "orphan") for path in series]
        send(node, orphans)
        assert settled(ledger, other(uid)).state is StudyState.NO_EVIDENCE
        kept = {ledger.object_in_force(str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)) for path in series}
    assert len(kept) == len(series)
    objects = node.settings.spool_folder / "objects"
    received = dcmread(objects / sorted(kept)[0][:2] / f"{sorted(kept)[0]}.dcm")
    original = next(p for p in series if dcmread(p).SOPInstanceUID == received.SOPInstanceUID)
    assert received.PixelData == dcmread(original).PixelData


def other(uid: str) -> str:
    """Another UID, the same for the same one."""
    return str(generate_uid(entropy_srcs=["other", uid]))


def _orphan(path: Path, folder: Path) -> Path:
    ds = dcmread(path)
    ds.PatientID = ds.PatientName = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (
        other(str(uid)) for uid in (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    )
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    folder.mkdir(exist_ok=True)
    ds.save_as(folder / path.name)
    return folder / path.name


def test_a_real_head_mr_whose_id_is_an_emergency_number_is_an_orphan_with_a_face(
    node_process: Callable[..., NodeProcess], site: Path, data_folder: Path
) -> None:
    site.write_text(site.read_text() + '[imaging]\nallow = ["SLICE_INCREMENT_INCONSISTENT"]\n')
    node = node_process()
    node.start()
    series = files_of([data_folder / "dicom" / "mr_head_with_face"])
    with Ledger.of(node.settings) as ledger:
        send(node, series)
        uid = str(dcmread(series[0], stop_before_pixels=True).StudyInstanceUID)
        state = settled(ledger, uid).state
        assert state is not StudyState.ENROLLED, "its Patient ID was made up by the scanner"
        assert state in (StudyState.NO_MATCH, StudyState.REVIEW)
        assert ledger.embeddings_of_study(uid), "the series is encoded"
