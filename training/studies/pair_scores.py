"""A verifier's scores of many pairs, by several processes where that is asked for."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from inference.verification.protocol import Template, Verifier

# Pairs that a process takes at once: few seconds of work, so that progress is seen.
_TOGETHER = 64


def pair_scores(
    verifier: Verifier, templates: Sequence[Template], pairs: Sequence[tuple[int, int]], processes: int = 1
) -> Iterator[float]:
    """The score of each pair of numbers of templates, in order, as soon as it is there.

    With more than one process the verifier is taken from the registry by its name, and the calling script must be
    importable (``if __name__ == "__main__"``).
    """
    if processes <= 1:
        for first, second in pairs:
            yield verifier.score(templates[first], templates[second])
        return
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, mp_context=spawned, initializer=_begin, initargs=(verifier.name, templates)
    ) as pool:
        yield from pool.map(_score, pairs, chunksize=_TOGETHER)


class _Job:
    """What a process works on."""

    verifier: Verifier
    templates: Sequence[Template]


def _begin(name: str, templates: Sequence[Template]) -> None:
    import cv2

    from inference.verification.registry import verifier

    cv2.setNumThreads(1)
    _Job.verifier, _Job.templates = verifier(name), templates


def _score(pair: tuple[int, int]) -> float:
    return _Job.verifier.score(_Job.templates[pair[0]], _Job.templates[pair[1]])
