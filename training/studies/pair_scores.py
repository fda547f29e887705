"""A verifier's scores of many pairs, by several processes where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.verification.protocol import Template, Verifier
from training.processes import in_order

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
    chunks = (pairs[first : first + _TOGETHER] for first in range(0, len(pairs), _TOGETHER))
    for scores in in_order(_scores, chunks, processes, _begin, (verifier.name, templates)):
        yield from scores


class _Job:
    """What a process works on."""

    verifier: Verifier
    templates: Sequence[Template]


def _begin(name: str, templates: Sequence[Template]) -> None:
    from inference.verification.registry import verifier

    _Job.verifier, _Job.templates = verifier(name), templates


def _scores(pairs: Sequence[tuple[int, int]]) -> list[float]:
    return [_Job.verifier.score(_Job.templates[first], _Job.templates[second]) for first, second in pairs]
