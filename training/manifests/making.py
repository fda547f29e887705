"""From a data set on disk to a manifest file, by its adapter."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from config.errors import CommandError
from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.files import write_manifest
from training.manifests.schema import Row
from training.manifests.splits import assign_splits, check_shares

__all__ = ["Made", "make_manifest"]


@dataclass
class Made:
    """A manifest that was written: its rows, what the adapter left out by reason, whether it lies beside its images."""

    rows: int = 0
    skipped: Skipped = field(default_factory=Counter)
    beside: bool = True


def make_manifest(
    adapter: Adapter,
    root: Path,
    out: Path,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 1,
    stratify: str = "",
    advance: Callable[[int], None] = lambda steps: None,
) -> Made:
    """Writes the manifest of ``root`` to ``out``, with splits drawn where ``shares`` are given.

    Paths are relative to the folder of ``out``; outside ``root`` and its parents they lead upwards, and readers have
    to allow that. A publisher's own split is kept.

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when a table or folder is missing, ``FILE_EXISTS`` when ``out`` is there already,
        ``UNKNOWN_LABEL``, ``SPLIT_SHARES``, ``SPLIT_PARTIAL``, or when there is no image at all.
    StorageError
        when ``out`` cannot be written.
    """
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder", reason="NOT_FOUND")
    if out.exists():
        raise CommandError(f"{out} is there already; remove it, or give another name", reason="FILE_EXISTS")
    if stratify and stratify not in adapter.labels:
        known = ", ".join(adapter.labels) or "none"
        raise CommandError(f"{adapter.name} has no label {stratify!r}; it has: {known}", reason="UNKNOWN_LABEL")
    if shares:
        check_shares(shares)
    made = Made()
    upwards = PurePosixPath(os.path.relpath(root.resolve(), out.resolve().parent))
    made.beside = ".." not in upwards.parts
    source = _Source(adapter, root, upwards, made)
    rows = assign_splits(source, shares, seed, stratify=stratify) if shares else iter(source)
    made.rows = write_manifest(out, _told(rows, advance), adapter.labels)
    return made


def _told(rows: Iterator[Row], advance: Callable[[int], None]) -> Iterator[Row]:
    for row in rows:
        advance(1)
        yield row


@dataclass
class _Source:
    """Rows of an adapter that can be read more than once."""

    adapter: Adapter
    root: Path
    upwards: PurePosixPath
    made: Made

    def __iter__(self) -> Iterator[Row]:
        self.made.skipped = Counter()
        for row in self.adapter.rows(self.root, self.made.skipped):
            yield replace(row, path=str(self.upwards / row.path))
