"""Decoded images in one memory-mapped file: each is loaded and prepared once, however often it is trained on.

A store belongs to one :class:`~inference.encoders.inputs.InputSpec`. Its planes lie one after another in ``planes.u8``;
``index.jsonl`` says where, or why an image gave none. An entry is written after its planes are on the disk, so a store
that was cut off anywhere is one with fewer images. An image's key changes with its file, and with what its row says.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from config.errors import DiskFullError, ImagingError, StorageError
from inference.encoders.families import canonical_modality
from inference.encoders.inputs import InputSpec, is_flat, prepare
from training.learning.catalogue import Image
from training.learning.locks import exclusive
from training.manifests.images import load_row
from training.processes import in_order

Planes = NDArray[np.uint8]
# Images between two syncs to the disk: that many are decoded again after a crash of the machine.
_BATCH = 64
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Record:
    """An image in the store: ``planes`` slices of ``channels`` (1 where all three are equal) from byte ``start`` on.

    ``modality`` is the one that embeddings are compared under. ``refused`` is empty, or why there are no planes.
    """

    key: str
    start: int = 0
    planes: int = 0
    channels: int = 0
    modality: str = ""
    refused: str = ""


class ImageStore:
    """The store of one spec below ``folder``; opening it reads what is there, :meth:`fill` adds what is not."""

    def __init__(self, folder: Path, spec: InputSpec) -> None:
        text = json.dumps(spec.to_mapping(), sort_keys=True)
        self.spec = spec
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._records: dict[str, Record] = {}
        self._map: Planes | None = None

    def fill(self, images: Sequence[Image], processes: int, tell: Callable[[int, int], None]) -> list[Record]:
        """The records of ``images``, in their order, after those that are missing have been decoded.

        Other processes may fill the same store; they wait for each other. ``tell`` is called with (done, of how many).

        Raises
        ------
        DiskFullError, StorageError
            when the store cannot be written; what it holds stays.
        """
        keys = [key_of(image) for image in images]
        with exclusive(self._folder):
            end = self._read()
            missing = {key: image for key, image in zip(keys, images, strict=True) if key not in self._records}
            try:
                self._decode(missing, end, processes, tell)
            except OSError as error:
                kind = DiskFullError if error.errno in _FULL else StorageError
                raise kind(f"the image store {self._folder.parent} cannot be written: {error.strerror}") from None
        self._map = None
        return [self._records[key] for key in keys]

    def planes(self, record: Record) -> Planes:
        """uint8 (T, 1 or 3, size, size), a view into the file."""
        if self._map is None:
            self._map = np.memmap(self._folder / "planes.u8", np.uint8, "r")
        shape = (record.planes, record.channels, self.spec.size, self.spec.size)
        return self._map[record.start : record.start + int(np.prod(shape))].reshape(shape)

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be copied into the other process; it maps the file itself.
        return self.__dict__ | {"_map": None}

    def _read(self) -> int:
        """Reads the index up to the first line that a crash left unfinished; returns where the next planes go."""
        index, good, end = self._folder / "index.jsonl", 0, 0
        if not index.is_file():
            return 0
        stored = (self._folder / "planes.u8").stat().st_size
        with index.open("rb") as file:
            for line in file:
                record = _record(line)
                if record is None or record.start + self._size(record) > stored:
                    break
                self._records[record.key] = record
                good, end = good + len(line), max(end, record.start + self._size(record))
        os.truncate(index, good)
        return end

    def _size(self, record: Record) -> int:
        return record.planes * record.channels * self.spec.size**2

    def _decode(self, missing: Mapping[str, Image], end: int, processes: int, tell: Callable[[int, int], None]) -> None:
        with (self._folder / "planes.u8").open("ab") as planes, (self._folder / "index.jsonl").open("ab") as index:
            planes.truncate(end)
            writer = _Writer(planes, index, end)
            work = ((key, image, self.spec) for key, image in missing.items())
            for done, decoded in enumerate(_decoded(work, processes), start=1):
                record = writer.add(decoded)
                self._records[record.key] = record
                tell(done, len(missing))
            writer.commit()


def key_of(image: Image) -> str:
    """What decides an image's planes, beside the spec: its file and what its row says of it."""
    row = image.row
    path = image.manifest.file(row)
    parts = (str(path.absolute()), row.series, row.modality, row.view, row.laterality, _stamp(path))
    return hashlib.sha256(json.dumps(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def failures(images: Sequence[Image], records: Sequence[Record]) -> list[tuple[Image, str]]:
    """The images that gave no planes, and why."""
    return [(image, record.refused) for image, record in zip(images, records, strict=True) if record.refused]


@dataclass(slots=True)
class _Decoded:
    key: str
    planes: Planes | None = None
    modality: str = ""
    refused: str = ""


@dataclass(slots=True)
class _Writer:
    """Appends planes at once and their entries some time later, when the planes are surely on the disk."""

    planes: BinaryIO
    index: BinaryIO
    end: int
    waiting: list[Record] = field(default_factory=list)

    def add(self, one: _Decoded) -> Record:
        record = Record(one.key, refused=one.refused)
        if one.planes is not None:
            self.planes.write(one.planes.tobytes())
            count, channels = one.planes.shape[:2]
            record = Record(one.key, self.end, count, channels, one.modality)
            self.end += one.planes.nbytes
        self.waiting.append(record)
        if len(self.waiting) >= _BATCH:
            self.commit()
        return record

    def commit(self) -> None:
        for file, content in ((self.planes, b""), (self.index, self._entries())):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.waiting.clear()

    def _entries(self) -> bytes:
        return b"".join(json.dumps(asdict(record)).encode() + b"\n" for record in self.waiting)


def _record(line: bytes) -> Record | None:
    try:
        return Record(**json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


def _stamp(path: Path) -> str:
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError:
        return "missing"
    return json.dumps(stats)


def _decoded(work: Iterable[tuple[str, Image, InputSpec]], processes: int) -> Iterator[_Decoded]:
    """In the order of ``work``, with a bounded number on the way."""
    if processes <= 1:
        yield from map(_decode, work)
        return
    yield from in_order(_decode, work, processes)


def _decode(one: tuple[str, Image, InputSpec]) -> _Decoded:
    key, image, spec = one
    loaded = load_row(image.manifest, image.row)
    if not loaded.images:
        return _Decoded(key, refused=loaded.rejections[0].reason if loaded.rejections else "NO_IMAGE")
    found = loaded.images[0]
    try:
        planes = prepare(found, spec)
    except ImagingError as error:
        return _Decoded(key, refused=error.reason)
    if is_flat(found):
        return _Decoded(key, refused="FLAT")
    grey = bool((planes == planes[:, :1]).all())
    return _Decoded(key, planes[:, :1] if grey else planes, canonical_modality(found.modality, found.kind))
