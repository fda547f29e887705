"""The ingester's loop: journal into ledger, studies into the queue, the archive's news into the spool."""

from __future__ import annotations

import threading
from threading import Event

import structlog

from config.errors import MedReIDError
from config.settings import Settings
from dicom_node.assembly import complete_studies
from dicom_node.ingest import Ingester
from dicom_node.node import Node

# How soon a study that has gone quiet is noticed.
_TICK_SECONDS = 0.2
_FAILURE_SECONDS = 2.0

log = structlog.get_logger()


def run_ingester(settings: Settings, stopping: Event) -> None:
    """Runs until ``stopping``; a database or archive that is away is waited for, and said."""
    with Node(settings) as node:
        follower = threading.Thread(target=_follow, args=(node, stopping), name="follow", daemon=True)
        follower.start()
        ingester = Ingester(node.ledger, node.spool, settings.identity)
        while not stopping.is_set():
            try:
                ingester.drain()
                complete_studies(node.ledger, settings.assembly, node.is_orphan)
                node.release_settled()
            except MedReIDError as error:
                log.error("ingester.failed", reason=error.reason, message=str(error))
                stopping.wait(_FAILURE_SECONDS)
            stopping.wait(_TICK_SECONDS)
        follower.join(timeout=5.0)


def _follow(node: Node, stopping: Event) -> None:
    """Follows the archive's change feed, where it has one that is worth following."""
    settings = node.settings.archive
    if settings.kind == "local" or not settings.follow_changes:
        return
    from dicom_node.archives.follow import follow_once

    while not stopping.is_set():
        try:
            follow_once(node)
        except MedReIDError as error:
            log.warning("follow.failed", reason=error.reason, message=str(error))
            node.ledger.count("follow_failed", reason=error.reason)
        stopping.wait(settings.poll_seconds)
