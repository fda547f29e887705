"""Threads that sync files side by side, because a disk that is told of several at once flushes once for all."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Lock, Thread

from config.errors import StorageError
from dicom_node.crashpoints import crash_point
from dicom_node.incoming import IncomingObject, storage_error


class Sync:
    """One file's sync, under way."""

    def __init__(self, incoming: IncomingObject) -> None:
        self._incoming = incoming
        self._error: StorageError | None = None
        # A bare lock: futures and events cost more than a sync on a fast disk.
        self._running = Lock()
        self._running.acquire()

    def wait(self) -> StorageError | None:
        """Waits for the end (once); returns what went wrong."""
        self._running.acquire()
        return self._error

    def run(self) -> None:
        try:
            self._incoming.sync()
        except OSError as error:
            self._error = storage_error(error, "an object was synced")
        finally:
            self._running.release()
        crash_point("commit.file_synced")


class SyncThreads:
    """A fixed number of threads that sync files."""

    def __init__(self, count: int) -> None:
        self._due: SimpleQueue[Sync | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"sync-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def start(self, incoming: IncomingObject) -> Sync:
        """Begins to sync a complete object."""
        sync = Sync(incoming)
        self._due.put(sync)
        return sync

    def close(self) -> None:
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (sync := self._due.get()) is not None:
            sync.run()
