"""Whose object it is, written into a DICOM object and taken back: bytes in, bytes out, no archive in sight.

What is written follows PS3.3 C.7.1.1 (Patient), C.12.1.1.9 (Original Attributes Sequence) and table 10-18 (Other
Patient IDs). Items that are already there are preserved byte for byte and ours is appended. What an edit replaced
comes back with it as the exact bytes, so that :func:`restore` is its inverse.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from config.errors import HeaderError, RelinkRefusedError
from dicom_node.archives.canonical import is_sequence, known_vr
from dicom_node.archives.charsets import CHARACTER_SET, TEXT_VRS, UTF8, CharacterSet
from dicom_node.archives.elements import (
    PREAMBLE,
    Element,
    Part10,
    Syntax,
    elements,
    encode,
    encode_item,
    items,
    splice,
)
from dicom_node.archives.protocol import Provenance
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from inference.types import PatientIdentity, PatientKey

PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
ISSUER = 0x00100021
TYPE_OF_PATIENT_ID = 0x00100022
ISSUER_QUALIFIERS = 0x00100024
BIRTH_DATE = 0x00100030
SEX = 0x00100040
OTHER_PATIENT_IDS = 0x00101002
MODIFIED_ATTRIBUTES = 0x04000550
ORIGINAL_ATTRIBUTES = 0x04000561
MODIFICATION_DATETIME = 0x04000562
MODIFYING_SYSTEM = 0x04000563
SOURCE_OF_PREVIOUS_VALUES = 0x04000564
REASON_FOR_MODIFICATION = 0x04000565
IMPLEMENTATION_CLASS = 0x00020012
IMPLEMENTATION_VERSION = 0x00020013

OUR_VERSION_NAME = b"MEDREID"

VRS: Mapping[int, str] = MappingProxyType(
    {PATIENT_NAME: "PN", PATIENT_ID: "LO", ISSUER: "LO", BIRTH_DATE: "DA", SEX: "CS", OTHER_PATIENT_IDS: "SQ"}
)
Former = Mapping[str, str | None]
_EXPLICIT = Syntax(implicit=False, little=True)


@dataclass(frozen=True, slots=True)
class Edited:
    """The new stream, and what it replaced: tag (eight hex digits) to the encoded element in base64, None if absent."""

    data: bytes
    former: Former


def check_target(to: PatientIdentity) -> None:
    """Refuses a patient record that DICOM cannot carry (PS3.5 table 6.2-1).

    Raises
    ------
    RelinkRefusedError
        (``TARGET_INVALID``) naming the attribute, never its value.
    """
    texts = {"PatientID": to.key.id, "IssuerOfPatientID": to.key.issuer, "PatientName": to.name}
    for name, text in texts.items():
        limit = 3 * 64 + 2 if name == "PatientName" else 64
        if text != text.strip() or len(text) > limit or "\\" in text or not text.isprintable():
            raise RelinkRefusedError(f"the target's {name} cannot be written into DICOM", reason="TARGET_INVALID")
    if to.birth_date and not _is_date(to.birth_date):
        raise RelinkRefusedError("the target's PatientBirthDate is no date (YYYYMMDD)", reason="TARGET_INVALID")
    if to.sex not in ("", "M", "F", "O"):
        raise RelinkRefusedError("the target's PatientSex is not M, F or O", reason="TARGET_INVALID")


def apply_identity(source: Part10, to: PatientIdentity, provenance: Provenance, at: datetime) -> Edited:
    """Gives the object to the patient ``to`` and records what was there before.

    Patient ID, issuer, name, birth date and sex become the target's; the old identifier is appended to Other
    Patient IDs Sequence, all prior values to Original Attributes Sequence. Specific Character Set becomes
    ISO_IR 192, with all text re-encoded, only where it cannot carry the new text. ``at`` is timezone-aware.

    Raises
    ------
    HeaderError
        when the object's own sequences cannot be appended to.
    """
    charset = CharacterSet.of(source.value(CHARACTER_SET))
    texts = (to.name, to.key.id, to.key.issuer, provenance.modifying_system, provenance.source_of_previous_values)
    changes: dict[int, bytes | None] = {}
    if any(charset.encode(text) is None for text in texts):
        changes.update(_as_utf8(source, charset))
        charset = CharacterSet(("utf-8",))
    prior = _Prior(source, changes)
    changes.update(_identity(prior, to, charset))
    changes[ORIGINAL_ATTRIBUTES] = prior.appended(
        ORIGINAL_ATTRIBUTES, _original_attributes_item(prior, set(changes), provenance, at, charset)
    )
    changed = {tag: new for tag, new in changes.items() if new != source.raw(tag)}
    head, former_head = _signed(source.head)
    former = {f"{tag:08X}": _base64(source.raw(tag)) for tag in sorted(changed)} | former_head
    return Edited(splice(source, changed, head), former)


def restore(source: Part10, former: Former) -> bytes:
    """Takes :func:`apply_identity` back: the elements it replaced are again what they were, byte for byte."""
    encoded = {int(tag, 16): None if old is None else base64.b64decode(old) for tag, old in former.items()}
    head = _spliced_head(source.head, {tag: old for tag, old in encoded.items() if tag >> 16 == 2})
    return splice(source, {tag: old for tag, old in encoded.items() if tag >> 16 != 2}, head)


def identity_of(source: Part10) -> PatientIdentity | None:
    """The patient that the object names, None when it has no Patient ID (absent, empty or blank)."""
    charset = CharacterSet.of(source.value(CHARACTER_SET))

    def text(tag: int) -> str:
        return charset.decode(source.value(tag) or b"").strip(" \0")

    if not text(PATIENT_ID):
        return None
    key = PatientKey(text(ISSUER), text(PATIENT_ID))
    return PatientIdentity(key, text(PATIENT_NAME), text(BIRTH_DATE), text(SEX))


class _Prior:
    """The elements before the change, in the character set that the object will have."""

    def __init__(self, source: Part10, recoded: Mapping[int, bytes | None]) -> None:
        self.syntax = source.syntax
        self._source = source
        self._recoded = dict(recoded)

    def raw(self, tag: int) -> bytes | None:
        return self._recoded[tag] if tag in self._recoded else self._source.raw(tag)

    def value(self, tag: int) -> bytes:
        raw = self.raw(tag)
        if raw is None:
            return b""
        element = next(elements(raw, 0, len(raw), self.syntax))
        return raw[element.value : element.content]

    def appended(self, tag: int, item: bytes) -> bytes:
        """The sequence with one more item; the items it has are copied as they are."""
        raw = self.raw(tag)
        content = b""
        if raw is not None:
            element = next(elements(raw, 0, len(raw), self.syntax))
            content = raw[element.value : element.content]
            if (element.vr not in ("SQ", "")) or len(content) % 2:
                raise HeaderError(
                    "a sequence of the object is encoded so that nothing can be appended", reason="SEQUENCE"
                )
        return encode(tag, "SQ", content + item, self.syntax)


def _identity(prior: _Prior, to: PatientIdentity, charset: CharacterSet) -> dict[int, bytes | None]:
    syntax = prior.syntax
    values = {PATIENT_NAME: to.name, PATIENT_ID: to.key.id, BIRTH_DATE: to.birth_date, SEX: to.sex}
    changes: dict[int, bytes | None] = {
        tag: encode(tag, VRS[tag], charset.encode(text) or b"", syntax) for tag, text in values.items()
    }
    issuer = charset.encode(to.key.issuer) or b""
    changes[ISSUER] = encode(ISSUER, "LO", issuer, syntax) if issuer else None
    if prior.raw(ISSUER_QUALIFIERS) is not None and prior.value(ISSUER).strip(b" \0") != issuer:
        # They qualify the former issuer: left in place they would say that it issued the new identifier.
        changes[ISSUER_QUALIFIERS] = None
    if prior.value(PATIENT_ID).strip(b" \0"):
        changes[OTHER_PATIENT_IDS] = prior.appended(OTHER_PATIENT_IDS, _other_id_item(prior))
    return changes


def _other_id_item(prior: _Prior) -> bytes:
    content = [
        prior.raw(PATIENT_ID),
        prior.raw(ISSUER),
        encode(TYPE_OF_PATIENT_ID, "CS", b"TEXT", prior.syntax),
        prior.raw(ISSUER_QUALIFIERS),
    ]
    return encode_item(b"".join(part for part in content if part is not None), prior.syntax)


def _original_attributes_item(
    prior: _Prior, changed: set[int], provenance: Provenance, at: datetime, charset: CharacterSet
) -> bytes:
    """An absent attribute is recorded with zero length; Patient ID and its issuer always (PS3.3 C.12.1.1.9)."""
    syntax = prior.syntax
    recorded = [tag for tag in VRS if tag in changed or tag in (PATIENT_ID, ISSUER)]
    if ISSUER_QUALIFIERS in changed:
        recorded.append(ISSUER_QUALIFIERS)
    before = b"".join(prior.raw(tag) or encode(tag, VRS[tag], b"", syntax) for tag in sorted(recorded))
    values = (
        (MODIFIED_ATTRIBUTES, "SQ", encode_item(before, syntax)),
        (MODIFICATION_DATETIME, "DT", at.strftime("%Y%m%d%H%M%S.%f%z").encode("ascii")),
        (MODIFYING_SYSTEM, "LO", charset.encode(provenance.modifying_system) or b""),
        (SOURCE_OF_PREVIOUS_VALUES, "LO", charset.encode(provenance.source_of_previous_values) or b""),
        (REASON_FOR_MODIFICATION, "CS", provenance.reason.encode("ascii")),
    )
    return encode_item(b"".join(encode(tag, vr, value, syntax) for tag, vr, value in values), syntax)


def _as_utf8(source: Part10, charset: CharacterSet) -> dict[int, bytes]:
    """Every top-level element whose text has to be re-encoded, and Specific Character Set itself."""
    changes = {CHARACTER_SET: encode(CHARACTER_SET, "CS", UTF8.encode("ascii"), source.syntax)}
    for element in source.elements:
        recoded = _recoded(source.body, element, source.syntax, charset)
        if recoded is not None:
            changes[element.tag] = recoded
    return changes


def _recoded(body: bytes, element: Element, syntax: Syntax, charset: CharacterSet) -> bytes | None:
    """The element in UTF-8, None where that changes nothing (or where bytes of unknown meaning must stay)."""
    if element.vr == "UN":
        return None
    if is_sequence(element):
        return _recoded_sequence(body, element, syntax, charset)
    value = body[element.value : element.content]
    vr = element.vr or known_vr(element.tag)
    if vr not in TEXT_VRS or (value.isascii() and b"\x1b" not in value):
        return None
    return encode(element.tag, vr, charset.decode(value).encode("utf-8"), syntax)


def _recoded_sequence(body: bytes, element: Element, syntax: Syntax, charset: CharacterSet) -> bytes | None:
    contents, changed = [], False
    for start, stop in items(body, element, syntax):
        parts = list(elements(body, start, stop, syntax))
        # An item with a character set of its own keeps it, and its text.
        own = any(part.tag == CHARACTER_SET for part in parts)
        recoded = [None if own else _recoded(body, part, syntax, charset) for part in parts]
        changed |= any(part is not None for part in recoded)
        pairs = zip(parts, recoded, strict=True)
        contents.append(b"".join(new if new is not None else body[old.start : old.end] for old, new in pairs))
    if not changed:
        return None
    return encode(element.tag, "SQ", b"".join(encode_item(content, syntax) for content in contents), syntax)


def _signed(head: bytes) -> tuple[bytes, dict[str, str | None]]:
    """The file meta information with our implementation, as whoever writes a file must (PS3.10 section 7.1)."""
    changes: dict[int, bytes | None] = {
        IMPLEMENTATION_CLASS: encode(IMPLEMENTATION_CLASS, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii"), _EXPLICIT),
        IMPLEMENTATION_VERSION: encode(IMPLEMENTATION_VERSION, "SH", OUR_VERSION_NAME, _EXPLICIT),
    }
    before = _meta(head)
    return _spliced_head(head, changes), {f"{tag:08X}": _base64(before.raw(tag)) for tag in changes}


def _spliced_head(head: bytes, changes: Mapping[int, bytes | None]) -> bytes:
    if not changes:
        return head
    meta = splice(_meta(head), changes)
    group_length = _meta(meta).by_tag.get(0x00020000)
    if group_length is None:
        return meta
    start = PREAMBLE + 4
    length = len(meta) - start - group_length.end
    return meta[: start + group_length.value] + length.to_bytes(4, "little") + meta[start + group_length.content :]


def _meta(head: bytes) -> Part10:
    """The file meta information as if it were a data set of its own (always Explicit VR Little Endian)."""
    start = PREAMBLE + 4
    body = head[start:]
    return Part10(head[:start], "", _EXPLICIT, body, tuple(elements(body, 0, len(body), _EXPLICIT)))


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return len(text) == 8 and text.isdigit()
