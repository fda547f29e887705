"""The archive's news into the spool: what it got from elsewhere comes to the node as if it had been sent.

The cursor moves only after what it passes is durable in spool and ledger, so a kill repeats work and loses none.
What the node has is not fetched again: after a re-link the archive's bytes differ, by our own hand.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from config.errors import ArchiveConflictError, HeaderError
from dicom_node.archives.protocol import PASSED, StudyEvent
from dicom_node.crashpoints import crash_point
from dicom_node.ingest import Ingester
from dicom_node.ledger import CursorMove, RelinkState
from dicom_node.spool import Source, StoredObject

if TYPE_CHECKING:
    from dicom_node.node import Node

BATCH = 100

log = structlog.get_logger()


@dataclass
class FollowReport:
    """What one round brought: studies that the feed told of, and instances that were new."""

    studies: int = 0
    instances: int = 0


def follow_once(node: Node) -> FollowReport:
    """Reads the archive's change feed from where it was left to its end.

    Raises
    ------
    ArchiveError
        when the archive is away: the next round goes on from there.
    StorageError
        when the spool cannot keep what was fetched.
    """
    name = f"archive:{node.archive.name}"
    position = node.ledger.cursor(name)
    report = FollowReport()
    for event in node.archive.changes(position):
        if event.kind != PASSED:
            report.studies += 1
            report.instances += _take(node, event)
        if event.cursor != position:
            crash_point("follow.taken")
            node.ledger.move_cursor(CursorMove(name, position, event.cursor))
            position = event.cursor
    return report


def _take(node: Node, event: StudyEvent) -> int:
    """Fetches what the node does not have of a study; returns how many instances were new."""
    try:
        new = _fetch(node, event.study_uid)
    except ArchiveConflictError as error:
        # A study that the archive itself is in two minds about must not hold up the others.
        log.warning("follow.study_refused", study=node.token(event.study_uid), reason=error.reason)
        node.ledger.count("follow_refused", reason=error.reason)
        return 0
    if not new and _linked(node, event.study_uid):
        # Something came again under the former identity: walking the study once more sweeps it.
        node.ledger.requeue(event.study_uid)
    return new


def _fetch(node: Node, study_uid: str) -> int:
    known = {
        instance.sop_instance_uid
        for series in node.ledger.series(study_uid, node.spool.path)
        for instance in series.instances
    }
    known.update(node.ledger.evidence_objects(study_uid))
    ingester = Ingester(node.ledger, node.spool, node.settings.identity)
    association = f"follow-{uuid.uuid4()}"
    source = Source(peer=node.archive.name, association=association)
    fetched = added = 0
    for batch in _batches(node.archive.fetch(study_uid, without=known)):
        stored = list(_stored(node, batch, source))
        fetched += len(stored)
        added += ingester.add(stored).added
    if fetched:
        node.ledger.end_association(association)
    return added


def _stored(node: Node, batch: list[bytes], source: Source) -> Iterator[StoredObject]:
    for data in batch:
        try:
            yield node.spool.put_bytes(data, source)
        except HeaderError as error:
            node.ledger.count("follow_refused", reason=error.reason)


def _batches(files: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Bounded by number and by size: at most one batch is in memory."""
    batch: list[bytes] = []
    size = 0
    for data in files:
        batch.append(data)
        size += len(data)
        if len(batch) >= BATCH or size >= 32 * 1024 * 1024:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _linked(node: Node, study_uid: str) -> bool:
    return any(relink.state is RelinkState.DONE for relink in node.ledger.relinks(study_uid=study_uid))
