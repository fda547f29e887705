"""A Storage SCU: DICOM files to a peer, each association with just the presentation contexts that it needs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from config.errors import StorageError

# An association may propose 128 presentation contexts (PS3.8 9.3.2.2).
_MAX_CONTEXTS = 128
# A receiver that answers only when the object is durable may have to wait for a busy disk.
_ANSWER_SECONDS = 300.0


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
    _send_at_once(association)
    try:
        for number, path in enumerate(files):
            status = association.send_c_store(path)
            code = status.get("Status") if status else None
            if code != 0x0000:
                shown = "no answer" if code is None else f"0x{code:04X}"
                raise StorageError(f"{called_ae} answered {shown} to object {number + 1} of {len(files)}")
            progress(1)
    finally:
        association.release()
    return len(files)


def _send_at_once(association: Any) -> None:
    """A command set and the data set after it are two writes: with Nagle's algorithm the second waits 40 ms for the
    acknowledgement that the peer delays."""
    connection = association.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _context(path: Path) -> tuple[str, str]:
    from pydicom import dcmread

    meta = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
