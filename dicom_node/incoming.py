"""One object on its way into the spool: bytes go to a temporary file and into the hash as they come."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from config.errors import DiskFullError, StorageError
from dicom_node.part10 import ObjectIdentity, canonical_header

# How often the free space is looked at again, and dirty pages are sent on their way, while a long object streams in.
_CHECK_BYTES = 32 * 1024 * 1024
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
    nothing behind.

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

    def __init__(self, path: Path, min_free_bytes: int, identity: ObjectIdentity) -> None:
        self.identity = identity
        self.size = 0
        self._path: Path | None = path
        self._folder = path.parent
        self._min_free_bytes = min_free_bytes
        self._digest = hashlib.sha256()
        self._unchecked = 0
        header = canonical_header(identity)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, "an object was opened") from error
        try:
            self.write(header)
        except BaseException:
            self.discard()
            raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends ``data``."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise storage_error(error, "an object was received") from error
        self._digest.update(data)
        self.size += len(data)
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_BYTES:
            self._unchecked = 0
            self.start_writeback()
            ensure_free(self._folder, self._min_free_bytes)

    def start_writeback(self) -> None:
        """Has the kernel begin to write what is there, so that a later sync of several objects waits once for all."""
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the whole file so far."""
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Makes the file's content durable."""
        os.fdatasync(self._file)

    def place(self, path: Path) -> None:
        """Gives the complete file its place, over whatever has the same name (and so the same content)."""
        if self._path is not None:
            self._path.replace(path)
            self._path = None

    def close(self) -> None:
        """Lets go of the file, wherever it is."""
        os.close(self._file)

    def discard(self) -> None:
        """Lets go of the file and removes it unless it was placed."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
