"""pynetdicom's association, with its reading of established associations replaced.

Negotiation, release, abort, C-ECHO and every other message are pynetdicom's own. Between messages the upper layer
sleeps on its socket instead of polling it, and C-STORE goes through :class:`dicom_node.receive.StoreService`.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import uuid
from collections.abc import Callable
from threading import Lock
from typing import Any, cast

import structlog
from pynetdicom import AE
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AddressInformation, AssociationSocket

from config.errors import MedReIDError
from dicom_node.commit import Committer
from dicom_node.counts import Counts
from dicom_node.pdata import ConnectionLostError, OtherPduError, PDataStream, ProtocolError
from dicom_node.receive import Context, StoreService
from dicom_node.spool import Source, now_text

log = structlog.get_logger()

# A message that is no C-STORE (so: has no pixels) may be this long, over all of its PDUs.
MAX_OTHER_MESSAGE_BYTES = 1024 * 1024
_SERVED = (StorageServiceClass, VerificationServiceClass, ServiceClass)
_REJECTIONS = {(0x01, 0x03): "CALLING_AE_REFUSED", (0x01, 0x07): "CALLED_AE_REFUSED"}
_BUSY_POLL_MILLISECONDS = 1
_DRAIN_READS, _DRAIN_BYTES = 16, 64 * 1024


class ReceiverSocket(AssociationSocket):
    """A socket that gives back what was read ahead, bounds every read, and waits by poll (select ends at 1023)."""

    def __init__(self, assoc: Association, client_socket: socket.socket, read_ahead: bytes, limit: int) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._read_ahead = bytearray(read_ahead)
        self._limit = limit

    @property
    def holds_bytes(self) -> bool:
        return bool(self._read_ahead)

    def give_back(self, data: bytes) -> None:
        """Makes ``data`` the next bytes to be read."""
        self._read_ahead[:0] = data

    @property
    def ready(self) -> bool:
        if self._read_ahead:
            return True
        if self.socket is None or not self._is_connected or self.socket.fileno() < 0:
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def recv(self, nr_bytes: int) -> bytearray:
        """As the base class, but a length beyond the limit is a lost connection, before memory is taken for it."""
        if nr_bytes > self._limit:
            raise OSError("the PDU is longer than allowed")
        data = self._read_ahead[:nr_bytes]
        del self._read_ahead[:nr_bytes]
        assert self.socket is not None
        while len(data) < nr_bytes:
            part = self.socket.recv(nr_bytes - len(data))
            if not part:
                break
            data += part
        return data

    def drain(self) -> None:
        """Reads and forgets what has come; unread bytes would turn the close into a reset that destroys our answer."""
        if self.socket is None:
            return
        try:
            self.socket.setblocking(False)
            for _ in range(_DRAIN_READS):
                if not self.socket.recv(_DRAIN_BYTES):
                    return
        except OSError:
            return  # nothing more has come, or the peer is gone

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was first
            self.socket.close()


class ReceiverDUL(DULServiceProvider):
    """The upper layer service: in Sta6 it sleeps until the peer or the local user wants something."""

    def __init__(self, assoc: ReceiverAssociation) -> None:
        super().__init__(assoc)
        self.daemon = True
        self.lost = False
        self._receiver = assoc
        self._service: StoreService | None = None
        self._other_bytes = 0
        self._wake_lock = Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self.wake()

    def kill_dul(self) -> None:
        super().kill_dul()
        self.wake()

    def wake(self) -> None:
        """Ends the sleep on the socket."""
        with self._wake_lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - hostile bytes may raise anything in pynetdicom's decoders
            self._receiver.counts.add("UPPER_LAYER_FAILED")
            log.warning("association.failed", association=self._receiver.key, error=type(error).__name__)
        finally:
            with self._wake_lock:
                os.close(self._wake)
                self._wake = -1
            # Ends the association's wait for a request that will not come any more.
            self.to_user_queue.put(cast(Any, None))
            self._receiver.resume()

    def _is_transport_event(self) -> bool:
        sock = cast(ReceiverSocket, self.socket)
        if self.state_machine.current_state == "Sta13":
            # Rejected, released or aborted: whatever a peer says after that must not hold the connection open.
            sock.drain()
            sock.close()
            self._receiver.resume()
            return True
        if self.state_machine.current_state == "Sta6" and not sock.holds_bytes:
            if self.assoc.dimse.message is None:
                self._other_bytes = 0
                return self._established(sock)
            self._other_bytes += self._receiver.max_pdu_length
            if self._other_bytes > MAX_OTHER_MESSAGE_BYTES:
                return self._break_off("MESSAGE_TOO_LONG", "Evt19")
        self._receiver.resume()
        return bool(super()._is_transport_event())

    def _established(self, sock: ReceiverSocket) -> bool:
        """Serves message after message until there is something for pynetdicom to do; returns whether bytes came."""
        connection = cast(socket.socket, sock.socket)
        if self._service is None:
            self._service = self._receiver.make_service(connection)
        came = False
        while True:
            try:
                if not self._wait(connection):
                    return came
                came = True
                handover = self._service.serve()
            except OtherPduError as other:
                sock.give_back(other.start)
                self._read_pdu_data()
                return True
            except ConnectionLostError as error:
                self.lost = True
                return self._break_off(error.name, "Evt17")
            except ProtocolError as error:
                return self._break_off(error.name, "Evt19")
            self._idle_timer.restart()
            if handover is not None:
                sock.give_back(handover.pdus)
                self._read_pdu_data()
                return True

    def _wait(self, connection: socket.socket) -> bool:
        """Sleeps until the peer sends (True) or the local user does (False); too long a silence is a ProtocolError."""
        assert self._service is not None
        if not self.to_provider_queue.empty():
            return False
        idle = self.to_user_queue.empty() and self.assoc.dimse.msg_queue.empty()
        if not (idle and self._receiver.pause()):
            # pynetdicom has something to do or to answer, and answers keep the order of the requests.
            if not idle:
                self._receiver.resume()
            self._sleep([self._wake], _BUSY_POLL_MILLISECONDS)
            return False
        if self._service.inside_pdu or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            return True
        ready = self._sleep([self._wake, connection.fileno()], max(0.0, self._idle_timer.remaining) * 1000 + 1)
        if not ready and self._idle_timer.expired:
            raise ProtocolError("SILENT_ASSOCIATION")
        return bool(ready) and self._wake not in ready

    def _sleep(self, descriptors: list[int], milliseconds: float) -> set[int]:
        """Waits until one of ``descriptors`` can be read, and takes note of a :meth:`wake`."""
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(milliseconds)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return ready

    def _break_off(self, name: str, event: str) -> bool:
        self._receiver.counts.add(name)
        self.event_queue.put(event)
        return True


class ReceiverACSE(ACSE):
    """Association control that takes every storage SOP class, known, private or new, in every transfer syntax."""

    def _negotiate_as_acceptor(self) -> None:
        request = cast(A_ASSOCIATE, self.requestor.primitive)
        self.acceptor.supported_contexts = _supported(request.presentation_context_definition_list)
        super()._negotiate_as_acceptor()

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        cast(ReceiverAssociation, self.assoc).counts.add(_REJECTIONS.get((source, diagnostic), "ASSOCIATION_REJECTED"))
        super().send_reject(result, source, diagnostic)


class ReceiverAssociation(Association):
    """One association with a peer that sends. ``key`` names it in the journal."""

    def __init__(
        self,
        ae: AE,
        connection: socket.socket,
        request: bytes,
        committer: Committer,
        counts: Counts,
        ended: Callable[[ReceiverAssociation], None],
    ) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.key = uuid.uuid4().hex
        self.name = f"association-{self.key[:8]}"
        self.counts = counts
        self.max_pdu_length = int(ae.maximum_pdu_size)
        self._committer = committer
        self._ended = ended
        self._stores: StoreService | None = None
        self.acse = ReceiverACSE(self)
        self.dul = ReceiverDUL(self)
        # Setting these again gives them to the upper layer that was just replaced.
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout
        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = ae.ae_title
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        self.requestor.address_info = AddressInformation.from_tuple(connection.getpeername())
        limit = max(self.max_pdu_length + 64, len(request))
        self.set_socket(ReceiverSocket(self, connection, request, limit))

    def pause(self) -> bool:
        """Lets pynetdicom's reactor, which polls a thousand times a second, sleep while it has nothing to do.

        Returns whether it sleeps by now; it may be in the middle of an answer.
        """
        self._reactor_checkpoint.clear()
        return bool(self._is_paused)

    def resume(self) -> None:
        self._reactor_checkpoint.set()

    def hang_up(self) -> None:
        """Closes the connection, whatever is going on."""
        cast(ReceiverSocket, self.dul.socket)._shutdown_socket()

    def make_service(self, connection: socket.socket) -> StoreService:
        """The C-STORE service for what was negotiated."""
        contexts = {
            number: Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for number, context in self._accepted_cx.items()
        }
        source = Source(
            calling_ae=self.requestor.ae_title,
            called_ae=cast(A_ASSOCIATE, self.requestor.primitive).called_ae_title,
            peer=self.requestor.address,
            association=self.key,
        )
        stream = PDataStream(connection, self.max_pdu_length)
        self._stores = StoreService(
            connection, stream, self._committer, self.counts, contexts, source, self.requestor.maximum_length or 0
        )
        return self._stores

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - as in the upper layer: the peer chose the bytes
            self.counts.add("ASSOCIATION_FAILED")
            log.warning("association.failed", association=self.key, error=type(error).__name__)
        finally:
            self.dul.kill_dul()
            self.dul.join(self.network_timeout)
            self.hang_up()
            self._journal_end()
            self._ended(self)

    def _journal_end(self) -> None:
        """Tells readers that no more instances will come from here; associations that stored none are no news."""
        if self._stores is None or not self._stores.stored:
            return
        how = "released" if self.is_released else "lost" if cast(ReceiverDUL, self.dul).lost else "aborted"
        try:
            self._committer.note({"kind": "association_end", "association": self.key, "how": how, "at": now_text()})
        except MedReIDError as error:
            log.error("association.end_not_journalled", association=self.key, reason=error.reason)


def _supported(offered: list[PresentationContext]) -> list[PresentationContext]:
    """Presentation contexts of ours that accept whatever ``offered`` wants stored, or verified."""
    syntaxes: dict[str, dict[str, None]] = {}
    for context in offered:
        abstract_syntax = str(context.abstract_syntax)
        if uid_to_service_class(abstract_syntax) in _SERVED:
            syntaxes.setdefault(abstract_syntax, {}).update(dict.fromkeys(context.transfer_syntax))
    return [build_context(abstract_syntax, list(offered)) for abstract_syntax, offered in syntaxes.items()]
