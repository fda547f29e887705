"""How large a compressed frame says it is, read from its own markers before any decoder takes memory for it."""

from __future__ import annotations

import struct

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
# Start of frame markers of JPEG (all processes) and JPEG-LS; C4, C8 and CC are tables, not frames.
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def frame_pixels(frame: bytes) -> int | None:
    """Samples (rows x columns x components) that a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame announces.

    None where the bytes are none of these or announce nothing.
    """
    if frame.startswith(_JPEG_START):
        return _jpeg(frame)
    start = frame.find(_J2K_START, 0, 4096) if frame.startswith(_JP2_START) else 0
    if start >= 0 and frame.startswith(_J2K_START, start):
        return _jpeg_2000(frame[start:])
    return None


def _jpeg(frame: bytes) -> int | None:
    """Walks the marker segments (ISO/IEC 10918-1 B.1.1) up to the frame header."""
    position = 2
    while position + 10 <= len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_MARKERS:
            rows, columns, components = struct.unpack_from(">HHB", frame, position + 5)
            return int(rows * columns * components)
        position += 2 + int(struct.unpack_from(">H", frame, position + 2)[0])
    return None


def _jpeg_2000(frame: bytes) -> int | None:
    """The SIZ segment (ISO/IEC 15444-1 A.5.1) follows the start of the codestream at once."""
    if len(frame) < 42:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", frame, 8)
    components = struct.unpack_from(">H", frame, 40)[0]
    return int(max(right - left, 0) * max(bottom - top, 0) * components)
