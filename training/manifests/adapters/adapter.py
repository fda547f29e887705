"""What an adapter is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.manifests.schema import Row

# How many objects were left out, by reason: nothing is passed over in silence.
Skipped = Counter[str]
Rows = Callable[[Path, Skipped], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How one data set is read where it was unpacked.

    ``rows(root, skipped)`` streams rows with paths relative to ``root`` and counts in ``skipped`` what it left out;
    it raises CommandError when a table is missing or is not as published. ``labels`` are the labels that rows have.
    """

    name: str
    title: str
    licence: str
    rows: Rows
    labels: tuple[str, ...] = ()
