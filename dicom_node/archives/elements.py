"""A DICOM Part 10 stream seen as its top-level elements, and edited by splicing bytes (PS3.5 section 7, PS3.10).

An identity is corrected in objects that nobody may otherwise alter: private elements, unknown VRs, text that does not
decode, retired encodings, truncated tails. So elements are located, not decoded, and everything that is not asked
to change is copied byte for byte.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from config.errors import HeaderError

PREAMBLE = 128
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
TRANSFER_SYNTAX_UID = 0x00020010
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
# (7FE0,0008) Float, (7FE0,0009) Double Float, (7FE0,0010) Pixel Data.
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
MAX_NESTING = 32
MAX_INFLATED_BYTES = 1 << 30

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True, slots=True)
class Syntax:
    """How elements are encoded: private transfer syntaxes count as Explicit VR Little Endian."""

    implicit: bool
    little: bool

    @property
    def order(self) -> str:
        return "<" if self.little else ">"


@dataclass(frozen=True, slots=True)
class Element:
    """Where one element stands in its buffer: header from ``start``, value from ``value``, next element at ``end``.

    ``vr`` is empty in Implicit VR. ``content`` is the end of the value without a sequence delimiter.
    """

    tag: int
    vr: str
    start: int
    value: int
    content: int
    end: int
    undefined: bool


@dataclass(frozen=True)
class Part10:
    """``head`` is preamble and file meta information, ``body`` the (inflated) data set."""

    head: bytes
    transfer_syntax: str
    syntax: Syntax
    body: bytes
    elements: tuple[Element, ...]

    @cached_property
    def by_tag(self) -> Mapping[int, Element]:
        return {element.tag: element for element in reversed(self.elements)}

    def raw(self, tag: int) -> bytes | None:
        """The whole encoded element, None where it is absent."""
        element = self.by_tag.get(tag)
        return None if element is None else self.body[element.start : element.end]

    def value(self, tag: int) -> bytes | None:
        """The value bytes (without a sequence delimiter), None where the element is absent."""
        element = self.by_tag.get(tag)
        return None if element is None else self.body[element.value : element.content]

    def text(self, tag: int) -> str:
        """An ASCII value without its padding; empty where absent."""
        return (self.value(tag) or b"").decode("ascii", "replace").strip(" \0")


def parse(data: bytes) -> Part10:
    """Locates the elements of a Part 10 stream. A truncated last element is kept as it is.

    Raises
    ------
    HeaderError
        for bytes that are no Part 10 stream, sequences nested deeper than 32 levels, or a deflated data set
        that grows beyond 1 GiB.
    """
    if data[PREAMBLE : PREAMBLE + 4] != b"DICM":
        raise HeaderError("no DICM prefix: not a DICOM Part 10 stream")
    explicit = Syntax(implicit=False, little=True)
    at, uid = PREAMBLE + 4, ""
    while at < len(data):
        element = _read(data, at, len(data), explicit)
        if element is None or element.tag >> 16 != 2:
            break
        if element.tag == TRANSFER_SYNTAX_UID:
            uid = data[element.value : element.content].decode("ascii", "replace").strip(" \0")
        at = element.end
    head, body = data[:at], data[at:]
    if uid == DEFLATED:
        body = _inflate(body)
    syntax = _syntax(uid, body)
    return Part10(head, uid, syntax, body, tuple(elements(body, 0, len(body), syntax)))


def elements(buffer: bytes, start: int, stop: int, syntax: Syntax) -> Iterator[Element]:
    """The elements between two offsets; stops where fewer bytes are left than a header has."""
    at = start
    while at < stop:
        element = _read(buffer, at, stop, syntax)
        if element is None:
            return
        yield element
        at = element.end


def items(buffer: bytes, element: Element, syntax: Syntax) -> Iterator[tuple[int, int]]:
    """Start and end of the content of every item of a sequence."""
    at = element.value
    while at + 8 <= element.content:
        tag, length = _item(buffer, at, syntax)
        if tag != ITEM:
            return
        if length == UNDEFINED:
            stop, end = _end_of_item(buffer, at + 8, element.content, syntax, 1)
        else:
            stop = end = min(at + 8 + length, element.content)
        yield at + 8, stop
        at = end


def nested_syntax(element: Element, syntax: Syntax) -> Syntax:
    """Items inside UN of undefined length are Implicit VR Little Endian (PS3.5 section 6.2.2)."""
    return Syntax(implicit=True, little=True) if element.vr == "UN" else syntax


def encode(tag: int, vr: str, value: bytes, syntax: Syntax) -> bytes:
    """One element of defined length; the value is padded to an even length as its VR asks."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    group, number = tag >> 16, tag & 0xFFFF
    if syntax.implicit:
        return struct.pack(syntax.order + "HHI", group, number, len(value)) + value
    name = vr.encode("ascii")
    if vr in LONG_VRS:
        return struct.pack(syntax.order + "HH2sHI", group, number, name, 0, len(value)) + value
    if len(value) > 0xFFFE:
        raise HeaderError(f"a value of {len(value)} bytes does not fit into VR {vr}", reason="VALUE_TOO_LONG")
    return struct.pack(syntax.order + "HH2sH", group, number, name, len(value)) + value


def encode_item(content: bytes, syntax: Syntax) -> bytes:
    return struct.pack(syntax.order + "HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def splice(source: Part10, changes: Mapping[int, bytes | None], head: bytes | None = None) -> bytes:
    """The stream with elements replaced (encoded bytes), inserted in tag order, or removed (None).

    Raises
    ------
    HeaderError
        (``DUPLICATE_ELEMENT``) when an element to change occurs twice: which one counts is anybody's guess.
    """
    pieces: list[bytes] = []
    waiting = sorted(tag for tag, new in changes.items() if new is not None and tag not in source.by_tag)
    seen: set[int] = set()
    at = 0
    for element in source.elements:
        if waiting and waiting[0] < element.tag:
            pieces.append(source.body[at : element.start])
            at = element.start
            while waiting and waiting[0] < element.tag:
                pieces.append(changes[waiting.pop(0)] or b"")
        if element.tag in changes:
            if element.tag in seen:
                raise HeaderError("an identity element occurs twice in the object", reason="DUPLICATE_ELEMENT")
            seen.add(element.tag)
            pieces += [source.body[at : element.start], changes[element.tag] or b""]
            at = element.end
    end = source.elements[-1].end if source.elements else 0
    pieces += [source.body[at:end], *(changes[tag] or b"" for tag in waiting), source.body[end:]]
    body = b"".join(pieces)
    return (source.head if head is None else head) + (_deflate(body) if source.transfer_syntax == DEFLATED else body)


def pixel_sha256(source: Part10) -> str:
    """SHA-256 of the bytes of the pixel data value, fragments and their headers included; empty without pixel data."""
    present = [tag for tag in PIXEL_TAGS if tag in source.by_tag]
    if not present:
        return ""
    digest = hashlib.sha256()
    for tag in present:
        element = source.by_tag[tag]
        digest.update(memoryview(source.body)[element.value : element.content])
    return digest.hexdigest()


def _syntax(uid: str, body: bytes) -> Syntax:
    """As declared, unless the first element plainly has, or has not, a VR (some writers declare the other)."""
    explicit = body[4:6].isalpha() and body[4:6].isupper() if len(body) >= 8 else uid != IMPLICIT_LITTLE
    return Syntax(implicit=not explicit, little=uid != EXPLICIT_BIG)


def _read(buffer: bytes, at: int, stop: int, syntax: Syntax, depth: int = 0) -> Element | None:
    if at + 8 > stop:
        return None
    group, number = struct.unpack_from(syntax.order + "HH", buffer, at)
    tag, vr, value = group << 16 | number, "", at + 8
    name = buffer[at + 4 : at + 6]
    if syntax.implicit or group == 0xFFFE or not (name.isalpha() and name.isupper()):
        (length,) = struct.unpack_from(syntax.order + "I", buffer, at + 4)
    else:
        vr = name.decode("ascii")
        if vr in LONG_VRS:
            if at + 12 > stop:
                return None
            (length,) = struct.unpack_from(syntax.order + "I", buffer, at + 8)
            value = at + 12
        else:
            (length,) = struct.unpack_from(syntax.order + "H", buffer, at + 6)
    if length != UNDEFINED:
        end = min(value + length, stop)
        return Element(tag, vr, at, value, end, end, undefined=False)
    inner = Syntax(implicit=True, little=True) if vr == "UN" else syntax
    content, end = _end_of_sequence(buffer, value, stop, inner, depth + 1)
    return Element(tag, vr, at, value, content, end, undefined=True)


def _item(buffer: bytes, at: int, syntax: Syntax) -> tuple[int, int]:
    group, number, length = struct.unpack_from(syntax.order + "HHI", buffer, at)
    return group << 16 | number, length


def _end_of_sequence(buffer: bytes, at: int, stop: int, syntax: Syntax, depth: int) -> tuple[int, int]:
    """(end of the items, end of the delimiter); both ``stop`` where the delimiter is missing."""
    if depth > MAX_NESTING:
        raise HeaderError(f"sequences nested deeper than {MAX_NESTING} levels", reason="NESTING_TOO_DEEP")
    while at + 8 <= stop:
        tag, length = _item(buffer, at, syntax)
        if tag == SEQUENCE_END:
            return at, at + 8
        if tag != ITEM:
            break
        at = _end_of_item(buffer, at + 8, stop, syntax, depth)[1] if length == UNDEFINED else at + 8 + length
    return stop, stop


def _end_of_item(buffer: bytes, at: int, stop: int, syntax: Syntax, depth: int) -> tuple[int, int]:
    while at + 8 <= stop:
        if _item(buffer, at, syntax)[0] == ITEM_END:
            return at, at + 8
        element = _read(buffer, at, stop, syntax, depth)
        if element is None:
            break
        at = element.end
    return stop, stop


def _inflate(data: bytes) -> bytes:
    worker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = worker.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        raise HeaderError("the deflated data set cannot be inflated", reason="DEFLATE") from None
    if worker.unconsumed_tail:
        raise HeaderError(f"the deflated data set exceeds {MAX_INFLATED_BYTES} bytes", reason="DEFLATE_BOMB")
    return body


def _deflate(body: bytes) -> bytes:
    worker = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = worker.compress(body) + worker.flush()
    return data + b"\0" if len(data) % 2 else data
