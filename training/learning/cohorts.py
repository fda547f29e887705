"""Phantom cohorts that a training makes for itself: once, and from where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

from training.cohort import CohortPlan
from training.cohort.cohort import make_studies, write_rows, writing
from training.cohort.nuisance import dials_of
from training.learning.locks import exclusive
from training.learning.recipe import Cohort
from training.manifests.files import Manifest, read_manifest
from training.manifests.schema import FILE_NAME, Role, Row

_JOURNAL = "studies.jsonl"


def cohort_in(folder: Path, wanted: Cohort, processes: int, tell: Callable[[int, int], None]) -> Manifest:
    """The cohort in that folder, made by whichever process comes first; ``tell`` is told (studies done, of how many).

    Raises
    ------
    CommandError
        for numbers that make no cohort.
    DiskFullError, StorageError
        when a file cannot be written; the studies that are there stay, and the next call goes on behind them.
    """
    dials = dials_of(wanted.nuisance)
    plan = CohortPlan(wanted.patients, wanted.seed, wanted.visits, wanted.kinds, dials, wanted.distractors)
    with exclusive(folder):
        target = folder / FILE_NAME
        if not target.is_file():
            with writing():
                _make(folder, plan, processes, tell)
        return read_manifest(target)


def _make(folder: Path, plan: CohortPlan, processes: int, tell: Callable[[int, int], None]) -> None:
    done = _journal(folder / _JOURNAL)
    rest = _written(folder, make_studies(folder, islice(plan.studies(), len(done), None), processes))
    unfinished = folder / f"{FILE_NAME}.part"
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, chain(done, rest), len(plan), lambda number, total, _: tell(number, total))
    unfinished.replace(folder / FILE_NAME)


def _written(folder: Path, studies: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """The studies, each noted in the journal once its files are there."""
    with (folder / _JOURNAL).open("a", encoding="utf-8") as file:
        for rows in studies:
            file.write(json.dumps([asdict(row) for row in rows]) + "\n")
            file.flush()
            yield rows


def _journal(path: Path) -> list[list[Row]]:
    """The studies that are there, and the journal without the line that was cut off."""
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < len(lines):
        path.write_bytes(b"".join(whole))
    return [[Row(**(one | {"role": Role(one["role"])})) for one in json.loads(line)] for line in whole]
