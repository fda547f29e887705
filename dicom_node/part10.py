"""DICOM files (PS3.10) at the level of bytes: the canonical file meta of the spool, and where a data set begins."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from config.errors import HeaderError

PREAMBLE = bytes(128) + b"DICM"
# Written into every file of the spool for ever: another value would give the same object another hash.
IMPLEMENTATION_CLASS_UID = "2.25.143955642411829051660578237830166300175"
# File meta information longer than this is no file meta information.
MAX_META_BYTES = 64 * 1024
# PS3.5 allows 64; peers send more, and their objects are kept all the same.
MAX_UID_BYTES = 1024

_EXPLICIT_HEADER = struct.Struct("<HH2sH")
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """What a DICOM object says of itself outside its data set.

    The three UIDs are what the peer sent, decoded as Latin-1 and without padding: hostile text.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def uid_text(value: bytes) -> str:
    """A UID as received, without its padding. Any byte is possible inside."""
    return value.rstrip(b"\0 ").decode("latin-1")


def canonical_header(identity: ObjectIdentity) -> bytes:
    """Preamble and minimal file meta information (PS3.10 7.1): a function of ``identity`` alone.

    Raises
    ------
    HeaderError
        where a UID is longer than an element of file meta information may be here.
    """
    elements = b"".join(
        (
            struct.pack("<HH2sHI", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _uid_element(_SOP_CLASS, identity.sop_class_uid),
            _uid_element(_SOP_INSTANCE, identity.sop_instance_uid),
            _uid_element(_TRANSFER_SYNTAX, identity.transfer_syntax_uid),
            _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    return PREAMBLE + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements)) + elements


def _uid_element(element: int, uid: str) -> bytes:
    value = uid.encode("latin-1")
    if len(value) > MAX_UID_BYTES:
        raise HeaderError("a UID is longer than 1024 characters; the object cannot be stored")
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def split_header(start: bytes) -> tuple[ObjectIdentity, int]:
    """Reads the file meta information at the start of a DICOM file.

    ``start`` holds the file, or at least its first ``132 + MAX_META_BYTES`` bytes. Group Length is not believed: the
    file meta information ends where the next element is not of group 0002.

    Returns the identity and the offset at which the data set begins.

    Raises
    ------
    HeaderError
        for bytes that are no DICOM file, or whose file meta information is torn, too long or lacks a UID.
    """
    if start[128:132] != b"DICM":
        raise HeaderError("no DICOM file: the prefix DICM is missing after 128 bytes")
    values: dict[int, bytes] = {}
    end = len(PREAMBLE)
    for element, value, after in _meta_elements(start):
        values[element] = value
        end = after
    if not all(values.get(element) for element in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)):
        raise HeaderError("the file meta information lacks SOP class, SOP instance or transfer syntax")
    sop_class, sop_instance, syntax = (uid_text(values[e]) for e in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX))
    return ObjectIdentity(sop_class, sop_instance, syntax), end


def _meta_elements(start: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Elements of group 0002 in Explicit VR Little Endian: (element, value, offset after it)."""
    offset, limit = len(PREAMBLE), min(len(start), len(PREAMBLE) + MAX_META_BYTES)
    while offset + 8 <= limit:
        group, element, vr, length = _EXPLICIT_HEADER.unpack_from(start, offset)
        if group != 0x0002:
            return
        offset += 8
        if vr in _LONG_VRS:
            if offset + 4 > limit:
                raise HeaderError("the file meta information is torn")
            (length,) = struct.unpack_from("<I", start, offset)
            offset += 4
        if length > limit - offset:
            raise HeaderError("an element of the file meta information is longer than what is there")
        yield element, start[offset : offset + length], offset + length
        offset += length
    if offset >= len(PREAMBLE) + MAX_META_BYTES - 8:
        raise HeaderError("the file meta information is longer than 64 KiB")
