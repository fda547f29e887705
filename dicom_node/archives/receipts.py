"""What a receipt's ``inverse`` holds, the same for both archives: everything that undoing needs but the pixels.

Prior values are nearly always the same for all instances of a study, so they are kept once and pointed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.errors import ArchiveConflictError, ArchiveError, HeaderError, MedReIDError
from dicom_node.archives.canonical import dataset_sha256
from dicom_node.archives.elements import Part10, parse, pixel_sha256
from dicom_node.archives.identity_edit import Edited, Former, apply_identity, identity_of, restore
from dicom_node.archives.protocol import Provenance, RelinkReceipt
from inference.types import PatientIdentity

PATIENT_ID = 0x00100020
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D


@dataclass
class Draft:
    """A receipt in the making: one :meth:`add` per instance."""

    archive: str
    study_uid: str
    target: PatientIdentity
    provenance: Provenance
    at: datetime
    private: Mapping[str, Any] = field(default_factory=dict)
    former: PatientIdentity | None = None
    instances: dict[str, str] = field(default_factory=dict)
    formers: list[Former] = field(default_factory=list)
    former_of: dict[str, int] = field(default_factory=dict)

    @classmethod
    def extending(cls, receipt: RelinkReceipt, at: datetime | None = None) -> Draft:
        """For instances that came later: the same target and provenance, and the same time unless told."""
        inverse = receipt.inverse
        return cls(
            receipt.archive,
            receipt.study_uid,
            receipt.target,
            provenance_of(receipt),
            at or time_of(receipt),
            inverse["private"],
            receipt.former,
            dict(receipt.instances),
            list(inverse["formers"]),
            dict(inverse["former_of"]),
        )

    def edited(self, source: Part10) -> Edited:
        return apply_identity(source, self.target, self.provenance, self.at)

    def add(self, sop_instance_uid: str, source: Part10) -> Edited:
        """Edits one object, and keeps what that replaces."""
        edited = self.edited(source)
        if not self.instances:
            self.former = identity_of(source)
        self.instances[sop_instance_uid] = pixel_sha256(source)
        if edited.former not in self.formers:
            self.formers.append(edited.former)
        self.former_of[sop_instance_uid] = self.formers.index(edited.former)
        return edited

    def receipt(self) -> RelinkReceipt:
        inverse = {
            "at": self.at.isoformat(),
            "modifying_system": self.provenance.modifying_system,
            "source_of_previous_values": self.provenance.source_of_previous_values,
            "reason": self.provenance.reason,
            "formers": [dict(former) for former in self.formers],
            "former_of": dict(self.former_of),
            "private": dict(self.private),
        }
        return RelinkReceipt(
            self.archive,
            self.study_uid,
            self.provenance.decision_id,
            self.former,
            self.target,
            dict(self.instances),
            inverse,
        )


def time_of(receipt: RelinkReceipt) -> datetime:
    return datetime.fromisoformat(receipt.inverse["at"])


def provenance_of(receipt: RelinkReceipt) -> Provenance:
    inverse = receipt.inverse
    return Provenance(
        receipt.decision_id, inverse["modifying_system"], inverse["source_of_previous_values"], inverse["reason"]
    )


def former_elements(receipt: RelinkReceipt, sop_instance_uid: str) -> Former:
    former: Former = receipt.inverse["formers"][receipt.inverse["former_of"][sop_instance_uid]]
    return former


def restored(receipt: RelinkReceipt, sop_instance_uid: str, data: bytes) -> bytes:
    """The object with its former identity.

    Raises
    ------
    ArchiveConflictError
        (``CHANGED_SINCE``) when the object is not what the re-link wrote: undoing would lose that change.
    """
    source = readable(data)
    before = restore(source, former_elements(receipt, sop_instance_uid))
    again = apply_identity(parse(before), receipt.target, provenance_of(receipt), time_of(receipt))
    if not same_content(again.data, source) or pixel_sha256(source) != receipt.instances[sop_instance_uid]:
        raise ArchiveConflictError(
            "an instance was changed after the re-link; correct the study by hand", reason="CHANGED_SINCE"
        )
    return before


def same_content(data: bytes, other: Part10) -> bool:
    return dataset_sha256(parse(data)) == dataset_sha256(other)


def readable(data: bytes) -> Part10:
    """Parses an instance; raises ArchiveError under the header's own reason."""
    try:
        return parse(data)
    except HeaderError as error:
        raise unreadable(error) from None


def unreadable(error: MedReIDError) -> ArchiveError:
    return ArchiveError(f"an instance cannot be edited: {error}", reason=error.reason)
