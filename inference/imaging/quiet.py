"""Keeps pydicom from speaking about what it reads.

Its warnings and log records quote received values, which may be a patient's, and a hostile file must not be able to
raise one. ``warnings.catch_warnings`` alone restores stale filters when two threads overlap, so the first one in
installs the filter and the last one out takes it away.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.config  # noqa: F401  (sets the level of its logger on import, so it has to come first)

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
logging.getLogger("pylibjpeg").setLevel(logging.CRITICAL + 1)

_lock = threading.Lock()
_inside = 0
_guard: warnings.catch_warnings | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """No warning leaves this block, in any thread that is inside one."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _guard
    with _lock:
        if _inside == 0:
            _guard = warnings.catch_warnings()
            _guard.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1


def _leave() -> None:
    global _inside, _guard
    with _lock:
        _inside -= 1
        if _inside == 0 and _guard is not None:
            _guard.__exit__(None, None, None)
            _guard = None
