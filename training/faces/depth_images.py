"""Depth images of faces, made once: from the volumes of a manifest, or whatever else a face can be found in.

A cache is a folder with a sub-folder of PNG files for each scan, a journal, and a manifest. A line of the journal says
which images a scan gave, or under which name it was refused; it is written when they are on the disk, so that a cache
that was cut off anywhere is one with fewer scans. A scan's key changes with its file, what its row says of it, the
:class:`~inference.imaging.depth_image.DepthSpec` and the poses.

The manifest has one row for each image. ``study`` is the *visit*: images of one day are of one visit, whatever their
studies are called, because a face that is swollen in the CT is so in the MR of that afternoon. ``series`` is the
scan's, ``view`` the pose, ``label_modality`` and ``label_study`` what the scan's own row says.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from config.errors import DiskFullError, ImagingError, StorageError
from inference.encoders.bundle import BUNDLE_FILE
from inference.imaging.depth import Face
from inference.imaging.depth_image import Camera, DepthSpec, Turn
from inference.imaging.face_mask import BUNDLE as FACE_MASK
from inference.imaging.head_frame import BUNDLE as LANDMARKS
from inference.imaging.head_frame import imaging_bundles
from inference.whole_file import whole_file
from training.learning.catalogue import Image
from training.learning.locks import exclusive
from training.learning.store import key_of
from training.manifests.files import Manifest, read_manifest, write_manifest
from training.manifests.images import load_row
from training.manifests.schema import FILE_NAME, Row
from training.processes import in_order

# What a virtual camera takes is an external photograph to the loaders: grey values stay as they are.
MODALITY = "XC"
LABELS = ("modality", "study")
_JOURNAL, _IMAGES = "scans.jsonl", "images"
# A new layout of the files, or another renderer, makes new keys.
_LAYOUT = "medreid depth images 1"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Scan(Protocol):
    """Something with a face. Plain values, so that it can cross to another process."""

    @property
    def row(self) -> Row:
        """What is known of it; ``path`` says nothing."""
        ...

    @property
    def key(self) -> str:
        """Changes with whatever decides the face."""
        ...

    @property
    def turns(self) -> Sequence[Turn]:
        """The poses that are wanted of it."""
        ...

    def face(self, camera: Camera) -> Face:
        """Raises ImagingError with the name under which there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Volume:
    """A head CT or MR of a manifest."""

    image: Image
    turns: tuple[Turn, ...]

    @property
    def row(self) -> Row:
        return self.image.row

    @property
    def key(self) -> str:
        return key_of(self.image)

    def face(self, camera: Camera) -> Face:
        """Raises ImagingError with the loader's names, or those of :func:`inference.imaging.depth.find_face`."""
        loaded = load_row(self.image.manifest, self.image.row)
        if not loaded.images:
            first = loaded.rejections[0] if loaded.rejections else None
            raise ImagingError(first.detail if first else "no image", reason=first.reason if first else "NO_IMAGE")
        return camera.find(loaded.images[0])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scan that gave no depth images, and why."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class DepthImages:
    """What a cache holds of the scans that were asked for: one row for each image, and the scans without any."""

    manifest: Manifest | None
    refused: tuple[Refusal, ...]


class DepthCache:
    """The cache of images of one spec below ``folder``."""

    def __init__(self, folder: Path, spec: DepthSpec) -> None:
        self.folder, self.spec = folder, spec

    def fill(self, scans: Sequence[Scan], processes: int, tell: Callable[[int, int], None]) -> DepthImages:
        """Depth images of ``scans``, after those that are missing have been made; ``tell`` hears (done, of how many).

        Other processes may fill the same cache; they wait for each other.

        Raises
        ------
        DiskFullError, StorageError
            when the cache cannot be written; what it holds stays, and the next call goes on behind it.
        """
        keys = [self._key(scan) for scan in scans]
        with exclusive(self.folder), _writing(self.folder):
            known = _journal(self.folder / _JOURNAL)
            missing = {key: scan for key, scan in zip(keys, scans, strict=True) if key not in known}
            work = [_Work(self.folder / _IMAGES / key[:2] / key, key, scan) for key, scan in missing.items()]
            make = partial(_make, spec=self.spec)
            made = map(make, work) if processes <= 1 else in_order(make, work, processes)
            with (self.folder / _JOURNAL).open("ab") as journal:
                for done, one in enumerate(made, start=1):
                    known[one.key] = one
                    _append(journal, json.dumps(asdict(one)).encode() + b"\n")
                    tell(done, len(missing))
            return self._written([known[key] for key in keys], scans)

    def _key(self, scan: Scan) -> str:
        # Faces are found, and told from what is none, by networks that may be replaced.
        networks = [_digest(name) for name in (LANDMARKS, *((FACE_MASK,) if self.spec.separate else ()))]
        parts = (_LAYOUT, scan.key, astuple(self.spec), [tuple(turn) for turn in scan.turns], networks)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _written(self, entries: Sequence[_Entry], scans: Sequence[Scan]) -> DepthImages:
        refused = tuple(
            Refusal(scan.row, entry.refused) for entry, scan in zip(entries, scans, strict=True) if entry.refused
        )
        rows = [row for entry, scan in zip(entries, scans, strict=True) for row in _rows(entry, scan)]
        if not rows:
            return DepthImages(None, refused)
        write_manifest(self.folder / FILE_NAME, rows, LABELS)
        return DepthImages(read_manifest(self.folder / FILE_NAME), refused)


def visit_of(row: Row) -> str:
    """The visit of a row: its day where that is known, else its study."""
    return row.study if row.days is None else f"day {row.days}"


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """A PNG file that is on the disk when this returns; its grey in three channels, or it would be no photograph."""
    import cv2

    good, content = cv2.imencode(".png", np.repeat(pixels[..., None], 3, axis=2))
    assert good, "a grey image of some size can be written"
    with whole_file(path) as file:
        file.write(content.tobytes())


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the journal. ``poses`` are the names of those that there is an image of; none where ``refused``."""

    key: str
    poses: tuple[str, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class _Work:
    folder: Path
    key: str
    scan: Scan


def _digest(name: str) -> str:
    """What changes with a bundle of imaging; empty where there is none."""
    manifest = imaging_bundles() / name / BUNDLE_FILE
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else ""


def _make(work: _Work, spec: DepthSpec) -> _Entry:
    camera = Camera.of(spec)
    try:
        face = work.scan.face(camera)
    except ImagingError as error:
        return _Entry(work.key, (), error.reason)
    # Whatever a process that was killed has left here is made anew.
    shutil.rmtree(work.folder, ignore_errors=True)
    turns = work.scan.turns
    for turn, taken in zip(turns, camera.take(face, turns), strict=True):
        write_image(work.folder / f"{turn.name}.png", taken.pixels)
    return _Entry(work.key, tuple(turn.name for turn in turns))


def _rows(entry: _Entry, scan: Scan) -> Iterator[Row]:
    row = scan.row
    for name in entry.poses:
        yield replace(
            row,
            path=f"{_IMAGES}/{entry.key[:2]}/{entry.key}/{name}.png",
            study=visit_of(row),
            series=row.series or row.path,
            instance="",
            instances=1,
            modality=MODALITY,
            view=name,
            labels={"modality": row.modality, "study": row.study},
        )


def _journal(path: Path) -> dict[str, _Entry]:
    """The entries that are there, and the journal without the line that was cut off."""
    if not path.is_file():
        return {}
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < len(lines):
        path.write_bytes(b"".join(whole))
    entries = [_Entry(**json.loads(line)) for line in whole]
    return {entry.key: entry for entry in entries}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else StorageError
        raise kind(f"the depth images in {folder} cannot be written ({error.strerror}); free space") from None


def _append(file: BinaryIO, line: bytes) -> None:
    file.write(line)
    file.flush()
    os.fsync(file.fileno())
