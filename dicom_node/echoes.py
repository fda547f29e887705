"""Our own re-links that come back: an archive that forwards what changed sends the node its own handiwork."""

from __future__ import annotations

from config.errors import HeaderError
from dicom_node.archives.elements import parse, pixel_sha256
from dicom_node.archives.protocol import RelinkReceipt
from dicom_node.identity import clean
from dicom_node.ledger import Ledger
from inference.types import InstanceHeader


class Echoes:
    """Tells an instance that a re-link or its undo rewrote from one that somebody else changed.

    Receipts are read once per study: one of these serves a batch of instances, not a process.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[RelinkReceipt, ...]] = {}

    def is_echo(self, header: InstanceHeader) -> bool:
        """Whether the object is an image that the node moved, under the identity it moved it to, or back to.

        Everything else about it may be encoded anew: archives write sequences as they like. Its pixels are compared.
        """
        for receipt in self._receipts(header.study_uid):
            pixels = receipt.instances.get(header.sop_instance_uid)
            if pixels is None or _patient_id(header) not in _ids(receipt):
                continue
            try:
                if pixel_sha256(parse(header.path.read_bytes())) == pixels:
                    return True
            except (OSError, HeaderError):
                return False
        return False

    def _receipts(self, study_uid: str) -> tuple[RelinkReceipt, ...]:
        if study_uid not in self._known:
            relinks = self._ledger.relinks(study_uid=study_uid)
            self._known[study_uid] = tuple(RelinkReceipt.from_json(relink.receipt) for relink in relinks)
        return self._known[study_uid]


def _patient_id(header: InstanceHeader) -> str:
    return clean(str(header.attributes.get("PatientID") or ""))


def _ids(receipt: RelinkReceipt) -> tuple[str, str]:
    return receipt.target.key.id, receipt.former.key.id if receipt.former else ""
