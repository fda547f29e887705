from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import IdentitySettings, Normalisation
from dicom_node.identity import MAX_ID, clean, patient_key, person_digest, split_cx
from inference.types import PatientKey

PLAIN = IdentitySettings(default_issuer="")
FOLDING = IdentitySettings(
    default_issuer="HOME",
    normalise={"HOME": Normalisation(strip_leading_zeros=True, upper_case=True), "RAW": Normalisation()},
)
TEXT = st.text(max_size=80)
ISSUER = st.sampled_from(["", "HOME", "RAW", " HOME ", "OTHER"])


@given(patient_id=TEXT, issuer=TEXT | ISSUER, settings=st.sampled_from([PLAIN, FOLDING]))
def test_a_key_is_its_own_key(patient_id: str, issuer: str, settings: IdentitySettings) -> None:
    key = patient_key(patient_id, issuer, settings)
    if key is not None:
        assert patient_key(key.id, key.issuer, settings) == key
        assert key.id and key.id == clean(key.id) and len(key.id) <= MAX_ID
        assert unicodedata.is_normalized("NFC", key.id) and unicodedata.is_normalized("NFC", key.issuer)


@given(patient_id=st.text(st.characters(codec="ascii", exclude_characters="^"), min_size=1), padding=st.text(" \0"))
def test_padding_never_matters(patient_id: str, padding: str) -> None:
    assert patient_key(padding + patient_id + padding, padding, PLAIN) == patient_key(patient_id, "", PLAIN)


@given(patient_id=st.text("0123456789aAbB", min_size=1, max_size=20))
def test_nothing_is_folded_unless_the_issuer_says_so(patient_id: str) -> None:
    assert patient_key(patient_id, "RAW", FOLDING) == PatientKey("RAW", patient_id)
    assert patient_key(patient_id, "OTHER", FOLDING) == PatientKey("OTHER", patient_id)
    folded = patient_key(patient_id, "", FOLDING)
    assert folded == PatientKey("HOME", patient_id.upper().lstrip("0") or "0")


@pytest.mark.parametrize(
    ("patient_id", "issuer", "key"),
    [
        ("123", "", PatientKey("", "123")),
        ("00123", "", PatientKey("", "00123")),
        ("123^^^HOSP", "", PatientKey("HOSP", "123")),
        ("123^^^HOSP&1.2.3&ISO^MR", "", PatientKey("HOSP", "123")),
        ("123^^^HOSP", "OWN", PatientKey("OWN", "123")),
        ("123^4", "", PatientKey("", "123")),
        ("é", "", PatientKey("", "é")),
        ("", "HOSP", None),
        (" \0", "HOSP", None),
        ("^^^HOSP", "", None),
        ("1" * (MAX_ID + 1), "", None),
        ("1", "H" * (MAX_ID + 1), None),
    ],
)
def test_keys_of_what_is_received(patient_id: str, issuer: str, key: PatientKey | None) -> None:
    assert patient_key(patient_id, issuer, PLAIN) == key


@given(TEXT)
def test_taking_a_cx_apart_leaves_no_caret(text: str) -> None:
    assert not any("^" in part for part in split_cx(text))


@pytest.mark.parametrize("spelling", ["phantom^0001", "PHANTOM^0001^^^", " PHANTOM ^0001", "PHANTOM^0001=別^名"])
def test_one_person_in_other_spellings_counts_once(spelling: str) -> None:
    assert person_digest(spelling, "19700101") == person_digest("PHANTOM^0001", "19700101")


def test_other_names_and_dates_are_other_people_and_nothing_is_nobody() -> None:
    digests = {
        person_digest("PHANTOM^0001", "19700101"),
        person_digest("PHANTOM^0002", "19700101"),
        person_digest("PHANTOM^0001", "19700102"),
        person_digest("PHANTOM^0001", ""),
        person_digest("", "19700101"),
    }
    assert len(digests) == 5 and "" not in digests
    assert person_digest(" ^^", "\0") == ""
