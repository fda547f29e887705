"""Evidence of a link as DICOM objects: conformant, about one patient, the same for the same decision."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from dicom_node.evidence import OVERLAY, REPORT, Link, Source, evidence_of, object_uids
from tests.node.films import ISSUER, film_dataset, known

OVERLAY_PIXELS = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
LINK = Link(
    decision_id="decision-1",
    posterior=0.9991,
    log10_lr=4.25,
    searched=120,
    policy="default-1",
    policy_hash="ab" * 32,
    gallery="revision 17",
    made_by="MedReID",
    made_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    sources=[
        Source("general DX/PA", "1.1", 2.5, 0.81),
        Source("demographics", "", 0.7),
        Source("radiograph", "1", 2.0, 0.66, {"blocks agreeing": 31.0}, OVERLAY_PIXELS),
    ],
)


def written(one: Dataset) -> bytes:
    out = BytesIO()
    one.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture
def image() -> Dataset:
    return film_dataset(1, 5, known(1))


def values(report: Dataset) -> dict[str, list[float]]:
    """All numbers of a report by the meaning of their name."""
    found: dict[str, list[float]] = {}

    def walk(item: Dataset) -> None:
        if item.get("ValueType") == "NUM":
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            found.setdefault(name, []).append(float(item.MeasuredValueSequence[0].NumericValue))
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(report)
    return found


def test_the_report_says_what_spoke_for_the_link(image: Dataset) -> None:
    report, overlay = evidence_of(LINK, [image])
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert values(report) == {
        "Fused log10 likelihood ratio": [4.25],
        "Posterior probability": [0.9991],
        "Log10 likelihood ratio": [2.5, 0.7, 2.0],
        "Comparison score": [0.81, 0.66],
        "Blocks agreeing": [31.0],
    }
    text = [element.value for element in report.iterall() if element.keyword == "TextValue"]
    for said in ("general DX/PA", "1.1", "policy default-1", "gallery revision 17", "patients searched 120"):
        assert said in text
    assert overlay.SOPClassUID == SecondaryCaptureImageStorage
    np.testing.assert_array_equal(overlay.pixel_array, OVERLAY_PIXELS)


def test_it_belongs_to_the_study_and_refers_to_its_images(image: Dataset) -> None:
    made = evidence_of(LINK, [image])
    for one in made:
        assert (one.PatientID, one.IssuerOfPatientID, one.PatientName) == (known(1), ISSUER, image.PatientName)
        assert one.StudyInstanceUID == image.StudyInstanceUID
        assert one.SeriesInstanceUID != image.SeriesInstanceUID
    referred = {
        item.ReferencedSOPInstanceUID
        for study in made[0].CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert referred == {image.SOPInstanceUID, made[1].SOPInstanceUID}


def test_the_same_decision_makes_the_same_objects(image: Dataset) -> None:
    first, again = evidence_of(LINK, [image]), evidence_of(LINK, [image])
    assert [one.SOPInstanceUID for one in first] == [uid for uid, _ in object_uids(LINK)]
    assert [kind for _, kind in object_uids(LINK)] == [REPORT, OVERLAY]
    assert [written(one) for one in first] == [written(one) for one in again]
    other = evidence_of(replace(LINK, decision_id="decision-2"), [image])
    assert {one.SOPInstanceUID for one in first}.isdisjoint(one.SOPInstanceUID for one in other)


def test_without_an_overlay_there_is_a_report_alone(image: Dataset) -> None:
    link = replace(LINK, sources=LINK.sources[:2])
    assert len(evidence_of(link, [image])) == len(object_uids(link)) == 1


def test_names_outside_ascii_survive(image: Dataset, tmp_path: Path) -> None:
    import pydicom

    image.SpecificCharacterSet = "ISO_IR 192"
    image.PatientName = "Übung^Ænde"
    report = evidence_of(LINK, [image])[0]
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert pydicom.dcmread(tmp_path / "report.dcm").PatientName == "Übung^Ænde"


@pytest.mark.dicom3tools
def test_the_objects_are_conformant(image: Dataset, tmp_path: Path) -> None:
    for number, one in enumerate(evidence_of(LINK, [image])):
        path = tmp_path / f"{number}.dcm"
        one.save_as(path, enforce_file_format=True)
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert errors == []
