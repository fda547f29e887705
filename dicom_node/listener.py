"""The receiving process: Storage SCP and Verification SCP in front of the spool.

It imports neither networks nor databases, so it stays small whatever the rest of the node does.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType

import structlog
from pynetdicom import AE

from config.errors import MedReIDError, StorageError
from config.settings import Settings
from dicom_node.association import ReceiverAssociation
from dicom_node.commit import Committer
from dicom_node.counts import Counts
from dicom_node.guard import Guard
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from dicom_node.spool import Spool
from dicom_node.tls import server_context

# How long a stop waits for objects that are being received, and then for peers to take note of the abort.
_FINISH_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0
_COUNTS_SECONDS = 2.0
_NEGOTIATION_SECONDS = 30.0

log = structlog.get_logger()


class Listener:
    """The DICOM service of a node. A context manager: starts on entry, stops on exit.

    ``counts`` holds every refusal under its name; ``failed`` is set when storage failed so that the process has to be
    started again.

    Raises
    ------
    ConfigError
        where address, TLS files or allow-lists cannot be used.
    StorageError
        where another receiver holds the spool, or its journal is damaged.
    """

    def __init__(self, settings: Settings, spool: Spool) -> None:
        dicom = settings.dicom
        self.counts = Counts()
        self._associations: set[ReceiverAssociation] = set()
        self._lock = Lock()
        self._stopping = Event()
        self._max_associations = dicom.max_associations
        self._ae = AE(dicom.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = "MEDREID"
        self._ae.maximum_pdu_size = dicom.max_pdu_length
        # The guard is what limits associations; pynetdicom counts every association of the process, also outgoing ones.
        self._ae.maximum_associations = 2**31
        self._ae.require_called_aet = dicom.check_called_ae_title
        self._ae.require_calling_aet = list(dicom.allowed_calling_ae_titles)
        self._ae.network_timeout = dicom.network_timeout
        self._ae.acse_timeout = min(_NEGOTIATION_SECONDS, dicom.network_timeout)
        self._committer = Committer(spool)
        try:
            self._guard = Guard(dicom, server_context(dicom), self.counts, self._has_room, self._admit)
        except MedReIDError:
            self._committer.close()
            raise
        self._counts_thread = Thread(target=self._journal_counts, name="counts", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on, also where the settings say 0."""
        return self._guard.port

    @property
    def failed(self) -> Event:
        return self._committer.failed

    def start(self) -> None:
        self._guard.start()
        self._counts_thread.start()
        log.info("receiver.listening", port=self.port)

    def stop(self) -> None:
        """Closes the door, lets objects in flight finish, aborts associations, flushes counts, closes the journal."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._guard.stop()
        for association in self._present():
            association.abort(block=False)
        self._wait_for_end(_FINISH_SECONDS)
        for association in self._present():
            association.hang_up()
        self._wait_for_end(_GOODBYE_SECONDS)
        if self._counts_thread.is_alive():
            self._counts_thread.join()
        self._flush_counts()
        self._committer.close()
        log.info("receiver.stopped")

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _has_room(self) -> bool:
        with self._lock:
            return len(self._associations) < self._max_associations

    def _admit(self, connection: socket.socket, request: bytes) -> None:
        association = ReceiverAssociation(
            self._ae, connection, request, self._committer, self.counts, self._association_ended
        )
        with self._lock:
            self._associations.add(association)
        try:
            association.start()
        except RuntimeError:
            self._association_ended(association)
            raise

    def _association_ended(self, association: ReceiverAssociation) -> None:
        with self._lock:
            self._associations.discard(association)

    def _present(self) -> list[ReceiverAssociation]:
        with self._lock:
            return list(self._associations)

    def _wait_for_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._present() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _journal_counts(self) -> None:
        while not self._stopping.wait(_COUNTS_SECONDS):
            self._flush_counts()

    def _flush_counts(self) -> None:
        """Refusals become a record per name and interval, so that a flood of peers is no flood of records."""
        for name, number in self.counts.drain().items():
            try:
                self._committer.note({"kind": "count", "name": name, "n": number})
            except StorageError as error:
                log.error("receiver.counts_lost", name=name, n=number, reason=error.reason)


def run(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Receives until SIGTERM; to be called in a process of its own, in its main thread.

    ``ready`` is called with the port once peers may come.

    Raises
    ------
    StorageError
        when the journal failed: the process is to be started again, which recovers.
    """
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Listener(settings, Spool(settings.spool_folder, settings.spool.min_free_bytes)) as listener:
        if ready is not None:
            ready(listener.port)
        while not stop.wait(0.5):
            if listener.failed.is_set():
                raise StorageError("the journal failed; starting the receiver again recovers what was acknowledged")
