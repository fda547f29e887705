"""Folders of DICOM files into the node: the same bytes, the same ledger, without a network."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.errors import CommandError, HeaderError
from dicom_node.assembly import complete_studies
from dicom_node.ingest import Ingester
from dicom_node.ledger import StudyState
from dicom_node.node import Node
from dicom_node.routing import files_below
from dicom_node.spool import Source, StoredObject

_BATCH = 200
_ALL = 1_000_000


@dataclass
class ImportReport:
    """What became of the files; ``refused`` counts them by reason."""

    files: int = 0
    added: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """All files named, and all below the folders named.

    Raises
    ------
    CommandError
        when one of them is not there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += files_below(path)
        elif path.is_file():
            found.append(path)
        else:
            raise CommandError(f"{path}: no such file or folder", reason="NOT_FOUND")
    return found


def import_files(node: Node, files: Sequence[Path], progress: Callable[[int], None] = lambda _: None) -> ImportReport:
    """Stores and indexes files; durable batch by batch, so that a second run after a kill adds only what is missing."""
    ingester = Ingester(node.ledger, node.spool, node.settings.identity)
    association = f"import-{uuid.uuid4()}"
    source = Source(calling_ae="", called_ae="", peer="folder", association=association)
    report = ImportReport(files=len(files))
    for batch in _batches(files):
        stored: list[StoredObject] = []
        for path in batch:
            try:
                stored.append(node.spool.put_file(path, source))
            except HeaderError as error:
                report.refused[error.reason] += 1
                node.ledger.count("import_refused", reason=error.reason)
        taken = ingester.add(stored)
        report.added += taken.added
        report.duplicates += taken.duplicates
        report.conflicts += taken.conflicts
        progress(len(batch))
    node.ledger.end_association(association)
    return report


def walk_all(node: Node, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[StudyState, int]:
    """Walks every study that waits, in this process; returns how many of them settled in which state.

    Studies that wait for another try, or for a lease that a dead process left behind, are waited for.
    ``progress`` is told how many were just done, and of how many.
    """
    from dicom_node.pipeline import Pipeline
    from dicom_node.worker import work_once

    at_once = node.settings.assembly.model_copy(update={"quiet_seconds": 0.0})
    complete_studies(node.ledger, at_once, node.is_orphan)
    waiting = [record.study_uid for record in node.ledger.studies(StudyState.READY, limit=_ALL)]
    pipeline = Pipeline(node)
    done = 0
    while done < len(waiting):
        if not work_once(node, pipeline):
            time.sleep(node.settings.worker.poll_seconds)
        settled = len(waiting) - node.ledger.status().studies.get(StudyState.READY, 0)
        progress(settled - done, len(waiting))
        done = settled
    records = (node.ledger.study(uid) for uid in waiting)
    return dict(Counter(record.state for record in records if record is not None))


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _BATCH):
        yield files[start : start + _BATCH]
