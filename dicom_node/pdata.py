"""P-DATA-TF PDUs, their PDVs and command sets as bytes (PS3.8 9.3.5 and E.2, PS3.7 6.3.1)."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass

P_DATA_TF = 0x04
HEADER_BYTES = 6
# A command set is some 150 bytes; a C-STORE-RQ with the longest UIDs that are kept still fits well.
MAX_COMMAND_BYTES = 16 * 1024

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
NO_DATA_SET = 0x0101

AFFECTED_SOP_CLASS_UID = 0x0002
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
AFFECTED_SOP_INSTANCE_UID = 0x1000

_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">LBB")
_ELEMENT_HEADER = struct.Struct("<HHL")
_COMMAND_BIT, _LAST_BIT = 0x01, 0x02


class ProtocolError(Exception):
    """The peer's bytes break the upper layer protocol or DIMSE; the association is aborted. ``name`` is counted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ConnectionLostError(Exception):
    """The peer closed the connection, or was silent for too long, where bytes were due. ``name`` is counted."""

    def __init__(self, name: str = "CONNECTION_LOST") -> None:
        super().__init__(name)
        self.name = name


class OtherPduError(Exception):
    """A PDU that is no P-DATA-TF came; ``start`` is what was read of it."""

    def __init__(self, start: bytes) -> None:
        super().__init__("another PDU")
        self.start = start


@dataclass(frozen=True, slots=True)
class Fragment:
    """The header of a PDV: ``length`` bytes of a command set or a data set follow."""

    context_id: int
    is_command: bool
    is_last: bool
    length: int


class PDataStream:
    """Reads PDVs off a socket, in constant memory whatever the peer calls a length.

    A PDU of one PDV costs two reads: its headers, then its data, which go straight to where the caller wants them.
    A PDU may be ``max_pdu_length`` bytes long; six more are forgiven, for peers that count its header.
    Timeouts are the socket's own. Set ``record`` to keep the PDUs as they come (for somebody else to read).
    """

    def __init__(self, sock: socket.socket, max_pdu_length: int) -> None:
        self.record: bytearray | None = None
        self.fragment_left = 0
        self._max_pdu_length = max_pdu_length + HEADER_BYTES
        self._pdu_left = 0
        self._headers = memoryview(bytearray(2 * HEADER_BYTES))
        # Inside TLS there is no waiting for all; the loops below do that.
        self._wait_for_all = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_WAITALL
        self._receive_into = sock.recv_into

    @property
    def inside_pdu(self) -> bool:
        """Whether bytes of the present PDU are still to come."""
        return self._pdu_left > 0

    def start_record(self) -> None:
        """Begins a record with the next PDV; inside a PDU it gets a header of its own for what is left of it."""
        self.record = bytearray()
        if self._pdu_left:
            self.record += _PDU_HEADER.pack(P_DATA_TF, self._pdu_left)

    def next_fragment(self) -> Fragment:
        """The next PDV's header. The data of the one before must have been read."""
        headers = self._headers
        if self._pdu_left:
            if self._pdu_left < HEADER_BYTES:
                raise ProtocolError("PDV_LENGTH")
            self._fill(headers[HEADER_BYTES:])
        else:
            self._next_pdu()
        length, context_id, control = _PDV_HEADER.unpack_from(headers, HEADER_BYTES)
        if not 2 <= length <= self._pdu_left - 4:
            raise ProtocolError("PDV_LENGTH")
        if self.record is not None:
            self.record += headers[HEADER_BYTES:]
        self._pdu_left -= HEADER_BYTES
        self.fragment_left = length - 2
        return Fragment(context_id, bool(control & _COMMAND_BIT), bool(control & _LAST_BIT), length - 2)

    def read_into(self, room: memoryview) -> int:
        """Fills ``room`` with data of the present PDV, as far as both go; returns the number of bytes."""
        count = min(self.fragment_left, len(room))
        self._fill(room[:count])
        self.fragment_left -= count
        self._pdu_left -= count
        if self.record is not None:
            self.record += room[:count]
        return count

    def finish_pdu(self, limit: int) -> None:
        """Reads the rest of the present PDU into the record."""
        if self._pdu_left > limit:
            raise ProtocolError("MESSAGE_TOO_LONG")
        self.fragment_left = self._pdu_left
        self.read_into(memoryview(bytearray(self._pdu_left)))

    def _next_pdu(self) -> None:
        """Reads the headers of a PDU and of its first PDV, in one go where both have come.

        No PDU is shorter than the two together but those that are not ours to read, and broken ones; so no more bytes
        than a PDU's header are waited for before it has been looked at.
        """
        headers = self._headers
        got = 0
        while got < HEADER_BYTES:
            got += self._receive(headers[got:], 0)
        pdu_type, length = _PDU_HEADER.unpack_from(headers)
        if pdu_type != P_DATA_TF:
            raise OtherPduError(bytes(headers[:got]))
        if length > self._max_pdu_length:
            raise ProtocolError("PDU_TOO_LONG")
        if length < HEADER_BYTES:
            raise ProtocolError("PDV_LENGTH")
        if got < len(headers):
            self._fill(headers[got:])
        if self.record is not None:
            self.record += headers[:HEADER_BYTES]
        self._pdu_left = length

    def _fill(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            done += self._receive(view[done:], self._wait_for_all)

    def _receive(self, view: memoryview, flags: int) -> int:
        try:
            got = self._receive_into(view, 0, flags)
        except (BlockingIOError, TimeoutError) as error:
            raise ConnectionLostError("STALLED") from error
        except OSError as error:  # a reset, a TLS alert
            raise ConnectionLostError from error
        if got == 0:
            raise ConnectionLostError
        return got


def decode_command(encoded: bytes) -> dict[int, bytes]:
    """Elements of a command set (group 0000, Implicit VR Little Endian): element number to value, padding included.

    Group Length is not believed. Raises ProtocolError for anything that is no command set.
    """
    values: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if offset + 8 > len(encoded):
            raise ProtocolError("COMMAND_SET")
        group, element, length = _ELEMENT_HEADER.unpack_from(encoded, offset)
        offset += 8
        if group != 0 or element in values or length > len(encoded) - offset:
            raise ProtocolError("COMMAND_SET")
        values[element] = encoded[offset : offset + length]
        offset += length
    return values


def us_value(command: dict[int, bytes], element: int) -> int:
    """A US element of a command set. Raises ProtocolError where it is absent or of another length."""
    value = command.get(element, b"")
    if len(value) != 2:
        raise ProtocolError("COMMAND_SET")
    return int.from_bytes(value, "little")


def encode_store_response(command: dict[int, bytes], status: int) -> bytes:
    """The C-STORE-RSP to a C-STORE-RQ (PS3.7 9.3.1.2); UIDs are given back as they came."""
    elements = b"".join(
        _ELEMENT_HEADER.pack(0, element, len(value)) + value
        for element, value in (
            (AFFECTED_SOP_CLASS_UID, _even(command.get(AFFECTED_SOP_CLASS_UID, b""))),
            (COMMAND_FIELD, C_STORE_RSP.to_bytes(2, "little")),
            (MESSAGE_ID_BEING_RESPONDED_TO, command[MESSAGE_ID]),
            (COMMAND_DATA_SET_TYPE, NO_DATA_SET.to_bytes(2, "little")),
            (STATUS, status.to_bytes(2, "little")),
            (AFFECTED_SOP_INSTANCE_UID, _even(command.get(AFFECTED_SOP_INSTANCE_UID, b""))),
        )
    )
    return _ELEMENT_HEADER.pack(0, 0, 4) + len(elements).to_bytes(4, "little") + elements


def encode_command_pdus(context_id: int, command: bytes, max_pdu_length: int) -> bytes:
    """P-DATA-TF PDUs of one PDV each that carry ``command`` within the peer's ``max_pdu_length`` (0: no limit)."""
    room = max(1, max_pdu_length - HEADER_BYTES) if max_pdu_length else len(command)
    pdus = bytearray()
    for start in range(0, len(command), room):
        part = command[start : start + room]
        control = _COMMAND_BIT | (_LAST_BIT if start + room >= len(command) else 0)
        pdus += _PDU_HEADER.pack(P_DATA_TF, len(part) + HEADER_BYTES)
        pdus += _PDV_HEADER.pack(len(part) + 2, context_id, control) + part
    return bytes(pdus)


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
