"""The worker: claims due studies, one at a time, and walks them; its lease is renewed while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import structlog

from config.errors import LeaseLostError, MedReIDError
from config.settings import Settings
from dicom_node.ledger import Ledger
from dicom_node.ledger.records import Claim
from dicom_node.node import Node
from dicom_node.pipeline import Pipeline
from dicom_node.roles import owner_name

log = structlog.get_logger()


def run_worker(settings: Settings, stopping: Event) -> None:
    """Works until ``stopping``; a study in hand is finished first."""
    with Node(settings) as node:
        pipeline = Pipeline(node)
        while not stopping.is_set():
            if not work_once(node, pipeline):
                stopping.wait(settings.worker.poll_seconds)


def work_once(node: Node, pipeline: Pipeline) -> bool:
    """Claims and walks one study; False when none is due."""
    claim = node.ledger.claim(owner_name(), node.settings.worker)
    if claim is None:
        return False
    try:
        with _renewed(node.ledger, claim):
            state = pipeline.walk(claim)
        node.audit.note_head()
        log.info("study.walked", study=node.token(claim.study_uid), state=state.value, attempt=claim.attempt)
    except LeaseLostError:
        log.warning("study.lease_lost", study=node.token(claim.study_uid))
        node.ledger.count("lease_lost")
    except MedReIDError as error:
        _retry(node, claim, error.reason, str(error))
    except Exception as error:
        # Whatever a study provokes must not end the worker: it is retried, then quarantined under the error's name.
        _retry(node, claim, f"UNEXPECTED_{type(error).__name__}", "")
        log.exception("study.unexpected", study=node.token(claim.study_uid))
    return True


def _retry(node: Node, claim: Claim, reason: str, message: str) -> None:
    try:
        state = node.ledger.retry_later(claim, reason, node.settings.worker)
    except LeaseLostError:
        log.warning("study.lease_lost", study=node.token(claim.study_uid))
        return
    log.warning("study.failed", study=node.token(claim.study_uid), reason=reason, message=message, state=state.value)


@contextmanager
def _renewed(ledger: Ledger, claim: Claim) -> Iterator[None]:
    """Renews the lease three times per length. A lost lease is noticed when the study is settled."""
    done = Event()

    def renew() -> None:
        while not done.wait(claim.lease_seconds / 3):
            try:
                ledger.renew(claim)
            except LeaseLostError:
                return
            except MedReIDError as error:
                log.warning("lease.not_renewed", reason=error.reason)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
