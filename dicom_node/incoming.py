"""One object on its way into the spool: bytes go to a temporary file and into the hash as they come."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

from config.errors import DiskFullError, StorageError
from dicom_node.helper import Helper
from dicom_node.part10 import ObjectIdentity, canonical_header

# How often the free space is looked at again while a long object streams in.
_CHECK_BYTES = 32 * 1024 * 1024
# Less than this the disk writes as fast as it is told to.
_WRITEBACK_BYTES = 64 * 1024
_WORTH_HANDING_OVER = 64 * 1024
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def storage_error(error: OSError, doing: str) -> StorageError:
    """The error of ours for what the operating system said, without any path in it."""
    if error.errno in _NO_SPACE:
        return DiskFullError(f"no space left while {doing}; free some, then the sender may try again")
    return StorageError(f"{os.strerror(error.errno or errno.EIO)} while {doing}")


def ensure_free(folder: Path, min_free_bytes: int) -> None:
    """Raises DiskFullError where less than ``min_free_bytes`` are left on the file system of ``folder``."""
    if free_bytes(folder) < min_free_bytes:
        raise DiskFullError("less disk space than spool.min_free_bytes is left; free some or lower the reserve")


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of ``folder``."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class IncomingObject:
    """A temporary file that becomes an object, and its SHA-256.

    It starts with the canonical header of ``identity``. Unless :meth:`place` was called, :meth:`discard` leaves
    nothing behind. With a ``hasher`` data are hashed there while the caller goes on;
    ``closed`` is called at the end.

    Raises
    ------
    DiskFullError
        when a write finds no space, or when a long object comes to touch the reserve ``min_free_bytes``. Whether the
        reserve is touched already is for the caller to ask first.
    StorageError
        when the file system fails otherwise.
    HeaderError
        when a UID of ``identity`` is too long to be written.
    """

    def __init__(
        self,
        path: Path,
        min_free_bytes: int,
        identity: ObjectIdentity,
        hasher: Helper | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.identity = identity
        self.size = 0
        self._path: Path | None = path
        self._folder = path.parent
        self._min_free_bytes = min_free_bytes
        self._digest = hashlib.sha256()
        self._hasher = hasher
        self._closed = closed
        self._hashing: Lock | None = None
        self._checked = 0
        # Written together with the first data.
        self._header = canonical_header(identity)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, "an object was opened") from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends ``data``, best a few hundred kilobytes of it: the disk begins with them while they are hashed.

        Of a ``memoryview`` the bytes must stay as they are until the next write, or the end, has returned.
        """
        parts, self._header = [self._header, data], b""
        start, self.size = self.size, self.size + len(parts[0]) + len(data)
        try:
            written = os.writev(self._file, parts)
            while written < self.size - start:  # a limit is near
                written += os.write(self._file, b"".join(parts)[written:])
            if len(data) >= _WRITEBACK_BYTES:
                # "Not needed" has the kernel start to write these pages; being dirty, they stay in its cache.
                os.posix_fadvise(self._file, start, self.size - start, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise storage_error(error, "an object was received") from error
        self._hash(parts)
        if self.size - self._checked >= _CHECK_BYTES:
            self._checked = self.size
            ensure_free(self._folder, self._min_free_bytes)

    def _hash(self, parts: list[bytes | bytearray | memoryview]) -> None:
        self._finish_hashing()
        if self._hasher is not None and len(parts[1]) >= _WORTH_HANDING_OVER:
            self._digest.update(parts[0])
            self._hashing = self._hasher.do(partial(self._digest.update, parts[1]))
        else:
            for part in parts:
                self._digest.update(part)

    def _finish_hashing(self) -> None:
        if self._hashing is not None:
            self._hashing.acquire()
            self._hashing = None

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file, once it is complete and synced."""
        self._finish_hashing()
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Makes the complete file's content durable."""
        if self._header:
            self.write(b"")
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise storage_error(error, "an object was synced") from error

    def place(self, path: Path) -> None:
        """Gives the complete file its place, over whatever has the same name (and so the same content)."""
        if self._path is not None:
            self._path.replace(path)
            self._path = None

    def close(self) -> None:
        """Lets go of the file, wherever it is."""
        self._finish_hashing()
        os.close(self._file)
        self._closed()

    def discard(self) -> None:
        """Lets go of the file and removes it unless it was placed."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
