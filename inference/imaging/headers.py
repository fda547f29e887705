"""Reads what a DICOM object says of itself, and nothing of its pixels.

The file is hostile: bytes read, number of reads and inflated bytes are bounded before memory is taken, values that
cannot be decoded become None or fallback text, and what stands before a defect is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.tag import BaseTag

from config.errors import HeaderError
from inference.imaging.attributes import HEADER_KEYWORDS, TAGS, convert, encodings_of
from inference.imaging.bounded import MAX_UID, Element, OpenDataset, open_dataset, raw_bytes
from inference.imaging.quiet import quiet
from inference.types import InstanceHeader

__all__ = ["HEADER_KEYWORDS", "read_header"]

MAX_ELEMENT_BYTES = 64 * 1024
MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_READS = 400_000

_CHARACTER_SET = 0x00080005
_UIDS = {
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}
_WANTED: list[BaseTag | int] = [*TAGS, *_UIDS]
_LAST_WANTED = max(int(tag) for tag in _WANTED)


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
            encodings = encodings_of(raw_bytes(elements.get(_CHARACTER_SET)))
            attributes = {name: _value(elements[tag], encodings) for tag, name in TAGS.items() if tag in elements}
    except OSError as error:
        raise HeaderError(f"the file cannot be read: {error.strerror}", reason="UNREADABLE_FILE") from None
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
    dataset = open_dataset(stream, MAX_HEADER_BYTES, whole=False)
    elements = {int(element.tag): element for element in _elements(dataset)}
    if not elements:
        raise HeaderError("not a DICOM object: none of the elements that every object has could be read")
    return dataset.transfer_syntax_uid, elements


def _elements(dataset: OpenDataset) -> Iterator[Element]:
    """Wanted elements up to the end, or up to the first defect: a broken tail does not cost the head."""
    try:
        yield from dataset.elements(
            _WANTED, _past_the_last, max_bytes=MAX_HEADER_BYTES, max_reads=MAX_READS, defer_size=MAX_ELEMENT_BYTES
        )
    except Exception:  # noqa: BLE001
        # pydicom meets hostile bytes with errors of any type; whatever they are, the elements before them stand,
        # and missing UIDs are named by read_header.
        return


def _past_the_last(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > _LAST_WANTED


def _value(element: Element, encodings: tuple[str, ...]) -> Any:
    try:
        return convert(element, encodings)
    except Exception:  # noqa: BLE001
        # Only nested sequences still go through pydicom here; a damaged one is as good as an absent one.
        return None


def _uid(name: str, element: Element | None) -> str:
    text = raw_bytes(element).decode("latin-1").strip(" \0")
    if not text:
        raise HeaderError(f"not a usable DICOM object: it has no {name}", reason="MISSING_UID")
    if len(text) > MAX_UID or not (text.isascii() and text.isprintable()):
        raise HeaderError(
            f"not a usable DICOM object: its {name} is longer than {MAX_UID} characters or not printable",
            reason="INVALID_UID",
        )
    return text
