"""A Storage SCU: DICOM files to a peer, each association with just the presentation contexts that it needs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from config.errors import StorageError
from dicom_node.part10 import MAX_META_BYTES, PREAMBLE, split_header

# An association may propose 128 presentation contexts (PS3.8 9.3.2.2).
_MAX_CONTEXTS = 128
# A receiver that answers only when the object is durable may have to wait for a busy disk.
_ANSWER_SECONDS = 300.0
_PARKED_LOOKS, _PARKING_SECONDS = 20, 30.0
_HEADER_BYTES = len(PREAMBLE) + MAX_META_BYTES


def send_files(
    files: Sequence[Path],
    host: str,
    port: int,
    *,
    called_ae: str,
    calling_ae: str = "MEDREIDSCU",
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Sends files over one association; returns how many the peer acknowledged with Success.

    Raises
    ------
    StorageError
        when the peer does not accept the association, or a file's presentation context or its object.
    """
    from pynetdicom import AE

    contexts = sorted({_context(path) for path in files})
    if len(contexts) > _MAX_CONTEXTS:
        raise StorageError(
            f"{len(contexts)} kinds of objects do not fit into one association; send fewer files at once"
        )
    entity = AE(calling_ae)
    entity.dimse_timeout = entity.network_timeout = _ANSWER_SECONDS
    for sop_class, transfer_syntax in contexts:
        entity.add_requested_context(sop_class, transfer_syntax)
    association = entity.associate(host, port, ae_title=called_ae, max_pdu=0)
    if not association.is_established:
        raise StorageError(f"{called_ae} at {host}:{port} did not accept the association", reason="NO_ASSOCIATION")
    try:
        _send_at_once(association)
        _park_reactor(association)
        for number, path in enumerate(files):
            code = _store(association, path, number % 0xFFFF + 1)
            if code != 0x0000:
                shown = "no answer" if code is None else f"0x{code:04X}"
                raise StorageError(f"{called_ae} answered {shown} to object {number + 1} of {len(files)}")
            progress(1)
    finally:
        association._reactor_checkpoint.set()
        association.release()
    return len(files)


def _store(association: Any, path: Path, message_id: int) -> int | None:
    """Sends one file's data set as it is; returns the status of the answer, None when there is none."""
    from pynetdicom.dimse_primitives import C_STORE

    data = path.read_bytes()
    identity, offset = split_header(data)
    accepted = [
        context.context_id
        for context in association.accepted_contexts
        if (context.abstract_syntax, context.transfer_syntax[0])
        == (identity.sop_class_uid, identity.transfer_syntax_uid)
    ]
    if not accepted:
        raise StorageError("the peer does not accept what a file holds", reason="NO_CONTEXT")
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0x0002
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = identity.sop_class_uid, identity.sop_instance_uid
    request.DataSet = BytesIO(data[offset:])
    association.dimse.send_msg(request, accepted[0])
    _, answer = association.dimse.get_msg(block=True)
    return None if answer is None else answer.Status


def _park_reactor(association: Any) -> None:
    """Stops pynetdicom's reactor for as long as we send.

    ``send_c_store`` parks it anew for every message, and believes it parked when it is only about to be: on a busy
    machine it then takes an answer off the queue that was meant for us, some once in five thousand times.
    """
    association._reactor_checkpoint.clear()
    deadline = time.monotonic() + _PARKING_SECONDS
    seen_parked = 0
    while seen_parked < _PARKED_LOOKS:
        if not association.is_established or time.monotonic() > deadline:
            raise StorageError("the peer ended the association before anything was sent", reason="NO_ASSOCIATION")
        time.sleep(0.002)
        seen_parked = seen_parked + 1 if association._is_paused else 0


def _send_at_once(association: Any) -> None:
    """A command set and the data set after it are two writes: with Nagle's algorithm the second waits 40 ms for the
    acknowledgement that the peer delays."""
    connection = association.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _context(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        identity, _ = split_header(file.read(_HEADER_BYTES))
    return identity.sop_class_uid, identity.transfer_syntax_uid
