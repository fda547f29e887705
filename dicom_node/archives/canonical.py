"""A digest of what a data set says, independent of how its sequences are delimited.

Orthanc rewrites sequences (explicit lengths for undefined ones and back), drops group lengths and padding. Two
encodings of the same content have the same digest; any other value, VR, order of items or pixel byte changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Protocol

from pydicom.datadict import dictionary_VR

from dicom_node.archives.elements import PIXEL_TAGS, Element, Part10, Syntax, elements, items, nested_syntax

DATA_SET_TRAILING_PADDING = 0xFFFCFFFC


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def dataset_sha256(source: Part10, without: Collection[int] = ()) -> str:
    """SHA-256 over all elements but group lengths, padding and the top-level tags in ``without``."""
    digest = hashlib.sha256()
    kept = [element for element in source.elements if element.tag not in without]
    _elements(digest, source.body, kept, source.syntax)
    return digest.hexdigest()


def is_sequence(element: Element) -> bool:
    if element.tag in PIXEL_TAGS:
        return False
    if element.vr == "SQ" or element.undefined:
        return True
    return element.vr == "" and known_vr(element.tag) == "SQ"


def known_vr(tag: int) -> str:
    """The dictionary's VR, empty for private and unknown tags."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _elements(digest: _Digest, body: bytes, found: Collection[Element], syntax: Syntax) -> None:
    for element in sorted(found, key=lambda element: element.tag):
        if element.tag & 0xFFFF == 0 or element.tag == DATA_SET_TRAILING_PADDING:
            continue
        digest.update(element.tag.to_bytes(4, "big"))
        if is_sequence(element):
            inner = nested_syntax(element, syntax)
            for start, stop in items(body, element, inner):
                digest.update(b"(")
                _elements(digest, body, list(elements(body, start, stop, inner)), inner)
                digest.update(b")")
            digest.update(b".")
        else:
            digest.update((element.content - element.value).to_bytes(8, "big"))
            digest.update(memoryview(body)[element.value : element.content])
