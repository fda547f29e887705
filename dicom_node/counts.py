"""Named counters of what was refused: cheap to add to from any thread, journalled in bulk."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Counts:
    """Totals since the start, and what came since the last :meth:`drain`."""

    def __init__(self) -> None:
        self._totals: Counter[str] = Counter()
        self._fresh: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, name: str) -> None:
        with self._lock:
            self._totals[name] += 1
            self._fresh[name] += 1

    def totals(self) -> dict[str, int]:
        """All counts since the start."""
        with self._lock:
            return dict(self._totals)

    def drain(self) -> dict[str, int]:
        """The counts since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, Counter()
        return dict(fresh)
