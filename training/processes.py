"""Work spread over processes: in order, with a bounded number on the way, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

__all__ = ["in_order"]

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


def in_order(
    function: Callable[[_Work], _Result],
    work: Iterable[_Work],
    processes: int,
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[_Result]:
    """Yields ``function(one)`` for each of ``work``, in its order, computed by that many spawned processes.

    ``work`` is read no more than three a process ahead of what was yielded. ``prepare(*arguments)`` is called once in
    every process. The function, ``prepare`` and what they are given cross to the processes and must be importable, and
    the calling script too (``if __name__ == "__main__"``). A process whose parent died ends itself.

    Raises
    ------
    Exception
        whatever the function raised, where its result would have come; what waits behind it is not computed.
    """
    waiting: deque[Future[_Result]] = deque()
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(prepare, arguments),
    ) as pool:
        try:
            for one in work:
                waiting.append(pool.submit(function, one))
                if len(waiting) >= 3 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    import cv2

    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    # The processes share the cores already.
    cv2.setNumThreads(1)
    if prepare is not None:
        prepare(*arguments)


def _end_with_parent() -> None:
    """A pool's process waits for work for ever: both ends of its queue are open in the process itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
