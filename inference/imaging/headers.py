"""Reads what a DICOM object says of itself, and nothing of its pixels.

The file is hostile: bytes read, number of reads and inflated bytes are bounded before memory is taken, values that
cannot be decoded become None or fallback text, and what stands before a defect is kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from config.errors import HeaderError
from inference.imaging.attributes import HEADER_KEYWORDS, MAX_TEXT, TAGS, Element, convert, encodings_of
from inference.imaging.quiet import quiet
from inference.types import InstanceHeader

__all__ = ["HEADER_KEYWORDS", "read_header"]

MAX_ELEMENT_BYTES = 64 * 1024
MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_READS = 400_000
MAX_UID = 64

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
GE_PRIVATE_BIG = "1.2.840.113619.5.2"

_CHARACTER_SET = 0x00080005
_UIDS = {
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}
_WANTED: list[BaseTag | int] = [*TAGS, *_UIDS]
_LAST_WANTED = max(int(tag) for tag in _WANTED)


class _ExhaustedError(Exception):
    """The header asks for more bytes or more elements than any real one has."""


class _Bounded:
    """A file that counts what is read from it. Seeking past a value costs nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes = MAX_HEADER_BYTES
        self._reads = MAX_READS
        self.name = "object"
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int = -1) -> bytes:
        self._reads -= 1
        if size < 0 or size > self._bytes or self._reads < 0:
            raise _ExhaustedError
        data = self._stream.read(size)
        self._bytes -= len(data)
        return data


def read_header(path: Path) -> InstanceHeader:
    """Header of a DICOM object: a Part 10 file, or a bare data set without preamble.

    Keys of ``attributes`` are those of :data:`HEADER_KEYWORDS` that the object has. Attributes whose dictionary
    multiplicity is 1 are scalars, all others lists; present but empty text is ``""``, an unusable number None.

    Raises
    ------
    HeaderError
        ``NOT_DICOM`` for bytes that are no DICOM object, ``MISSING_UID`` and ``INVALID_UID`` for one that lacks the
        four UIDs by which it is told from others, or has one of more than 64 characters or unprintable ones
        (PS3.5 9.1), ``UNREADABLE_FILE`` when the file cannot be opened.
    """
    try:
        with path.open("rb") as stream, quiet():
            syntax, elements = _read(stream)
    except OSError as error:
        raise HeaderError(f"the file cannot be read: {error.strerror}", reason="UNREADABLE_FILE") from None
    encodings = encodings_of(_raw(elements.get(_CHARACTER_SET)))
    with quiet():
        attributes = {name: _value(elements[tag], encodings) for tag, name in TAGS.items() if tag in elements}
    uids = {name: _uid(name, elements.get(tag)) for tag, name in _UIDS.items()}
    return InstanceHeader(
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax_uid=syntax,
        study_uid=uids["StudyInstanceUID"],
        series_uid=uids["SeriesInstanceUID"],
        path=path,
        attributes=attributes,
    )


def _read(stream: BinaryIO) -> tuple[str, dict[int, Element]]:
    syntax = _read_meta(stream)
    dataset: BinaryIO = stream
    if syntax == DEFLATED_LITTLE:
        dataset = BytesIO(inflate(stream, MAX_HEADER_BYTES, whole=False))
    implicit, little = _encoding(dataset, syntax)
    if not syntax:
        syntax = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    elements = {int(element.tag): element for element in _elements(dataset, implicit, little)}
    if not elements:
        raise HeaderError("not a DICOM object: none of the elements that every object has could be read")
    return syntax, elements


def _elements(stream: BinaryIO, implicit: bool, little: bool) -> Iterator[Element]:
    """Wanted elements up to the end, or up to the first defect: a broken tail does not cost the head."""
    bounded: Any = _Bounded(stream)
    try:
        yield from data_element_generator(
            bounded, implicit, little, _past_the_last, MAX_ELEMENT_BYTES, specific_tags=_WANTED
        )
    except Exception:  # noqa: BLE001
        # pydicom meets hostile bytes with errors of any type; whatever they are, the elements before them stand,
        # and missing UIDs are named by read_header.
        return


def _past_the_last(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > _LAST_WANTED


def _read_meta(stream: BinaryIO) -> str:
    """Transfer syntax of the file meta group, empty when there is none; the stream stands at the data set after it."""
    if stream.read(132)[128:] != b"DICM":
        stream.seek(0)
    bounded: Any = _Bounded(stream)
    start = stream.tell()
    if stream.read(2) != b"\x02\x00":
        stream.seek(start)
        return ""
    stream.seek(start)
    syntax = ""
    try:
        for element in data_element_generator(bounded, False, True, _past_meta, MAX_ELEMENT_BYTES):
            if int(element.tag) == 0x00020010:
                syntax = _raw(element).decode("ascii", "ignore").strip(" \0")[:MAX_UID]
    except Exception as error:  # noqa: BLE001  (hostile bytes, as above; here nothing before them can be used)
        raise HeaderError(f"not a DICOM object: file meta information is damaged ({type(error).__name__})") from None
    return syntax


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >> 16 != 2


def _encoding(stream: BinaryIO, syntax: str) -> tuple[bool, bool]:
    """Whether the data set is (implicit VR, little endian): by its first element, because some senders lie."""
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    if len(head) < 6:
        raise HeaderError("not a DICOM object: it ends before the first element")
    explicit = all(0x41 <= byte <= 0x5A for byte in head[4:6])
    big = syntax in (EXPLICIT_BIG, GE_PRIVATE_BIG) or (not syntax and explicit and head[0] == 0)
    return not explicit, not (big and (explicit or syntax == GE_PRIVATE_BIG))


def inflate(stream: BinaryIO, limit: int, *, whole: bool) -> bytes:
    """Inflates the rest of a stream (PS3.5 A.5), at most ``limit`` bytes of it.

    Raises
    ------
    OverflowError
        with ``whole`` when there is more than ``limit``; without it the first ``limit`` bytes are returned.
    """
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    left = limit
    try:
        while left > 0 and not machine.eof and (chunk := machine.unconsumed_tail or stream.read(65536)):
            parts.append(machine.decompress(chunk, left))
            left -= len(parts[-1])
    except zlib.error:
        pass  # what was inflated before the defect is as good as the head of a truncated file
    if whole and left <= 0 and not machine.eof:
        raise OverflowError
    return b"".join(parts)


def _raw(element: Element | None) -> bytes:
    value = getattr(element, "value", None)
    return value if isinstance(value, bytes) else b""


def _value(element: Element, encodings: tuple[str, ...]) -> Any:
    try:
        return convert(element, encodings)
    except Exception:  # noqa: BLE001
        # Only nested sequences still go through pydicom here; a damaged one is as good as an absent one.
        return None


def _uid(name: str, element: Element | None) -> str:
    text = _raw(element)[: MAX_TEXT + 1].decode("latin-1").strip(" \0")
    if not text:
        raise HeaderError(f"not a usable DICOM object: it has no {name}", reason="MISSING_UID")
    if len(text) > MAX_UID or not (text.isascii() and text.isprintable()):
        raise HeaderError(
            f"not a usable DICOM object: its {name} is longer than {MAX_UID} characters or not printable",
            reason="INVALID_UID",
        )
    return text
