"""The envelope of picture templates: fixed length, a magic word, a format number and a checksum.

::

    4s  magic      B  format      payload of a length that the format fixes      I  CRC-32 of all before

A length that is known beforehand leaves hostile bytes nothing to ask memory for.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.verification.protocol import Template

_HEAD = struct.Struct("<4sB")
_CHECK = struct.Struct("<I")
OVERHEAD = _HEAD.size + _CHECK.size


def seal(magic: bytes, number: int, payload: bytes) -> bytes:
    """The payload in its envelope."""
    body = _HEAD.pack(magic, number) + payload
    return body + _CHECK.pack(zlib.crc32(body))


def unseal(data: bytes, magic: bytes, number: int, length: int) -> bytes:
    """The payload of ``length`` bytes.

    Raises
    ------
    EncoderError
        ``TEMPLATE_VERSION`` for another format, ``TEMPLATE_DAMAGED`` for anything else that :func:`seal` did not write.
    """
    if len(data) < OVERHEAD:
        raise damaged("length")
    found, written = _HEAD.unpack_from(data)
    if found != magic:
        raise damaged("magic")
    if written != number:
        raise EncoderError(
            f"a picture template of format {written} cannot be compared by format {number}; make it again",
            reason="TEMPLATE_VERSION",
        )
    if len(data) != OVERHEAD + length:
        raise damaged("length")
    (check,) = _CHECK.unpack_from(data, len(data) - _CHECK.size)
    if check != zlib.crc32(data[: -_CHECK.size]):
        raise damaged("checksum")
    return data[_HEAD.size : -_CHECK.size]


def check_stamp(template: Template, verifier: str, version: str) -> None:
    """Refuses a template of another verifier or version.

    Raises
    ------
    EncoderError
        ``TEMPLATE_VERSION``.
    """
    if (template.verifier, template.version) != (verifier, version):
        raise EncoderError(
            f"a template of {template.verifier} {template.version} cannot be compared by {verifier} {version}; "
            "make it again",
            reason="TEMPLATE_VERSION",
        )


def damaged(what: str) -> EncoderError:
    """The error that names a template whose bytes cannot be read."""
    return EncoderError(f"a picture template cannot be read ({what}); make it again", reason="TEMPLATE_DAMAGED")


def pack_nibbles(codes: NDArray[np.uint8]) -> bytes:
    """An even number of codes below 16, two to a byte, the first in the low half."""
    flat = codes.ravel()
    return (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()


def unpack_nibbles(packed: bytes) -> NDArray[np.uint8]:
    """The codes of :func:`pack_nibbles`, flat."""
    both = np.frombuffer(packed, np.uint8)
    return np.stack([both & 15, both >> 4], axis=1).ravel()
