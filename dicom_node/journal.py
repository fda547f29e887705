"""The receiver's journal: what was acknowledged, in order, on disk before the sender hears of it.

Segments are preallocated files of frames (length, CRC-32, a JSON list of records), so that a frame costs one
``fdatasync`` and no change of metadata. A frame is there as a whole or not at all. The writer lives in the receiving
process; readers live in others and see a frame only after it is durable *and* its objects stand in their places: the
writer says how far that is in the file ``published``.

Record kinds: ``instance`` (see :class:`dicom_node.spool.StoredObject`), ``association_end`` {association, how, at},
``count`` {name, n}. The text in them comes from peers: JSON-escaped, bounded, never to be believed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from config.errors import JournalError
from dicom_node.crashpoints import crash_point

Record = Mapping[str, Any]

SEGMENT_BYTES = 4 * 1024 * 1024
MAX_FRAME_BYTES = 2 * 1024 * 1024

_FRAME = struct.Struct("<II")
_PUBLISHED = struct.Struct("<QQI")
_SEGMENT_NAME = re.compile(r"(\d{12})\.journal")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a reader stands: after everything before ``offset`` in ``segment``. The default is before everything."""

    segment: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.segment}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The inverse of ``str``; the empty text is the beginning."""
        match = re.fullmatch(r"(\d+):(\d+)", text or "0:0")
        if match is None:
            raise JournalError(f"{text!r} is no journal position; it looks like 12:3456")
        return cls(int(match[1]), int(match[2]))


class Journal:
    """The writer. One process holds it; a second one is refused by a lock on the folder.

    Opening cuts a torn tail. :meth:`append` is durable when it returns, :meth:`publish` shows it to readers (so does
    the next opening's first :meth:`publish`, which therefore has to follow a recovery).

    Raises
    ------
    JournalError
        when another process writes here, or when records are gone that were durable once.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.before_rotation: Callable[[], None] = lambda: None
        self._segment_bytes = segment_bytes
        self._lock = Lock()
        self._broken = False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = _lock_folder(folder)
        for leftover in folder.glob("*.making"):
            leftover.unlink()
        numbers = segment_numbers(folder)
        # Segments are numbered from the clock, so that a journal made anew never repeats the positions of an older one.
        self._number = numbers[-1] if numbers else self._make_segment(int(time.time()))
        self._file = os.open(_segment_path(folder, self._number), os.O_RDWR | os.O_CLOEXEC)
        self._length = os.fstat(self._file).st_size
        self._offset = self._cut_torn_tail()
        self._published = os.open(folder / "published", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def position(self) -> Position:
        return Position(self._number, self._offset)

    @property
    def broken(self) -> bool:
        """Whether a write or a sync failed, after which nothing more can be appended."""
        return self._broken

    def append(self, records: Sequence[Record]) -> None:
        """Writes ``records`` as one frame and returns when it is durable; readers do not see it yet."""
        frame = _frame(records)
        with self._lock:
            if self._broken:
                raise JournalError("the journal failed before; the receiver has to be started again")
            if self._offset + len(frame) > self._length:
                self._rotate(len(frame))
            self._write(frame, self._offset)
            self._offset += len(frame)

    def publish(self, position: Position | None = None) -> None:
        """Shows readers everything up to ``position``, by default all that was appended.

        Needs no sync: opening the journal publishes anew.
        """
        position = position or self.position
        body = struct.pack("<QQ", position.segment, position.offset)
        os.pwrite(self._published, body + struct.pack("<I", zlib.crc32(body)), 0)

    def recent(self) -> Iterator[dict[str, Any]]:
        """Records of the last two segments, oldest first: all that a recovery can need."""
        for number in segment_numbers(self.folder)[-2:]:
            content = _segment_path(self.folder, number).read_bytes()
            for payload, _ in _frames(content):
                yield from _decode(payload)

    def close(self) -> None:
        for descriptor in (self._file, self._published, self._lock_file):
            os.close(descriptor)
        self._broken = True

    def _write(self, frame: bytes, offset: int) -> None:
        # After a failed write or sync nobody knows what is on disk until a start reads it again.
        self._broken = True
        os.pwrite(self._file, frame, offset)
        crash_point("journal.written")
        os.fdatasync(self._file)
        crash_point("journal.synced")
        self._broken = False

    def _rotate(self, at_least: int) -> None:
        self.before_rotation()
        crash_point("journal.rotating")
        number = self._make_segment(self._number + 1, at_least)
        crash_point("journal.segment_made")
        file = os.open(_segment_path(self.folder, number), os.O_RDWR | os.O_CLOEXEC)
        os.close(self._file)
        self._file, self._number, self._offset = file, number, 0
        self._length = os.fstat(file).st_size

    def _make_segment(self, number: int, at_least: int = 0) -> int:
        """Makes a segment of written zeros: blocks merely reserved would cost a metadata commit with every record."""
        making = self.folder / f"{number:012d}.making"
        with making.open("wb") as file:
            file.write(bytes(max(self._segment_bytes, at_least)))
            file.flush()
            os.fsync(file.fileno())
        making.rename(_segment_path(self.folder, number))
        sync_folder(self.folder)
        return number

    def _cut_torn_tail(self) -> int:
        """Zeroes what follows the last whole record and returns where that ends."""
        content = os.pread(self._file, self._length, 0)
        offset = max((after for _, after in _frames(content)), default=0)
        published = read_published(self.folder)
        if published is not None and published.segment == self._number and published.offset > offset:
            raise JournalError(
                f"{_segment_path(self.folder, self._number).name} is damaged before its end: move it out of"
                " the journal's folder and start again; the objects it named stay in the spool"
            )
        if any(content[offset:]):
            os.pwrite(self._file, bytes(len(content) - offset), offset)
            os.fsync(self._file)
        return offset


class JournalReader:
    """Reads a journal that another process may be writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, position: Position, limit: int = 1000) -> tuple[list[dict[str, Any]], Position]:
        """The published records after ``position``, and the position after them.

        Stops after the frame in which ``limit`` is reached. A position in a segment that is gone continues with the
        oldest segment there is.

        Raises
        ------
        JournalError
            where a published record is damaged.
        """
        published = read_published(self.folder)
        records: list[dict[str, Any]] = []
        if published is None:
            return records, position
        for number in segment_numbers(self.folder):
            if len(records) >= limit or number > published.segment:
                break
            if number < position.segment:
                continue
            offset = position.offset if number == position.segment else 0
            end = published.offset if number == published.segment else None
            more, position = self._read_segment(number, offset, end, limit - len(records))
            records += more
        return records, position

    def trim(self, position: Position) -> int:
        """Removes segments that ``position`` has passed; returns how many. The last two are always kept."""
        gone = [number for number in segment_numbers(self.folder)[:-2] if number < position.segment]
        for number in gone:
            _segment_path(self.folder, number).unlink(missing_ok=True)
        return len(gone)

    def _read_segment(
        self, number: int, offset: int, end: int | None, limit: int
    ) -> tuple[list[dict[str, Any]], Position]:
        path = _segment_path(self.folder, number)
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read() if end is None else file.read(max(0, end - offset))
        records: list[dict[str, Any]] = []
        after = 0
        for payload, after in _frames(content):
            records += _decode(payload)
            if len(records) >= limit:
                return records, Position(number, offset + after)
        # An older segment ends with zeros where the next record did not fit; a younger one ends where it is published.
        if any(content[after : after + _FRAME.size]):
            raise JournalError(f"{path.name} is damaged at byte {offset + after}")
        return records, Position(number, offset + after)


def read_published(folder: Path) -> Position | None:
    """How far readers may read; None where no writer has been."""
    try:
        content = (folder / "published").read_bytes()
    except FileNotFoundError:
        return None
    if len(content) != _PUBLISHED.size:
        return None
    segment, offset, checksum = _PUBLISHED.unpack(content)
    return Position(segment, offset) if zlib.crc32(content[:16]) == checksum else None


def segment_numbers(folder: Path) -> list[int]:
    """Numbers of the segments in ``folder``, oldest first."""
    matches = (_SEGMENT_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def sync_folder(folder: Path) -> None:
    """Makes names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:012d}.journal"


def _lock_folder(folder: Path) -> int:
    descriptor = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise JournalError(f"another receiver is running on {folder}; end it first") from None
    return descriptor


def _frame(records: Sequence[Record]) -> bytes:
    payload = json.dumps(records, separators=(",", ":")).encode("ascii")
    if len(payload) > MAX_FRAME_BYTES:
        raise JournalError("more records at once than a frame of the journal takes")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _decode(payload: bytes) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(payload)
    return records


def _frames(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Whole frames from the beginning of ``content``: (payload, offset after it). Stops at the first that is none."""
    offset = 0
    while offset + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, offset)
        after = offset + _FRAME.size + length
        if length == 0 or after > len(content):
            return
        payload = content[offset + _FRAME.size : after]
        if zlib.crc32(payload) != checksum:
            return
        yield payload, after
        offset = after
