from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.ledger import Ledger
from dicom_node.ledger.types import canonical_json, clean_text
from tests.ledger.builders import STUDY, received

NUMBERS = itertools.count()
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@given(ANY_TEXT)
def test_cleaned_text_is_storable_and_stays_clean(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.encode("utf-8") and "\x00" not in cleaned if cleaned else text == ""
    assert clean_text(cleaned) == cleaned
    assert len(cleaned) == len(text)


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.lists(ANY_TEXT, max_size=3), max_size=5))
def test_canonical_json_has_one_spelling_per_value(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)
    assert canonical_json(value).isascii()


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": object()})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(patient_id=ANY_TEXT, name=ANY_TEXT)
def test_hostile_text_in_headers_is_kept_and_found_again(ledger: Ledger, patient_id: str, name: str) -> None:
    study = f"{STUDY}.{next(NUMBERS)}"
    ledger.ingest([received(1, study, PatientID=patient_id, PatientName=name, SeriesDescription=name)])
    identities = ledger.identities(study)
    assert [one.patient_id for one in identities] == [clean_text(patient_id)]
    (series,) = ledger.series(study, Path)
    assert [one.attributes["SeriesDescription"] for one in series.instances] == [name]
