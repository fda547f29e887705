"""What every archive offers: see changes, fetch a study, correct whose study it is, undo that."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from config.errors import ArchiveError
from inference.types import PatientIdentity, PatientKey

# Kind of an event without a study: it only moves the cursor past changes that are no news.
PASSED = "Passed"


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """A study became new, complete or changed in the archive.

    ``cursor`` is where to go on when everything up to this event has been dealt with; several events may share one.
    """

    cursor: str
    study_uid: str
    archive_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who changes an identity and why: written into Original Attributes Sequence and the audit.

    ``source_of_previous_values`` and ``modifying_system`` are DICOM LO (64 characters);
    ``reason`` is ``CORRECT`` or ``COERCE`` (PS3.3 C.12.1.1.9). ``decision_id`` points into the ledger.
    """

    decision_id: str
    modifying_system: str
    source_of_previous_values: str = ""
    reason: str = "CORRECT"


@dataclass(frozen=True, slots=True)
class RelinkReceipt:
    """All that is needed to undo one re-link. JSON-serialisable through ``to_json``/``from_json``.

    ``inverse`` is private to the archive that wrote it (old archive ids, old identity elements, instance map).
    ``instances`` maps SOP Instance UID to the SHA-256 of its pixel data (empty text where there is none).
    """

    archive: str
    study_uid: str
    decision_id: str
    former: PatientIdentity | None
    target: PatientIdentity
    instances: Mapping[str, str]
    inverse: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RelinkReceipt:
        """Reads what :meth:`to_json` wrote.

        Raises
        ------
        ArchiveError
            for text that is no receipt (``RECEIPT_UNREADABLE``).
        """
        try:
            values = json.loads(text)
            former = values.pop("former")
            return cls(
                **values
                | {"former": None if former is None else _identity(former), "target": _identity(values["target"])}
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ArchiveError("the stored receipt of a re-link cannot be read", reason="RECEIPT_UNREADABLE") from None


def _identity(values: Mapping[str, Any]) -> PatientIdentity:
    return PatientIdentity(**{**values, "key": PatientKey(**values["key"])})


class IntentSink(Protocol):
    """Where a receipt is made durable *before* the archive changes anything (the ledger, in the node)."""

    def __call__(self, receipt: RelinkReceipt) -> None: ...


class Archive(Protocol):
    """An archive that holds studies. All methods raise :class:`config.errors.ArchiveError` or a subclass."""

    name: str

    def changes(self, since: str) -> Iterator[StudyEvent]:
        """Events after the cursor ``since`` (empty text: from the beginning), oldest first, then stops.

        Changes that the archive's own re-links caused are left out: they are no news.
        """
        ...

    def fetch(self, study_uid: str, without: Collection[str] = ()) -> Iterator[bytes]:
        """Yields every instance of the study as a DICOM Part 10 stream, but for SOP Instance UIDs in ``without``."""
        ...

    def store(self, study_uid: str, files: Iterable[Path]) -> int:
        """Adds the instances of a study; those already there are left as they are. Returns how many were new."""
        ...

    def sop_instance_uids(self, study_uid: str) -> Sequence[str]:
        """What the archive holds of a study; empty when it does not know the study."""
        ...

    def identity(self, study_uid: str) -> PatientIdentity | None:
        """The patient the archive has for the study, None when absent or without an identifier."""
        ...

    def relink(
        self,
        study_uid: str,
        to: PatientIdentity,
        provenance: Provenance,
        intent: IntentSink,
    ) -> RelinkReceipt:
        """Gives the study to ``to``: study level only, UIDs kept, verified before anything old is deleted.

        Calling it again with the same arguments finishes what an interruption left, and changes nothing
        where the study already belongs to ``to`` by the same decision.
        """
        ...

    def sweep(self, receipt: RelinkReceipt, intent: IntentSink) -> int:
        """Moves instances that arrived under the old identity after the re-link; returns how many.

        ``intent`` gets the receipt with those instances added, before anything is changed: from then on that
        one is the inverse of the re-link.
        """
        ...

    def remove(self, study_uid: str, sop_instance_uids: Collection[str]) -> int:
        """Deletes instances that the node itself had added to a study; those not there are passed over.

        Returns how many there were. Never for instances that came from elsewhere.
        """
        ...

    def undo(self, receipt: RelinkReceipt) -> None:
        """Restores the former identity elements; pixels stay byte-identical."""
        ...
