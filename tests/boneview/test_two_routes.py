"""A study with a head CT and a radiograph: two routes, two embeddings, one likelihood ratio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from config.settings import Settings
from dicom_node.importing import import_files, walk_all
from dicom_node.node import Node
from inference.calibration import fit_calibration
from inference.calibration.files import write_calibration
from inference.calibration.open_set import fit_open_set
from inference.encoders.bundle import site_calibration
from tests.cohort.conftest import SMALL
from tests.node.films import film_dataset, known, write_film
from training.cohort.illness import no_illness
from training.cohort.kinds import KINDS
from training.cohort.person import person
from training.cohort.visit import visit

SEED, STRANGERS = 9300, 6


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    verification = settings.verification.model_copy(update={"enabled": False})
    with Node(settings.model_copy(update={"verification": verification})) as made:
        for name in ("ct-face", "general"):
            calibrate(made, name)
        yield made


def calibrate(node: Node, name: str) -> None:
    """Mates near 0.9, others near 0.3: what it says does not matter here, only that both encoders say something."""
    rng = np.random.default_rng(3)
    others, searches = rng.normal(0.3, 0.15, 4000), np.repeat(np.arange(200), 20)
    guard = fit_open_set(others, searches, searches)
    assert guard is not None
    found = fit_calibration(
        rng.normal(0.9, 0.06, 300), others, open_set={"": guard}, encoder=name,
        version=node.registry.bundle(name).manifest.version, scope="site", fitted_on="a test", patients=300,
    )  # fmt: skip
    path = site_calibration(node.settings.calibration_folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_calibration(found, path)


def write_study(folder: Path, number: int, patient_id: str | None) -> str:
    """The head CT and the film of one visit, in one study."""
    uid = str(generate_uid(entropy_srcs=["two routes", str(number)]))

    def change(ds: Dataset) -> Dataset:
        film = film_dataset(0, number, patient_id)
        for keyword in ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"):
            if keyword in ds:
                delattr(ds, keyword)
            if keyword in film:
                setattr(ds, keyword, film[keyword].value)
        ds.StudyInstanceUID = uid
        return ds

    who = person(SEED, 1)
    day = visit(who, number, replace(SMALL, illness=no_illness()))
    KINDS["head-ct"].write(folder / "ct", who, day, change)
    write_film(folder / "film", 0, number, patient_id, StudyInstanceUID=uid)
    return uid


def test_face_and_film_of_one_study_are_fused(node: Node, tmp_path: Path) -> None:
    write_study(tmp_path / "known", 0, known(0))
    for stranger in range(1, STRANGERS + 1):
        write_film(tmp_path / "known" / "film", stranger, 0, known(stranger))
    orphan = write_study(tmp_path / "orphan", 1, None)
    for folder in ("known", "orphan"):
        import_files(node, sorted(path for path in (tmp_path / folder).rglob("*.dcm")))
        walk_all(node)
    (decision,) = node.ledger.decisions(study_uid=orphan)
    assert [text.split(" ")[0] for text in decision.evidence["encoders"]] == ["ct-face", "general"]
    assert decision.patient is not None
    assert decision.patient.id == known(0)
    best = decision.candidates[0]
    sources = {name: value for name, value in best["log10_lrs"].items() if name != "demographics"}
    assert set(sources) == {"ct-face:CT/", "general:DX/FRONTAL"}
    assert best["log10_lr"] not in sources.values(), "neither decides alone"
    assert best["log10_lr"] <= sum(max(value, 0.0) for value in sources.values()) + 1e-9, "no more than both"
    assert {row["id"] for row in decision.candidates} == {known(n) for n in range(STRANGERS + 1)}
