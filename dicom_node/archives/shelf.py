"""Files of the embedded archive: objects named by their content, a manifest per study, a log of events.

::

    archive/
      objects/ab/abcdef....dcm    one DICOM file each, named by its SHA-256
      studies/cd/cdef....json     manifest of a study, named by the SHA-256 of its UID
      events.log                  one JSON line per change, append only; a cursor is an offset in it
      pending/                    changes under way: what to announce and which objects to look after

A change is: pending note, new objects, manifest (the commit: one rename), event, removal of objects that no
manifest names any more, pending note gone. Whoever takes the lock next settles notes that a dead process left.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from config.errors import ArchiveError, ArchiveUnavailableError
from dicom_node.archives.protocol import StudyEvent
from dicom_node.crashpoints import crash_point
from dicom_node.journal import sync_folder


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance: its object, the digest of its pixels, and the decision that moved it (empty: as it came)."""

    file: str
    pixels: str
    decision: str = ""


@dataclass
class Manifest:
    """What the archive holds of a study. ``relink`` is the text of the last receipt, ``state`` what became of it."""

    study_uid: str
    instances: dict[str, Entry] = field(default_factory=dict)
    identity: dict[str, Any] | None = None
    relink: str = ""
    state: str = ""


class Shelf:
    """The folder. Everything that changes it happens inside :meth:`locked`, across threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            for name in ("objects", "studies", "pending"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "events.log").touch(mode=0o600)
        except OSError as error:
            raise ArchiveUnavailableError(f"archive folder {folder}: {error.strerror}; check the volume") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive use; changes that a dead process left are settled first."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._cut_torn_event()
            for left in sorted((self.folder / "pending").iterdir()):
                if left.suffix == ".json":
                    self._settle(left)
                else:  # a draft whose writer died
                    left.unlink()
            yield
        finally:
            os.close(descriptor)

    def load(self, study_uid: str) -> Manifest | None:
        try:
            values = json.loads(self._manifest_path(study_uid).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ArchiveError(f"a manifest of the archive cannot be read: {type(error).__name__}") from None
        values["instances"] = {uid: Entry(**entry) for uid, entry in values["instances"].items()}
        return Manifest(**values)

    def read(self, sha256: str) -> bytes:
        try:
            return self._object_path(sha256).read_bytes()
        except OSError as error:
            raise ArchiveError(f"object {sha256[:12]} of the archive cannot be read: {error.strerror}") from None

    def link(self, path: Path, sha256: str) -> None:
        """Takes over a file that somebody else made durable: a hard link where possible, else a copy."""
        target = self._object_path(sha256)
        if target.exists():
            return
        _make_folder(target.parent)
        try:
            os.link(path, target)
        except FileExistsError:
            return
        except OSError:  # another file system, or one without links
            self._write(target, path.read_bytes())
        sync_folder(target.parent)

    def write(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._object_path(sha256)
        _make_folder(path.parent)
        self._write(path, data)
        return sha256

    def begin(self, study_uid: str, kind: str, objects: Iterable[str]) -> Path:
        """Notes a change before its first step; ``kind`` is empty for changes that are no news."""
        note = self.folder / "pending" / f"{_name(study_uid)}.json"
        values = {"study_uid": study_uid, "kind": kind, "objects": sorted(objects)}
        self._write(note, json.dumps(values).encode("utf-8"))
        crash_point("archive.noted")
        return note

    def commit(self, manifest: Manifest, note: Path) -> None:
        """Makes the change visible and finishes what belongs to it."""
        path = self._manifest_path(manifest.study_uid)
        _make_folder(path.parent)
        crash_point("archive.objects_written")
        self._write(path, json.dumps(asdict(manifest), ensure_ascii=False).encode("utf-8"))
        crash_point("archive.committed")
        self._settle(note)

    def events(self, since: str) -> Iterator[StudyEvent]:
        """Events after the cursor, which is an offset into the log; an unfinished last line is not yet one."""
        if since and not since.isdigit():
            raise ArchiveError("the cursor of the archive's change feed is no offset", reason="CURSOR")
        with (self.folder / "events.log").open("rb") as log:
            log.seek(int(since or "0"))
            while (line := log.readline()).endswith(b"\n"):
                values = json.loads(line)
                yield StudyEvent(str(log.tell()), values["study_uid"], _name(values["study_uid"]), values["kind"])

    def _settle(self, note: Path) -> None:
        """Announces the change and removes objects that its study does not name (old ones, or new ones never used)."""
        values = json.loads(note.read_text(encoding="utf-8"))
        manifest = self.load(values["study_uid"])
        named = {entry.file for entry in manifest.instances.values()} if manifest else set()
        if manifest is not None and values["kind"]:
            # After a crash this may repeat an event, or announce one whose change was never made: both are harmless.
            self._append_event({"study_uid": values["study_uid"], "kind": values["kind"]})
        crash_point("archive.announced")
        for sha256 in values["objects"]:
            if sha256 not in named:
                self._object_path(sha256).unlink(missing_ok=True)
        crash_point("archive.collected")
        note.unlink()
        sync_folder(note.parent)

    def _append_event(self, values: dict[str, str]) -> None:
        with (self.folder / "events.log").open("ab") as log:
            log.write(json.dumps(values).encode("utf-8") + b"\n")
            log.flush()
            os.fsync(log.fileno())

    def _cut_torn_event(self) -> None:
        path = self.folder / "events.log"
        with path.open("r+b") as log:
            end = log.seek(0, os.SEEK_END)
            start = max(0, end - 64 * 1024)
            log.seek(start)
            tail = log.read()
            if tail and not tail.endswith(b"\n"):
                log.truncate(start + tail.rfind(b"\n") + 1)

    def _write(self, path: Path, data: bytes) -> None:
        """Writes a file that is either not there or whole, and on disk when this returns."""
        draft = self.folder / "pending" / f".{secrets.token_hex(8)}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ArchiveUnavailableError(
                f"the archive cannot write: {error.strerror}; free space or check the volume", reason="ARCHIVE_STORAGE"
            ) from error

    def _object_path(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256[:2] / f"{sha256}.dcm"

    def _manifest_path(self, study_uid: str) -> Path:
        name = _name(study_uid)
        return self.folder / "studies" / name[:2] / f"{name}.json"


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)


def _name(study_uid: str) -> str:
    return hashlib.sha256(study_uid.encode("utf-8", "surrogatepass")).hexdigest()
