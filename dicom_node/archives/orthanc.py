"""Orthanc as the archive: studies are corrected through its REST API, one study at a time, never a patient.

A re-link makes verified copies under the target patient and only then deletes the originals, instance by instance.
Whatever interrupts it, every instance exists at least once, and the same call finishes it. Works with Orthanc 1.9.7
and later; what those versions do when they are asked plainly stands in ``tests/archives/test_orthanc_itself.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from config.errors import ArchiveConflictError, ArchiveUnavailableError, HeaderError, RelinkRefusedError
from config.settings import ArchiveSettings
from dicom_node.archives.canonical import dataset_sha256
from dicom_node.archives.elements import parse
from dicom_node.archives.identity_edit import Edited, check_target, identity_of
from dicom_node.archives.orthanc_copy import (
    Filling,
    await_modifications,
    bulk_modify,
    copy_annotations,
    fill,
    replacement,
)
from dicom_node.archives.orthanc_feed import changes
from dicom_node.archives.orthanc_guards import check_quiet, check_target_patient
from dicom_node.archives.orthanc_http import MissingError, OrthancRest
from dicom_node.archives.orthanc_study import (
    COPIED,
    DONE,
    MARK,
    PENDING,
    RECEIPT,
    UNDOING,
    UNDONE,
    Copy,
    Mark,
    copies,
    digest_of,
    put_mark,
)
from dicom_node.archives.protocol import IntentSink, Provenance, RelinkReceipt, StudyEvent
from dicom_node.archives.receipts import SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Draft, readable, restored, unreadable
from dicom_node.crashpoints import crash_point
from inference.types import PatientIdentity


class OrthancArchive:
    """:class:`dicom_node.archives.protocol.Archive` over Orthanc's REST API."""

    name = "orthanc"

    def __init__(
        self, rest: OrthancRest, quiet_seconds: float = 0.0, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._rest = rest
        self._quiet_seconds = quiet_seconds
        self._now = now

    @classmethod
    def from_settings(cls, settings: ArchiveSettings) -> OrthancArchive:
        rest = OrthancRest(settings.url, settings.user, settings.password_file, settings.timeout_seconds)
        return cls(rest, settings.quiet_seconds)

    def close(self) -> None:
        self._rest.close()

    def changes(self, since: str) -> Iterator[StudyEvent]:
        yield from changes(self._rest, since)

    def fetch(self, study_uid: str, without: Collection[str] = ()) -> Iterator[bytes]:
        seen = set(without)
        # Where a move is under way, what is not yet moved is what the study still is.
        for copy in sorted(copies(self._rest, study_uid), key=lambda copy: copy.mark is not None):
            for uid, instance in copy.instances.items():
                if uid not in seen:
                    seen.add(uid)
                    try:
                        yield self._rest.file(instance)
                    except MissingError:  # deleted, or moved, since it was listed
                        continue

    def store(self, study_uid: str, files: Iterable[Path]) -> int:
        present = set(self.sop_instance_uids(study_uid))
        stored = 0
        for path in files:
            data = path.read_bytes()
            source = readable(data)
            if source.text(STUDY_INSTANCE_UID) != study_uid:
                raise ArchiveConflictError("an instance belongs to another study", reason="OTHER_STUDY")
            uid = source.text(SOP_INSTANCE_UID)
            if uid not in present:
                present.add(uid)
                stored += self._rest.upload(data)["Status"] == "Success"
        return stored

    def remove(self, study_uid: str, sop_instance_uids: Collection[str]) -> int:
        doomed = [
            instance
            for copy in copies(self._rest, study_uid)
            for uid, instance in copy.instances.items()
            if uid in sop_instance_uids
        ]
        if doomed:
            self._rest.bulk_delete(doomed)
        return len(doomed)

    def sop_instance_uids(self, study_uid: str) -> Sequence[str]:
        found = copies(self._rest, study_uid)
        return tuple(dict.fromkeys(uid for copy in found for uid in copy.instances))

    def identity(self, study_uid: str) -> PatientIdentity | None:
        found = copies(self._rest, study_uid)
        if len(found) > 1:
            found = [copy for copy in found if copy.mark and copy.mark.state in (DONE, PENDING, UNDOING)][:1]
            if not found:
                raise _two_copies()
        if not found:
            return None
        return identity_of(readable(self._rest.file(next(iter(found[0].instances.values())))))

    def relink(self, study_uid: str, to: PatientIdentity, provenance: Provenance, intent: IntentSink) -> RelinkReceipt:
        with _changing():
            return self._relink(study_uid, to, provenance, intent)

    def sweep(self, receipt: RelinkReceipt, intent: IntentSink) -> int:
        with _changing():
            return self._sweep(receipt, intent)

    def undo(self, receipt: RelinkReceipt) -> None:
        with _changing():
            self._undo(receipt)

    def _relink(self, study_uid: str, to: PatientIdentity, provenance: Provenance, intent: IntentSink) -> RelinkReceipt:
        check_target(to)
        found = self._settled(study_uid)
        target = _with_patient(found, to.key.id)
        if target is not None and _is(target, provenance.decision_id, COPIED, DONE):
            return self._finish(target, found)
        source = _source(found, target, provenance.decision_id)
        resumed = source.mark is not None and source.mark.state == PENDING
        if not resumed:
            check_quiet(self._rest, source, self._quiet_seconds)
            check_target_patient(self._rest, to)
        at = datetime.fromisoformat(source.mark.at) if resumed and source.mark else self._now()
        private = {"source": source.id, "former_patient_id": source.patient_id}
        draft = Draft(self.name, study_uid, to, provenance, at, private)
        edited, digests = self._edit_all(draft, source.instances)
        receipt = draft.receipt()
        intent(receipt)
        crash_point("relink.intended")
        put_mark(self._rest, source.id, Mark(provenance.decision_id, PENDING, at.isoformat()))
        crash_point("relink.marked")
        same_for_all = replacement(edited) if edited and target is None and len(draft.formers) == 1 else None
        if same_for_all is not None:
            bulk_modify(self._rest, source.id, same_for_all)
            crash_point("relink.bulk_modified")
        target = self._copy(draft, source, receipt, digests, ours=True)
        return self._finish(target, [source, target], verified=True)

    def _sweep(self, receipt: RelinkReceipt, intent: IntentSink) -> int:
        found = copies(self._rest, receipt.study_uid)
        target = _with_patient(found, receipt.target.key.id)
        if target is None or not _is(target, receipt.decision_id, COPIED, DONE):
            return 0
        stored = self._finish(target, found)
        late = self._read(stored.inverse["private"]["source"], receipt.study_uid)
        if late is None:
            return 0
        draft = Draft.extending(stored)
        movable = self._movable(draft, late, target)
        if movable.instances:
            fresh = {uid: one for uid, one in movable.instances.items() if uid not in stored.instances}
            _, digests = self._edit_all(draft, fresh)
            extended = draft.receipt()
            intent(extended)
            put_mark(self._rest, late.id, Mark(receipt.decision_id, PENDING, draft.at.isoformat()))
            crash_point("sweep.marked")
            target = self._copy(draft, movable, extended, digests, ours=False)
            self._finish(target, [movable, target], verified=True)
        if len(movable.instances) < len(late.instances):
            raise ArchiveConflictError(
                "an instance came again after the re-link with other content; both are kept",
                reason="LATE_OTHER_CONTENT",
            )
        return len(movable.instances)

    def _undo(self, receipt: RelinkReceipt) -> None:
        found = self._settled(receipt.study_uid)
        private = receipt.inverse["private"]
        former = next((copy for copy in found if copy.id == private["source"]), None)
        linked = _with_patient(found, receipt.target.key.id)
        if linked is None or not _is(linked, receipt.decision_id, COPIED, DONE, UNDOING):
            self._undo_unfinished(receipt, former, linked)
            return
        stored = self._receipt(linked, receipt)
        moved = {uid: instance for uid, instance in linked.instances.items() if uid in stored.instances}
        put_mark(self._rest, linked.id, Mark(receipt.decision_id, UNDOING, "", digest_of(stored.instances)))
        crash_point("undo.marked")
        present = former.instances if former else {}
        made = fill(self._rest, Filling(moved, lambda uid, data: restored(stored, uid, data), present))
        crash_point("undo.copied")
        if made:
            former = self._copy_of(made, receipt.study_uid)
            copy_annotations(self._rest, linked, former)
            put_mark(self._rest, former.id, _undone(receipt, stored.instances))
            crash_point("undo.marked_undone")
            self._rest.bulk_delete(list(moved.values()))
            crash_point("undo.deleted")
        self._unmark_rest(linked, receipt.study_uid)

    def _settled(self, study_uid: str) -> list[Copy]:
        """What Orthanc holds of the study once no interrupted move of it is still working there."""
        found = copies(self._rest, study_uid)
        if any(copy.mark is not None and copy.mark.state == PENDING for copy in found):
            await_modifications(self._rest)
            found = copies(self._rest, study_uid)
        return found

    def _undo_unfinished(self, receipt: RelinkReceipt, former: Copy | None, linked: Copy | None) -> None:
        """Nothing under the target is marked: the re-link never got that far, or was undone before."""
        if former is not None and _is(former, receipt.decision_id, UNDONE):
            return
        if former is not None and former.mark is not None and _is(former, receipt.decision_id, PENDING):
            draft = Draft.extending(receipt, at=datetime.fromisoformat(former.mark.at))
            made = {} if linked is None else self._movable(draft, former, linked).instances
            if linked is not None:
                self._rest.bulk_delete([one for uid, one in linked.instances.items() if uid in made])
            put_mark(self._rest, former.id, _undone(receipt, former.instances))
            return
        if former is not None and former.mark is None and linked is None:
            # Only the intent had been made; the mark keeps a straggler from acting on it after all.
            put_mark(self._rest, former.id, _undone(receipt, former.instances))
            return
        raise ArchiveConflictError(
            "the study is not as the re-link left it; correct it by hand in the archive", reason="CHANGED_SINCE"
        )

    def _edit_all(self, draft: Draft, instances: Mapping[str, str]) -> tuple[Edited | None, dict[str, str]]:
        """Reads instances into the draft; returns the last edit, and what the content of each has to become."""
        edited, digests = None, {}
        for uid, instance in instances.items():
            try:
                edited = draft.add(uid, readable(self._rest.file(instance)))
            except HeaderError as error:
                raise unreadable(error) from None
            digests[uid] = dataset_sha256(parse(edited.data))
        return edited, digests

    def _movable(self, draft: Draft, late: Copy, target: Copy) -> Copy:
        """``late`` without instances that the target has with other content."""
        kept = {}
        for uid, instance in late.instances.items():
            there = target.instances.get(uid)
            if there is None or self._corrected_digest(draft, instance) == self._digest(there):
                kept[uid] = instance
        return replace(late, instances=kept)

    def _corrected_digest(self, draft: Draft, instance: str) -> str:
        try:
            return dataset_sha256(parse(draft.edited(readable(self._rest.file(instance))).data))
        except HeaderError as error:
            raise unreadable(error) from None

    def _digest(self, instance: str) -> str:
        return dataset_sha256(readable(self._rest.file(instance)))

    def _copy(
        self, draft: Draft, source: Copy, receipt: RelinkReceipt, digests: Mapping[str, str], *, ours: bool
    ) -> Copy:
        """Every instance of ``source`` under the target, verified, with what hung on it, the receipt and the mark."""
        found = copies(self._rest, draft.study_uid)
        target = _with_patient(found, draft.target.key.id)

        def produce(_: str, data: bytes) -> bytes:
            return draft.edited(readable(data)).data

        present = target.instances if target else {}
        try:
            made = fill(self._rest, Filling(source.instances, produce, present, digests, ours))
        except MissingError:
            raise
        except ArchiveConflictError:
            self._rest.delete_metadata(source.path, MARK)
            raise
        crash_point("relink.copied")
        target = self._copy_of(made, draft.study_uid)
        copy_annotations(self._rest, source, target)
        self._rest.put_attachment(target.path, RECEIPT, receipt.to_json().encode("utf-8"))
        mark = Mark(draft.provenance.decision_id, COPIED, draft.at.isoformat(), digest_of(receipt.instances))
        put_mark(self._rest, target.id, mark)
        crash_point("relink.marked_copied")
        return replace(target, mark=mark)

    def _finish(self, target: Copy, found: Iterable[Copy], *, verified: bool = False) -> RelinkReceipt:
        """Deletes the originals of a complete copy, and marks it as done."""
        receipt = self._receipt(target)
        if target.mark is None or target.mark.state == DONE:
            return receipt
        source = next((copy for copy in found if copy.id == receipt.inverse["private"]["source"]), None)
        if source is not None and (verified or _is(source, receipt.decision_id, PENDING)):
            if not verified:
                source = self._movable(Draft.extending(receipt), source, target)
            doomed = [one for uid, one in source.instances.items() if uid in target.instances]
            self._rest.bulk_delete(doomed)
            crash_point("relink.deleted")
            self._unmark_rest(source, receipt.study_uid)
        put_mark(self._rest, target.id, replace(target.mark, state=DONE))
        crash_point("relink.done")
        return receipt

    def _unmark_rest(self, copy: Copy, study_uid: str) -> None:
        """What came into a study while it was being moved stays there, as news."""
        if self._read(copy.id, study_uid) is not None:
            self._rest.delete_metadata(copy.path, MARK)

    def _read(self, study: str, study_uid: str) -> Copy | None:
        return next((copy for copy in copies(self._rest, study_uid) if copy.id == study), None)

    def _copy_of(self, made: Mapping[str, str], study_uid: str) -> Copy:
        one = next(iter(made.values()))
        for copy in copies(self._rest, study_uid):
            if one in copy.instances.values():
                return copy
        raise ArchiveUnavailableError("a corrected copy is gone from the archive again", reason="STUDY_CHANGED")

    def _receipt(self, copy: Copy, known: RelinkReceipt | None = None) -> RelinkReceipt:
        """The receipt as it is kept beside the study: it knows of late instances, too."""
        try:
            return RelinkReceipt.from_json(self._rest.attachment(copy.path, RECEIPT).decode("utf-8", "replace"))
        except MissingError:
            if known is not None:
                return known
            raise ArchiveConflictError(
                f"attachment {RECEIPT}, the receipt, is gone from a linked study", reason="RECEIPT_GONE"
            ) from None


@contextlib.contextmanager
def _changing() -> Iterator[None]:
    """What is deleted by somebody else between two of our calls is looked at again, from the beginning."""
    try:
        yield
    except MissingError:
        raise ArchiveUnavailableError("the study changed while it was being moved", reason="STUDY_CHANGED") from None


def _with_patient(found: Iterable[Copy], patient_id: str) -> Copy | None:
    return next((copy for copy in found if copy.patient_id == patient_id), None)


def _is(copy: Copy, decision_id: str, *states: str) -> bool:
    return copy.mark is not None and copy.mark.decision_id == decision_id and copy.mark.state in states


def _undone(receipt: RelinkReceipt, sop_instance_uids: Iterable[str]) -> Mark:
    return Mark(receipt.decision_id, UNDONE, "", digest_of(sop_instance_uids))


def _source(found: Sequence[Copy], target: Copy | None, decision_id: str) -> Copy:
    """The one Orthanc study to move; refuses every situation in which it is not plain which one that is."""
    sources = [copy for copy in found if copy is not target]
    if not found:
        raise ArchiveConflictError("the archive does not hold the study", reason="UNKNOWN_STUDY")
    for copy in found:
        if _is(copy, decision_id, UNDOING, UNDONE):
            raise RelinkRefusedError("this decision was undone; decide anew", reason="DECISION_UNDONE")
        if copy.mark is not None and copy.mark.decision_id != decision_id and copy.mark.state != UNDONE:
            raise RelinkRefusedError("another decision has linked the study; undo that first", reason="ALREADY_LINKED")
    if not sources:
        raise RelinkRefusedError("the study already has the target's Patient ID", reason="SAME_PATIENT_ID")
    if len(sources) > 1 or (target is not None and not _is(sources[0], decision_id, PENDING)):
        raise _two_copies()
    return sources[0]


def _two_copies() -> ArchiveConflictError:
    return ArchiveConflictError(
        "the archive holds the study under several patients; correct that by hand first", reason="TWO_COPIES"
    )
