"""A thread that takes over small jobs, so that who has a peer waiting need not do them first."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread


class Helper:
    """Does jobs one after the other in a thread of its own. A job must not raise."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], object], Lock] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], object]) -> Lock:
        """Begins ``job``; the lock that is returned can be acquired (once) when it is done."""
        # A bare lock: futures and events cost as much as the jobs that are worth handing over.
        running = Lock()
        running.acquire()
        self._jobs.put((job, running))
        return running

    def close(self) -> None:
        """Does what is due, then ends."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (due := self._jobs.get()) is not None:
            job, running = due
            job()
            running.release()
