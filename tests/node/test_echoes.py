"""What comes again in other bytes: news, or not."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset

from config.settings import Settings
from dicom_node.ingest import Ingester
from dicom_node.ledger import Ledger
from dicom_node.spool import Source, Spool
from tests.node.films import film_dataset


@pytest.fixture
def ingester(settings: Settings) -> Ingester:
    settings.home.mkdir(parents=True)
    ledger = Ledger.of(settings)
    return Ingester(ledger, Spool(settings.spool_folder, 0), settings.identity)


def put(
    ingester: Ingester, settings: Settings, *, undefined_length: bool = False, **elements: object
) -> tuple[int, int]:
    """Ingests one film with a sequence in it; returns (added, conflicts)."""
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "43799004", "SCT", "Chest"
    film = film_dataset(1, 0, "MRN1", AnatomicRegionSequence=[region], **elements)
    film["AnatomicRegionSequence"].is_undefined_length = undefined_length
    written = BytesIO()
    film.save_as(written, enforce_file_format=True)
    stored = Spool(settings.spool_folder, 0).put_bytes(written.getvalue(), Source(association="test"))
    report = ingester.add([stored])
    return report.added, report.conflicts


def test_the_same_elements_encoded_anew_are_no_conflict(ingester: Ingester, settings: Settings) -> None:
    assert put(ingester, settings) == (1, 0)
    assert put(ingester, settings, undefined_length=True) == (0, 0)
    with Ledger.of(settings) as ledger:
        assert ledger.object_count() == 2, "both encodings are kept"
        assert [c.value for c in ledger.counters("ingest_echo")] == [1]


def test_one_other_element_is_a_conflict(ingester: Ingester, settings: Settings) -> None:
    assert put(ingester, settings) == (1, 0)
    assert put(ingester, settings, undefined_length=True, StudyDescription="changed") == (0, 1)
