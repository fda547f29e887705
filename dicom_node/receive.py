"""The C-STORE service of an established association: data sets go from the socket to the spool, never decoded.

Only this path is our own, because it carries nearly every byte. Everything else a peer may send is handed, byte for
byte, to pynetdicom (see :mod:`dicom_node.association`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from config.errors import DiskFullError, HeaderError, StorageError
from dicom_node.commit import Committer
from dicom_node.counts import Counts
from dicom_node.crashpoints import crash_point
from dicom_node.incoming import IncomingObject
from dicom_node.part10 import MAX_UID_BYTES, ObjectIdentity, uid_text
from dicom_node.pdata import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MAX_COMMAND_BYTES,
    MESSAGE_ID,
    NO_DATA_SET,
    ConnectionLostError,
    PDataStream,
    ProtocolError,
    decode_command,
    encode_command_pdus,
    encode_store_response,
    us_value,
)
from dicom_node.spool import Source

# PS3.4 B.2.3 and PS3.7 C
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

BUFFER_BYTES = 272 * 1024
# Headers of fragments count too, or empty ones could go on for ever.
_MAX_RECORD_BYTES = 4 * MAX_COMMAND_BYTES


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context: its abstract and its transfer syntax."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Handover:
    """PDUs, complete and unchanged, that somebody else has to serve."""

    pdus: bytes


class StoreService:
    """Serves the C-STORE requests of one association, one message per call of :meth:`serve`."""

    def __init__(
        self,
        sock: socket.socket,
        stream: PDataStream,
        committer: Committer,
        counts: Counts,
        contexts: Mapping[int, Context],
        source: Source,
        peer_max_pdu_length: int,
    ) -> None:
        self.stored = 0
        self._sock = sock
        self._stream = stream
        self._committer = committer
        self._counts = counts
        self._contexts = contexts
        self._source = source
        self._peer_max_pdu_length = peer_max_pdu_length
        # Two, because the one may still be hashed while the other fills.
        self._buffers = [memoryview(bytearray(BUFFER_BYTES)) for _ in range(2)]

    @property
    def inside_pdu(self) -> bool:
        """Whether the next message has begun in a PDU that was read already."""
        return self._stream.inside_pdu

    def serve(self) -> Handover | None:
        """Reads the next message; answers it when it is a C-STORE-RQ and hands anything else over.

        Raises
        ------
        ProtocolError, ConnectionLostError, OtherPduError
            as :class:`PDataStream` does; nothing of an unfinished object is left then.
        """
        self._stream.start_record()
        context_id, encoded = self._read_command()
        command = decode_command(encoded)
        if us_value(command, COMMAND_FIELD) != C_STORE_RQ:
            self._stream.finish_pdu(_MAX_RECORD_BYTES)
            record, self._stream.record = self._stream.record, None
            return Handover(bytes(record or b""))
        self._stream.record = None
        crash_point("receive.command_read")
        status = self._store(context_id, command)
        try:
            self._answer(command, context_id, status)
        finally:
            self._committer.settle()
        return None

    def _answer(self, command: dict[int, bytes], context_id: int, status: int) -> None:
        response = encode_store_response(command, status)
        try:
            self._sock.sendall(encode_command_pdus(context_id, response, self._peer_max_pdu_length))
        except OSError as error:
            raise ConnectionLostError from error
        crash_point("receive.answered")

    def _read_command(self) -> tuple[int, bytes]:
        encoded = bytearray()
        context_id = None
        while True:
            fragment = self._stream.next_fragment()
            if not fragment.is_command or context_id not in (None, fragment.context_id):
                raise ProtocolError("FRAGMENT_ORDER")
            if len(encoded) + fragment.length > MAX_COMMAND_BYTES:
                raise ProtocolError("COMMAND_TOO_LONG")
            context_id = fragment.context_id
            piece = memoryview(bytearray(fragment.length))
            self._stream.read_into(piece)
            encoded += piece
            if fragment.is_last:
                return context_id, bytes(encoded)
            if len(self._stream.record or b"") > _MAX_RECORD_BYTES:
                raise ProtocolError("COMMAND_TOO_LONG")

    def _store(self, context_id: int, command: dict[int, bytes]) -> int:
        """Takes in the data set, whatever becomes of it, and returns the status to answer."""
        us_value(command, MESSAGE_ID)
        context = self._contexts.get(context_id)
        if context is None:
            raise ProtocolError("CONTEXT_NOT_ACCEPTED")
        if us_value(command, COMMAND_DATA_SET_TYPE) == NO_DATA_SET:
            return self._refuse("NO_DATA_SET", CANNOT_UNDERSTAND)
        incoming, status = self._begin(context, command)
        try:
            for piece in self._pieces(context_id):
                if status == SUCCESS and incoming is not None:
                    status = self._write(incoming, piece)
            crash_point("receive.last_fragment")
            if incoming is None or status != SUCCESS:
                return status
            finished, incoming = incoming, None
            return self._finish(finished)
        finally:
            if incoming is not None:
                incoming.discard()

    def _pieces(self, context_id: int) -> Iterator[memoryview]:
        """The data set of the present message, in long pieces that stay valid until the next but one is asked for.

        The fewer they are, the less each byte costs; but the disk should have begun before the last has come.
        """
        stream, (buffer, other), filled = self._stream, self._buffers, 0
        last = False
        while not last:
            fragment = stream.next_fragment()
            if fragment.is_command or fragment.context_id != context_id:
                raise ProtocolError("FRAGMENT_ORDER")
            last = fragment.is_last
            while stream.fragment_left:
                if filled == len(buffer):
                    yield buffer
                    (buffer, other), filled = (other, buffer), 0
                filled += stream.read_into(buffer[filled:])
            crash_point("receive.fragment")
        yield buffer[:filled]

    def _begin(self, context: Context, command: dict[int, bytes]) -> tuple[IncomingObject | None, int]:
        """Opens the object, or says with which status its data set will be refused."""
        sop_class = uid_text(command.get(AFFECTED_SOP_CLASS_UID, b""))
        sop_instance = uid_text(command.get(AFFECTED_SOP_INSTANCE_UID, b""))
        if not sop_instance or max(len(sop_instance), len(sop_class)) > MAX_UID_BYTES:
            return None, self._refuse("UID_UNUSABLE", CANNOT_UNDERSTAND)
        if sop_class != context.abstract_syntax:
            return None, self._refuse("SOP_CLASS_MISMATCH", CLASS_MISMATCH)
        identity = ObjectIdentity(sop_class, sop_instance, context.transfer_syntax)
        try:
            return self._committer.receive(identity), SUCCESS
        except (StorageError, HeaderError) as error:
            return None, self._failure(error)

    def _write(self, incoming: IncomingObject, piece: memoryview) -> int:
        try:
            incoming.write(piece)
        except StorageError as error:
            return self._failure(error)
        return SUCCESS

    def _finish(self, incoming: IncomingObject) -> int:
        try:
            self._committer.store(incoming, self._source)
        except StorageError as error:
            return self._failure(error)
        self.stored += 1
        return SUCCESS

    def _failure(self, error: StorageError | HeaderError) -> int:
        if isinstance(error, DiskFullError):
            return self._refuse(error.reason, OUT_OF_RESOURCES)
        return self._refuse(error.reason, CANNOT_UNDERSTAND if isinstance(error, HeaderError) else PROCESSING_FAILURE)

    def _refuse(self, name: str, status: int) -> int:
        self._counts.add(name)
        return status
