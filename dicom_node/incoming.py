"""One object on its way into the spool: bytes go to an unnamed file and into the hash as they come."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from pathlib import Path

from config.errors import DiskFullError, StorageError
from dicom_node.part10 import ObjectIdentity, canonical_header

# How often the free space is looked at again, and dirty pages are sent on their way, while a long object streams in.
_CHECK_BYTES = 32 * 1024 * 1024
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What file systems without O_TMPFILE answer to it.
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})

_counter = itertools.count(1)


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
    """A file without a name (a temporary name where the file system knows no O_TMPFILE) and its SHA-256.

    It starts with the canonical header of ``identity``. Nothing of it survives unless :meth:`link` was called.

    Raises
    ------
    DiskFullError
        when the reserve ``min_free_bytes`` is touched, before anything is written, or when a write finds no space.
    StorageError
        when the file system fails otherwise.
    HeaderError
        when a UID of ``identity`` is too long to be written.
    """

    def __init__(self, folder: Path, min_free_bytes: int, identity: ObjectIdentity) -> None:
        self.identity = identity
        self.size = 0
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._digest = hashlib.sha256()
        self._unchecked = 0
        header = canonical_header(identity)
        ensure_free(folder, min_free_bytes)
        self.path: Path | None = None
        try:
            self._file = self._open()
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

    def link(self) -> Path:
        """Gives the complete file the name ``<sha256>-<n>``, which a recovery understands; returns its path."""
        path = self._folder / f"{self.sha256}-{next(_counter)}"
        if self.path is None:
            # With src_dir_fd CPython calls linkat, which follows the link in /proc; without it, plain link does not.
            os.link(f"/proc/self/fd/{self._file}", path, src_dir_fd=self._file, follow_symlinks=True)
        else:
            self.path.rename(path)
        self.path = path
        return path

    def sync(self) -> None:
        """Makes the file's content durable."""
        os.fsync(self._file)

    def close(self) -> None:
        """Lets go of the file; what was linked stays."""
        os.close(self._file)

    def discard(self) -> None:
        """Lets go of the file and removes every trace of it."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(self._folder, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        self.path = self._folder / f"part-{os.getpid()}-{next(_counter)}"
        return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
