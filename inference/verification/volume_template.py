"""The template of a volume as bytes: its field of view and the oriented points of its surfaces.

::

    4s  magic "MRVT"      B  format      B  number of surfaces
    I   length of what follows, inflated            I  CRC-32 of all other bytes
    deflated (RFC 1951):
        12 + 3 float32    frame and lengths of the field of view
        3 float32         origin of the points, LPS millimetres
        for each surface
            B  number of its name      H  n
            three planes of n little-endian int16, split into low and high bytes: steps from point to point, in UNIT_MM
            two planes of n uint8: normals on the octahedron (Meyer et al., "On floating-point normal vectors", 2010)

Points run along a space-filling curve, so that steps are small and deflate well.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.imaging.grid import Vector
from inference.verification.surface import Surface
from inference.verification.volume_cloud import Box

FORMAT = 1
UNIT_MM = 0.05
NAMES = ("bone", "skin", "inner")
MAX_POINTS = 4096
MAX_BYTES = 1 << 17
_MAGIC = b"MRVT"
_HEAD = struct.Struct("<4sBBII")
_PLACE = struct.Struct("<18f")
_SURFACE = struct.Struct("<BH")
_BYTES_A_POINT = 8
_MAX_INFLATED = _PLACE.size + len(NAMES) * (_SURFACE.size + _BYTES_A_POINT * MAX_POINTS)
_REACH_MM = UNIT_MM * 32767
_CURVE_MM, _CURVE_BITS = 4.0, 10
_OCTAHEDRON = 127.0
# A field of view is no longer than this, and its frame turns but never stretches.
_LONGEST_MM, _RIGID = 5000.0, 0.1


def pack(box: Box, surfaces: Sequence[Surface]) -> bytes:
    """The bytes of a template. Points further than 1.6 m from the middle of the first surface are left out."""
    origin = np.float32(surfaces[0].points.mean(axis=0)).astype(np.float64)
    parts = [np.concatenate([box.frame.ravel(), box.lengths, origin]).astype("<f4").tobytes()]
    for surface in surfaces:
        steps = np.rint((surface.points - origin) / UNIT_MM)
        near = (np.abs(steps) <= 32767).all(axis=1)
        steps, normals = steps[near].astype(np.int64), surface.normals[near]
        order = np.argsort(_along_curve(steps), kind="stable")[:MAX_POINTS]
        parts.append(_SURFACE.pack(NAMES.index(surface.name), len(order)))
        parts.append(_planes_of_steps(steps[order]))
        parts.append(np.ascontiguousarray(_octahedral(normals[order]).T).tobytes())
    content = b"".join(parts)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    head = (_MAGIC, FORMAT, len(surfaces), len(content))
    return _HEAD.pack(*head, _checksum(_HEAD.pack(*head, 0) + body)) + body


def unpack(data: bytes) -> tuple[Box, list[Surface]]:
    """The field of view and the surfaces of a template, points to a fortieth of a millimetre.

    Raises
    ------
    EncoderError
        ``TEMPLATE_VERSION`` for another format, ``TEMPLATE_DAMAGED`` for bytes that no version of this wrote.
    """
    if not _HEAD.size <= len(data) <= MAX_BYTES:
        raise _damaged("length")
    magic, written, count, length, checksum = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise _damaged("magic")
    if written != FORMAT:
        raise EncoderError(
            f"a volume template of format {written} cannot be compared by format {FORMAT}; make it again",
            reason="TEMPLATE_VERSION",
        )
    if _checksum(data) != checksum:
        raise _damaged("checksum")
    content = _inflated(data[_HEAD.size :], length)
    try:
        place = np.array(_PLACE.unpack_from(content), np.float64)
        surfaces = list(_surfaces(content, count, place[15:]))
    except (struct.error, ValueError) as error:
        raise _damaged(str(error)) from None
    box = Box(place[:12].reshape(3, 4), place[12:15])
    _check(box, place[15:], surfaces)
    return box, surfaces


def _checksum(data: bytes) -> int:
    """Of everything but the place where it is written."""
    return zlib.crc32(data[_HEAD.size :], zlib.crc32(data[: _HEAD.size - 4]))


def _inflated(deflated: bytes, length: int) -> bytes:
    if length > _MAX_INFLATED:
        raise _damaged("inflated length")
    stream = zlib.decompressobj(-15)
    try:
        content = stream.decompress(deflated, length + 1)
    except zlib.error as error:
        raise _damaged(str(error)) from None
    if len(content) != length or not stream.eof or stream.unused_data:
        raise _damaged("inflated length")
    return content


def _surfaces(content: bytes, count: int, origin: Vector) -> Iterator[Surface]:
    offset = _PLACE.size
    for _ in range(count):
        name, points = _SURFACE.unpack_from(content, offset)
        offset += _SURFACE.size
        end = offset + points * _BYTES_A_POINT
        if name >= len(NAMES) or not 0 < points <= MAX_POINTS or end > len(content):
            raise ValueError("surface")
        planes = np.frombuffer(content, np.uint8, points * _BYTES_A_POINT, offset).reshape(_BYTES_A_POINT, points)
        steps = (planes[0:6:2].astype(np.uint16) | (planes[1:6:2].astype(np.uint16) << 8)).astype(np.int16)
        # Differences wrap around in 16 bits as they were written, so that their sums come out right.
        position = np.cumsum(steps.astype(np.int64), axis=1).astype(np.int16).T
        yield Surface(NAMES[name], position * UNIT_MM + origin, _unit_vectors(planes[6:8].T))
        offset = end
    if offset != len(content):
        raise ValueError("bytes left over")


def _check(box: Box, origin: Vector, surfaces: Sequence[Surface]) -> None:
    numbers = np.concatenate([box.frame.ravel(), box.lengths, origin])
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e6:
        raise _damaged("geometry")
    turn = box.frame[:, :3]
    if (
        not np.abs(turn @ turn.T - np.eye(3)).max() < _RIGID
        or not ((box.lengths > 0) & (box.lengths < _LONGEST_MM)).all()
    ):
        raise _damaged("field of view")
    if not surfaces or len({surface.name for surface in surfaces}) != len(surfaces):
        raise _damaged("surfaces")


def _planes_of_steps(steps: NDArray[np.int64]) -> bytes:
    differences = np.diff(steps, axis=0, prepend=0).astype(np.int16).T
    raw = differences.view(np.uint16)
    return b"".join((plane & 255).astype(np.uint8).tobytes() + (plane >> 8).astype(np.uint8).tobytes() for plane in raw)


def _along_curve(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position on the Morton curve through cells of a few millimetres."""
    cells = np.clip(
        (steps * UNIT_MM / _CURVE_MM).astype(np.int64) + (1 << (_CURVE_BITS - 1)), 0, (1 << _CURVE_BITS) - 1
    )
    result = np.zeros(len(cells), np.int64)
    for bit in range(_CURVE_BITS):
        for axis in range(3):
            result |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return result


def _octahedral(normals: Vector) -> NDArray[np.uint8]:
    """(n, 2): each unit vector projected onto an octahedron whose lower half is folded out into a square."""
    flat = normals / np.maximum(np.abs(normals).sum(axis=1, keepdims=True), 1e-9)
    folded = (1.0 - np.abs(flat[:, [1, 0]])) * np.where(flat[:, :2] >= 0, 1.0, -1.0)
    square = np.where(flat[:, 2:] < 0, folded, flat[:, :2])
    return np.asarray(np.rint(square * _OCTAHEDRON) + 128, np.uint8)


def _unit_vectors(square: NDArray[np.uint8]) -> Vector:
    flat = (square.astype(np.float64) - 128.0) / _OCTAHEDRON
    height = 1.0 - np.abs(flat).sum(axis=1)
    below = np.maximum(-height, 0.0)[:, None]
    vectors = np.column_stack([flat - np.where(flat >= 0, below, -below), height])
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _damaged(what: str) -> EncoderError:
    return EncoderError(f"a volume template cannot be read ({what}); make it again", reason="TEMPLATE_DAMAGED")
