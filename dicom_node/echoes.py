"""Instances that come again in other bytes and are still no news: encoded anew on the way, or moved by the node itself.

Orthanc writes sequences in its own way when it sends, so what was fetched from it and what it forwards differ in bytes.
And an archive that forwards what changed sends the node its own re-links back.
"""

from __future__ import annotations

from config.errors import HeaderError, StorageError
from dicom_node.archives.canonical import dataset_sha256
from dicom_node.archives.elements import Part10, parse, pixel_sha256
from dicom_node.archives.protocol import RelinkReceipt
from dicom_node.identity import clean
from dicom_node.ledger import Ledger
from dicom_node.spool import Spool
from inference.types import InstanceHeader


class Echoes:
    """Tells an object that says nothing new from one that somebody changed.

    What it read of the ledger stays: one of these serves a batch of instances, not a process.
    """

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool
        self._receipts: dict[str, tuple[RelinkReceipt, ...]] = {}

    def is_echo(self, header: InstanceHeader, sha256: str) -> bool:
        """Whether the object is, element by element, the one in force under its UID, or one that the node made itself:
        by a re-link, or as evidence of one.

        A re-link's copy is known by its patient and its pixels: the archive may have written the rest as it likes.
        """
        if self._ledger.is_evidence_object(header.sop_instance_uid):
            return True
        in_force = self._ledger.object_in_force(header.sop_instance_uid)
        if in_force is None or in_force == sha256:
            return False
        try:
            came = parse(header.path.read_bytes())
            known = parse(self._spool.path(in_force).read_bytes())
            return dataset_sha256(came) == dataset_sha256(known) or self._is_moved(header, came)
        except (OSError, HeaderError, StorageError):
            return False

    def _is_moved(self, header: InstanceHeader, came: Part10) -> bool:
        pixels = pixel_sha256(came)
        return any(
            receipt.instances.get(header.sop_instance_uid) == pixels and _patient_id(header) in _ids(receipt)
            for receipt in self._receipts_of(header.study_uid)
        )

    def _receipts_of(self, study_uid: str) -> tuple[RelinkReceipt, ...]:
        if study_uid not in self._receipts:
            relinks = self._ledger.relinks(study_uid=study_uid)
            self._receipts[study_uid] = tuple(RelinkReceipt.from_json(relink.receipt) for relink in relinks)
        return self._receipts[study_uid]


def _patient_id(header: InstanceHeader) -> str:
    return clean(str(header.attributes.get("PatientID") or ""))


def _ids(receipt: RelinkReceipt) -> tuple[str, str]:
    return receipt.target.key.id, receipt.former.key.id if receipt.former else ""
