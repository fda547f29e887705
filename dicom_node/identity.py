"""Patient identifiers as received become keys that can be compared, or nothing."""

from __future__ import annotations

import hashlib
import unicodedata

from config.settings import IdentitySettings, Normalisation
from inference.types import PatientKey

# DICOM pads with spaces (PS3.5 6.2) and some senders with NUL; other white space at the ends belongs to no ID either.
PADDING = " \0\t\r\n\f\v\u00a0"
# LO holds 64 characters; more than four times that is no identifier that anybody issued.
MAX_ID = 256


def clean(text: str) -> str:
    """The text without padding, in Unicode normal form C. Nothing else is changed: case and zeros may matter."""
    return unicodedata.normalize("NFC", text).strip(PADDING)


def split_cx(text: str) -> tuple[str, str]:
    """Identifier and assigning authority of an HL7 CX that leaked into Patient ID (``123^^^HOSP&1.2&ISO``).

    Text without carets is an identifier without authority.
    """
    parts = clean(text).split("^")
    authority = parts[3] if len(parts) > 3 else ""
    return clean(parts[0]), clean(authority.split("&")[0])


def patient_key(patient_id: str, issuer: str, settings: IdentitySettings) -> PatientKey | None:
    """The key of a received Patient ID and Issuer of Patient ID; None where there is nothing to compare.

    An issuer that the data set names goes before one in the identifier, and both before the configured one.
    Only what is configured for that issuer is folded.
    """
    own, authority = split_cx(patient_id)
    name = clean(issuer) or authority or clean(settings.default_issuer)
    own = _normalise(own, settings.normalise.get(name))
    if not own or len(own) > MAX_ID or len(name) > MAX_ID:
        return None
    return PatientKey(name, own)


def person_digest(name: str, birth_date: str) -> str:
    """A digest that is equal for one person's spellings (case, empty components), empty where nothing is known.

    It serves to count people, not to protect them: names can be guessed.
    """
    alphabetic = clean(name).split("=")[0].upper()
    components = [" ".join(part.split()) for part in alphabetic.split("^")]
    while components and not components[-1]:
        components.pop()
    if not components and not clean(birth_date):
        return ""
    text = "^".join(components) + "\n" + clean(birth_date)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _normalise(text: str, rules: Normalisation | None) -> str:
    if rules is None or not text:
        return text
    if rules.upper_case:
        text = clean(text.upper())
    if rules.strip_leading_zeros:
        # "000" is the number nought, not an absent identifier.
        text = text.lstrip("0") or "0"
    return text
