"""A scripted peer that speaks bytes: every PDU, also those that no toolkit would send."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"
ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"
COMMAND, DATA, COMMAND_LAST, DATA_LAST = 1, 0, 3, 2


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; ``length`` may lie."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def associate_rq(
    contexts: Sequence[tuple[int, str, Sequence[str]]],
    called: str = "MEDREID",
    calling: str = "RAW",
    max_pdu: int = 0,
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) for contexts of (id, abstract syntax, transfer syntaxes)."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, transfers in contexts:
        body = bytes([number, 0, 0, 0]) + _item(0x30, abstract.encode())
        items += _item(0x20, body + b"".join(_item(0x40, transfer.encode()) for transfer in transfers))
    items += _item(0x50, _item(0x51, struct.pack(">L", max_pdu)) + _item(0x52, b"1.2.3.4"))
    return pdu(1, struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode()) + items)


def pdv(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """A PDV item; ``length`` may lie."""
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context_id, control) + data


def p_data(*pdvs: bytes, length: int | None = None) -> bytes:
    return pdu(4, b"".join(pdvs), length)


def element(number: int, value: bytes) -> bytes:
    """An element of a command set, padded to even length."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def us(value: int) -> bytes:
    return value.to_bytes(2, "little")


def store_rq(
    sop_class: bytes | str = CT,
    sop_instance: bytes | str = "1.2.3",
    message_id: int = 1,
    data_set: int = 1,
    group_length: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A C-STORE-RQ command set; text is encoded, bytes go as they are."""
    sop_class = sop_class.encode() if isinstance(sop_class, str) else sop_class
    sop_instance = sop_instance.encode() if isinstance(sop_instance, str) else sop_instance
    body = (
        element(0x0002, sop_class)
        + element(0x0100, us(0x0001))
        + element(0x0110, us(message_id))
        + element(0x0700, us(2))
        + element(0x0800, us(data_set))
        + element(0x1000, sop_instance)
        + more
    )
    length = len(body) if group_length is None else group_length
    return element(0x0000, length.to_bytes(4, "little")) + body


def echo_rq(message_id: int = 7) -> bytes:
    body = (
        element(0x0002, VERIFICATION.encode())
        + element(0x0100, us(0x0030))
        + element(0x0110, us(message_id))
        + element(0x0800, us(0x0101))
    )
    return element(0x0000, len(body).to_bytes(4, "little")) + body


def command_values(encoded: bytes) -> dict[int, bytes]:
    """Elements of a well-formed command set."""
    values: dict[int, bytes] = {}
    while encoded:
        _, number, length = struct.unpack_from("<HHL", encoded)
        values[number] = encoded[8 : 8 + length]
        encoded = encoded[8 + length :]
    return values


class RawPeer:
    """A connection to a receiver. Reading raises TimeoutError after ``timeout`` seconds without an answer."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, timeout: float = 20.0) -> None:
        self.sock: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes, fewer where the connection ends."""
        data = b""
        while len(data) < count:
            try:
                part = self.sock.recv(count - len(data))
            except ConnectionError:
                break
            if not part:
                break
            data += part
        return data

    def read_pdu(self) -> tuple[int, bytes] | None:
        """The next PDU as (type, body); None where the connection ended."""
        header = self.read(6)
        if len(header) < 6:
            return None
        kind, length = struct.unpack(">BxL", header)
        return kind, self.read(length)

    def associate(
        self,
        contexts: Sequence[tuple[int, str, Sequence[str]]] = ((1, CT, [EXPLICIT_LE]), (3, VERIFICATION, [IMPLICIT_LE])),
        called: str = "MEDREID",
        calling: str = "RAW",
        max_pdu: int = 0,
    ) -> int:
        """Asks for an association; returns the answer's PDU type (2 accepted, 3 rejected)."""
        self.send(associate_rq(contexts, called, calling, max_pdu))
        answer = self.read_pdu()
        assert answer is not None, "no answer to the association request"
        self.answer = answer[1]
        return answer[0]

    def read_command(self) -> dict[int, bytes]:
        """The next command set, joined from however many PDUs."""
        encoded = b""
        while True:
            answer = self.read_pdu()
            assert answer is not None and answer[0] == 4, f"no P-DATA-TF but {answer!r}"
            body = answer[1]
            while body:
                (length,) = struct.unpack_from(">L", body)
                control, part, body = body[5], body[6 : 4 + length], body[4 + length :]
                encoded += part
                if control == COMMAND_LAST:
                    assert not body
                    return command_values(encoded)

    def status(self) -> int:
        """The status of the next response."""
        return int.from_bytes(self.read_command()[0x0900], "little")

    def store(self, data: bytes, command: bytes | None = None, context_id: int = 1) -> int:
        """Sends one object in the plainest way and returns the status."""
        self.send(
            p_data(pdv(context_id, COMMAND_LAST, store_rq() if command is None else command)),
            *data_pdus(data, context_id),
        )
        return self.status()

    def release(self) -> None:
        """Releases the association and sees that the peer agrees and hangs up."""
        self.send(RELEASE_RQ)
        answer = self.read_pdu()
        assert answer is not None and answer[0] == 6, f"no A-RELEASE-RP but {answer!r}"
        assert self.read(1) == b""

    def expect_abort(self) -> None:
        """Sees that the peer aborts, or has gone without a word, rather than answering."""
        answer = self.read_pdu()
        assert answer is None or answer[0] == 7, f"no abort but {answer!r}"


def data_pdus(data: bytes, context_id: int = 1, size: int = 16_000) -> Iterable[bytes]:
    """P-DATA-TF PDUs with one PDV each that carry ``data``."""
    for start in range(0, max(1, len(data)), size):
        last = start + size >= len(data)
        yield p_data(pdv(context_id, DATA_LAST if last else DATA, data[start : start + size]))
