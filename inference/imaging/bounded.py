"""Opening a DICOM object without trusting it: where its data set starts, its encoding, how much may be read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from config.errors import HeaderError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

MAX_UID = 64
_MAX_META_BYTES = 1024 * 1024
_MAX_META_READS = 10_000
_CHUNK = 65_536

Element = RawDataElement | DataElement
StopWhen = Callable[[BaseTag, str | None, int], bool]


class ExhaustedError(Exception):
    """More bytes or more elements are asked for than the caller allowed."""


class BoundedReader:
    """A file that counts what is read from it. Seeking past a value costs nothing."""

    name = "object"

    def __init__(self, stream: BinaryIO, max_bytes: int, max_reads: int) -> None:
        self._stream = stream
        self._bytes = max_bytes
        self._reads = max_reads
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int = -1) -> bytes:
        self._reads -= 1
        if size < 0 or size > self._bytes or self._reads < 0:
            raise ExhaustedError
        data = self._stream.read(size)
        self._bytes -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A data set about to be read: its stream, the transfer syntax (guessed where none is stated), its encoding."""

    stream: BinaryIO
    transfer_syntax_uid: str
    implicit: bool
    little: bool

    def elements(
        self,
        tags: list[BaseTag | int],
        stop_when: StopWhen | None,
        *,
        max_bytes: int,
        max_reads: int,
        defer_size: int | None = None,
    ) -> Iterator[Element]:
        """The wanted top-level elements in file order. Raises whatever hostile bytes make pydicom raise."""
        bounded: Any = BoundedReader(self.stream, max_bytes, max_reads)
        return data_element_generator(bounded, self.implicit, self.little, stop_when, defer_size, specific_tags=tags)


def open_dataset(stream: BinaryIO, max_inflated: int, *, whole: bool) -> OpenDataset:
    """Finds the data set of a Part 10 file, or of a bare data set without preamble.

    A deflated one is inflated, at most ``max_inflated`` bytes of it.

    Raises
    ------
    HeaderError
        when there is nothing that could be a data set.
    OverflowError
        with ``whole``, when there is more than ``max_inflated``.
    """
    syntax = _read_meta(stream)
    if syntax == DEFLATED_LITTLE:
        stream = BytesIO(_inflate(stream, max_inflated, whole))
    implicit, little = _encoding(stream, syntax)
    guess = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    return OpenDataset(stream, syntax or guess, implicit, little)


def raw_bytes(element: Element | None) -> bytes:
    value = getattr(element, "value", None)
    return value if isinstance(value, bytes) else b""


def _read_meta(stream: BinaryIO) -> str:
    """Transfer syntax of the file meta group, empty when there is none; the stream stands at the data set after it."""
    if stream.read(132)[128:] != b"DICM":
        stream.seek(0)
    start = stream.tell()
    first_group = stream.read(2)
    stream.seek(start)
    if first_group != b"\x02\x00":
        return ""
    syntax = ""
    bounded: Any = BoundedReader(stream, _MAX_META_BYTES, _MAX_META_READS)
    try:
        for element in data_element_generator(bounded, False, True, _past_meta):
            if int(element.tag) == 0x00020010:
                syntax = raw_bytes(element).decode("ascii", "ignore").strip(" \0")[:MAX_UID]
    except Exception as error:  # noqa: BLE001
        # pydicom meets hostile bytes with errors of any type, and without this group nothing can be read.
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
    big = explicit and (syntax == EXPLICIT_BIG or (not syntax and head[0] == 0))
    return not explicit, not big


def _inflate(stream: BinaryIO, limit: int, whole: bool) -> bytes:
    """Inflates the rest of a stream (PS3.5 A.5) into at most ``limit`` bytes."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    left = limit
    try:
        while left > 0 and not machine.eof and (chunk := machine.unconsumed_tail or stream.read(_CHUNK)):
            parts.append(machine.decompress(chunk, left))
            left -= len(parts[-1])
    except zlib.error:
        pass  # what was inflated before the defect is as good as the head of a truncated file
    if whole and left <= 0 and not machine.eof:
        raise OverflowError
    return b"".join(parts)
