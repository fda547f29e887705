"""The door: accepts connections and lets only whole A-ASSOCIATE-RQ PDUs of admissible peers become associations.

One thread watches all waiting sockets. Silent ones, ones that speak something else, ones that promise too much and
ones that nobody allowed cost a file descriptor for a moment, never a thread.
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Thread

import structlog

from config.errors import ConfigError
from config.settings import DicomSettings
from dicom_node.counts import Counts

# 128 presentation contexts with a dozen transfer syntaxes each are 45 kB.
MAX_ASSOCIATE_BYTES = 256 * 1024
_MIN_ASSOCIATE_BYTES = 68
_HEADER = struct.Struct(">BxL")
_ACCEPTS_PER_TURN = 64
_PAUSE_WITHOUT_DESCRIPTORS = 0.05

# A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source, reason.
REJECT_NO_REASON = b"\x03\0\0\0\0\x04\0\x01\x01\x01"
REJECT_LOCAL_LIMIT = b"\x03\0\0\0\0\x04\0\x02\x03\x02"

log = structlog.get_logger()


class AllowedHosts:
    """Peer addresses that may associate; with an empty list all may.

    Raises
    ------
    ConfigError
        naming the entry that is neither an address nor a network.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                raise ConfigError(
                    f"dicom.allowed_hosts: {entry!r} is neither an IP address nor a network such as 10.1.0.0/16"
                ) from None

    def __contains__(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return not self._networks or any((mapped or address) in network for network in self._networks)


@dataclass(eq=False)
class _Waiting:
    """A connection that has not asked for an association yet."""

    sock: socket.socket
    host: str
    deadline: float
    handshake: bool
    request: bytearray = field(default_factory=bytearray)
    needed: int = _HEADER.size


class Guard:
    """Listens, and calls ``admit`` (in its own thread) with each connection and its A-ASSOCIATE-RQ.

    ``has_room`` says whether one more association may be; a peer that comes without room is rejected for now.
    """

    def __init__(
        self,
        settings: DicomSettings,
        tls: ssl.SSLContext | None,
        counts: Counts,
        has_room: Callable[[], bool],
        admit: Callable[[socket.socket, bytes], None],
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._counts = counts
        self._has_room = has_room
        self._admit = admit
        self._hosts = AllowedHosts(settings.allowed_hosts)
        self._waiting: dict[_Waiting, None] = {}
        self._listening = _listen(settings.host, settings.port)
        self.port: int = self._listening.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._stop_event = os.eventfd(0, os.EFD_CLOEXEC)
        self._selector.register(self._stop_event, selectors.EVENT_READ)
        self._thread = Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Closes the door and everything that waited before it."""
        os.eventfd_write(self._stop_event, 1)
        if self._thread.is_alive():
            self._thread.join()
        for waiting in list(self._waiting):
            self._drop(waiting)
        self._listening.close()
        self._selector.close()
        os.close(self._stop_event)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fileobj == self._stop_event:
                    return
                elif key.data in self._waiting:
                    self._advance(key.data)
            now = time.monotonic()
            for waiting in [waiting for waiting in self._waiting if waiting.deadline <= now]:
                self._drop(waiting, "SILENT_SOCKET")

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, min(waiting.deadline for waiting in self._waiting) - time.monotonic())

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors, or the peer is gone already
                self._counts.add("ACCEPT_FAILED")
                log.warning("guard.accept_failed", error=os.strerror(error.errno or 0))
                time.sleep(_PAUSE_WITHOUT_DESCRIPTORS)
                return
            if len(self._waiting) >= self._settings.max_waiting_sockets:
                # A real sender speaks at once, so who has waited longest is the least likely to be one.
                self._drop(next(iter(self._waiting)), "WAITING_ROOM_FULL")
            self._let_wait(sock, address[0])

    def _let_wait(self, sock: socket.socket, host: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:
                self._counts.add("CLOSED_EARLY")
                sock.close()
                return
        deadline = time.monotonic() + self._settings.first_byte_timeout
        waiting = _Waiting(sock, host, deadline, handshake=self._tls is not None)
        self._waiting[waiting] = None
        self._selector.register(sock, selectors.EVENT_READ, waiting)

    def _advance(self, waiting: _Waiting) -> None:
        """Takes what has come, as far as the A-ASSOCIATE-RQ goes."""
        try:
            if waiting.handshake:
                assert isinstance(waiting.sock, ssl.SSLSocket)
                waiting.sock.do_handshake()
                waiting.handshake = False
            while len(waiting.request) < waiting.needed:
                part = waiting.sock.recv(waiting.needed - len(waiting.request))
                if not part:
                    self._drop(waiting, "CLOSED_EARLY")
                    return
                waiting.request += part
                if len(waiting.request) == _HEADER.size and not self._promises_well(waiting):
                    return
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(waiting.sock, selectors.EVENT_READ, waiting)
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.sock, selectors.EVENT_WRITE, waiting)
        except OSError:
            self._drop(waiting, "TLS_REFUSED" if waiting.handshake else "CLOSED_EARLY")
        else:
            self._decide(waiting)

    def _promises_well(self, waiting: _Waiting) -> bool:
        """Whether the first PDU's header announces an A-ASSOCIATE-RQ of a sane length; drops the peer if not."""
        pdu_type, length = _HEADER.unpack(waiting.request)
        if pdu_type != 0x01 or length < _MIN_ASSOCIATE_BYTES:
            self._drop(waiting, "NOT_DICOM")
            return False
        if length > MAX_ASSOCIATE_BYTES:
            self._drop(waiting, "PDU_TOO_LONG")
            return False
        waiting.needed += length
        waiting.deadline = time.monotonic() + self._settings.network_timeout
        return True

    def _decide(self, waiting: _Waiting) -> None:
        if waiting.host not in self._hosts:
            self._reject(waiting, REJECT_NO_REASON, "HOST_REFUSED")
            return
        if not self._has_room():
            self._reject(waiting, REJECT_LOCAL_LIMIT, "TOO_MANY_ASSOCIATIONS")
            return
        self._forget(waiting)
        try:
            _make_blocking(waiting.sock, self._settings.network_timeout)
            self._admit(waiting.sock, bytes(waiting.request))
        except (OSError, RuntimeError) as error:  # the peer left meanwhile, or no thread can be started
            self._counts.add("ADMISSION_FAILED")
            log.warning("guard.admission_failed", error=type(error).__name__)
            waiting.sock.close()

    def _reject(self, waiting: _Waiting, answer: bytes, name: str) -> None:
        try:
            waiting.sock.send(answer)
        except OSError:
            pass  # ten bytes that do not fit: the peer does not read, so it loses nothing
        self._drop(waiting, name)

    def _drop(self, waiting: _Waiting, name: str = "") -> None:
        if name:
            self._counts.add(name)
        self._forget(waiting)
        waiting.sock.close()

    def _forget(self, waiting: _Waiting) -> None:
        del self._waiting[waiting]
        self._selector.unregister(waiting.sock)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on dicom.host {host!r}, dicom.port {port}: {error.strerror or error};"
            " is another node running, or is the port reserved?"
        ) from None
    listening.setblocking(False)
    return listening


def _make_blocking(sock: socket.socket, timeout: float) -> None:
    """Blocking reads and writes that fail after ``timeout`` seconds of silence.

    Plain sockets leave the waiting to the kernel: a Python timeout would make them non-blocking underneath, and
    MSG_WAITALL, which reads a whole PDU in one call, would not wait.
    """
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(timeout)
        return
    sock.setblocking(True)
    value = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
