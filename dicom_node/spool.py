"""The spool: DICOM objects as received, one file each, named by the SHA-256 of its content.

::

    spool/
      objects/ab/abcdef....dcm   whole and durable; `sha256sum` verifies them
      incoming/                  the receiver's: objects that are arriving
      staging/                   the same for objects fetched from an archive or a folder
      journal/                   what the receiver acknowledged

A file is a canonical DICOM file: file meta information that depends on nothing but three UIDs, then the data set
untouched. So the same object has the same name whenever, and from whomever, it came.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

from config.errors import HeaderError, StorageError
from dicom_node.incoming import IncomingObject, ensure_free, free_bytes, storage_error
from dicom_node.journal import sync_folder
from dicom_node.part10 import MAX_META_BYTES, PREAMBLE, ObjectIdentity, split_header

_HASH = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1024 * 1024
_STALE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object came from. AE titles, and what is known of a peer, are its own claims."""

    calling_ae: str = ""
    called_ae: str = ""
    peer: str = ""
    association: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durable in the spool: its file's size in bytes, and when it came (ISO 8601, UTC)."""

    sha256: str
    size: int
    identity: ObjectIdentity
    source: Source
    received_at: str

    def record(self) -> dict[str, Any]:
        """The journal's ``instance`` record."""
        return {
            "kind": "instance",
            "sha256": self.sha256,
            "size": self.size,
            "sop_class_uid": self.identity.sop_class_uid,
            "sop_instance_uid": self.identity.sop_instance_uid,
            "transfer_syntax_uid": self.identity.transfer_syntax_uid,
            "calling_ae": self.source.calling_ae,
            "called_ae": self.source.called_ae,
            "peer": self.source.peer,
            "association": self.source.association,
            "received_at": self.received_at,
        }


def now_text() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Spool:
    """The store of objects, open to every process of the node.

    :meth:`put_bytes` and :meth:`put_file` are durable when they return but write no journal: whoever calls them
    records the object in the ledger. The receiver's objects go through :class:`dicom_node.commit.Committer`.
    """

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self.folder = folder
        self.min_free_bytes = min_free_bytes
        self.objects = folder / "objects"
        self.incoming = folder / "incoming"
        self.staging = folder / "staging"
        self.journal_folder = folder / "journal"
        try:
            for path in (self.objects, self.incoming, self.staging, self.journal_folder):
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_shards()
            self._remove_stale()
        except OSError as error:
            raise storage_error(error, f"the spool {folder} was opened") from error

    def path(self, sha256: str) -> Path:
        """Where the object with this hash stands, whether or not it does. Raises StorageError for no hash."""
        if _HASH.fullmatch(sha256) is None:
            raise StorageError("objects are named by 64 lower-case hexadecimal digits, nothing else")
        return self.objects / sha256[:2] / f"{sha256}.dcm"

    def free_bytes(self) -> int:
        """Bytes left on the spool's file system."""
        return free_bytes(self.folder)

    def ensure_free(self) -> None:
        """Raises DiskFullError where less than the reserve is left."""
        ensure_free(self.folder, self.min_free_bytes)

    def put_bytes(self, part10: bytes, source: Source) -> StoredObject:
        """Stores a DICOM file given as bytes; durable when it returns.

        Raises
        ------
        HeaderError
            where the bytes are no DICOM file.
        DiskFullError, StorageError
            where it cannot be kept; nothing is left behind.
        """
        identity, offset = split_header(part10)
        return self._put(identity, [memoryview(part10)[offset:]], source)

    def put_file(self, path: Path, source: Source) -> StoredObject:
        """Stores a DICOM file from elsewhere in bounded memory. Errors as for :meth:`put_bytes`."""
        try:
            with path.open("rb") as file:
                identity, offset = split_header(file.read(len(PREAMBLE) + MAX_META_BYTES))
                file.seek(offset)
                return self._put(identity, iter(lambda: file.read(_CHUNK_BYTES), b""), source)
        except OSError as error:
            raise HeaderError(f"a file cannot be read: {error.strerror}", reason="UNREADABLE") from error

    def remove(self, sha256: str) -> bool:
        """Removes an object; says whether it was there."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def hashes(self) -> Iterator[str]:
        """Hashes of all objects, as their names have them, in order."""
        for shard in sorted(self.objects.iterdir()):
            yield from sorted(path.stem for path in shard.iterdir() if _HASH.fullmatch(path.stem))

    def verify(self) -> Iterator[tuple[str, bool]]:
        """Reads every object: (hash by name, whether the content still has it)."""
        for sha256 in self.hashes():
            try:
                with self.path(sha256).open("rb") as file:
                    yield sha256, file_digest(file, "sha256").hexdigest() == sha256
            except FileNotFoundError:
                continue  # removed meanwhile

    def _put(self, identity: ObjectIdentity, chunks: Iterable[bytes | memoryview], source: Source) -> StoredObject:
        self.ensure_free()
        incoming = IncomingObject(self.staging / uuid.uuid4().hex, self.min_free_bytes, identity)
        try:
            for chunk in chunks:
                incoming.write(chunk)
            incoming.sync()
            path = self.path(incoming.sha256)
            incoming.place(path)
            sync_folder(path.parent)
        except OSError as error:
            raise storage_error(error, "an object was stored") from error
        finally:
            incoming.discard()
        return StoredObject(incoming.sha256, incoming.size, identity, source, now_text())

    def _make_shards(self) -> None:
        """All folders an object can need are there, and durable, before the first one comes."""
        present = {path.name for path in self.objects.iterdir()}
        missing = [name for name in (f"{n:02x}" for n in range(256)) if name not in present]
        for name in missing:
            (self.objects / name).mkdir(exist_ok=True, mode=0o700)
        if missing:
            for folder in (self.objects, self.folder, self.folder.parent):
                sync_folder(folder)

    def _remove_stale(self) -> None:
        """Removes what a process that was killed left in staging; younger files may be another process's at work."""
        for path in self.staging.iterdir():
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                continue
