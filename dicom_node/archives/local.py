"""The embedded archive: the node's own study store, for sites and demonstrations without a PACS of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from config.errors import ArchiveConflictError, ArchiveError, HeaderError, RelinkRefusedError
from dicom_node.archives.elements import Part10, parse, pixel_sha256
from dicom_node.archives.identity_edit import check_target, identity_of
from dicom_node.archives.protocol import IntentSink, Provenance, RelinkReceipt, StudyEvent
from dicom_node.archives.receipts import (
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Draft,
    readable,
    restored,
    unreadable,
)
from dicom_node.archives.shelf import Entry, Manifest, Shelf
from dicom_node.crashpoints import crash_point
from inference.types import PatientIdentity, PatientKey

DONE, UNDONE = "DONE", "UNDONE"


class LocalArchive:
    """:class:`dicom_node.archives.protocol.Archive` in a folder; safe for several processes at once."""

    name = "local"

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._shelf = Shelf(folder)
        self._now = now

    def changes(self, since: str) -> Iterator[StudyEvent]:
        yield from self._shelf.events(since)

    def fetch(self, study_uid: str, without: Collection[str] = ()) -> Iterator[bytes]:
        manifest = self._shelf.load(study_uid)
        for uid, entry in manifest.instances.items() if manifest else ():
            if uid not in without:
                yield self._shelf.read(entry.file)

    def store(self, study_uid: str, files: Iterable[Path]) -> int:
        with self._shelf.locked():
            manifest = self._shelf.load(study_uid) or Manifest(study_uid)
            new: dict[str, tuple[Path, Entry]] = {}
            identity = manifest.identity
            for path in files:
                data = path.read_bytes()
                source = _checked(data, study_uid)
                uid = source.text(SOP_INSTANCE_UID)
                if uid in manifest.instances or uid in new:
                    continue
                if not manifest.instances and not new:
                    identity = _plain(identity_of(source))
                new[uid] = path, Entry(_sha256(data), pixel_sha256(source))
            if not new:
                return 0
            note = self._shelf.begin(study_uid, "StudyChanged", (entry.file for _, entry in new.values()))
            for path, entry in new.values():
                self._shelf.link(path, entry.file)
            manifest.identity = identity
            manifest.instances.update({uid: entry for uid, (_, entry) in new.items()})
            self._shelf.commit(manifest, note)
            return len(new)

    def remove(self, study_uid: str, sop_instance_uids: Collection[str]) -> int:
        with self._shelf.locked():
            manifest = self._shelf.load(study_uid)
            doomed = [uid for uid in sop_instance_uids if manifest is not None and uid in manifest.instances]
            if manifest is None or not doomed:
                return 0
            note = self._shelf.begin(study_uid, "", (manifest.instances[uid].file for uid in doomed))
            for uid in doomed:
                del manifest.instances[uid]
            self._shelf.commit(manifest, note)
            return len(doomed)

    def sop_instance_uids(self, study_uid: str) -> Sequence[str]:
        manifest = self._shelf.load(study_uid)
        return tuple(manifest.instances) if manifest else ()

    def identity(self, study_uid: str) -> PatientIdentity | None:
        manifest = self._shelf.load(study_uid)
        if manifest is None or manifest.identity is None:
            return None
        return PatientIdentity(**{**manifest.identity, "key": PatientKey(**manifest.identity["key"])})

    def relink(self, study_uid: str, to: PatientIdentity, provenance: Provenance, intent: IntentSink) -> RelinkReceipt:
        check_target(to)
        with self._shelf.locked():
            manifest = self._shelf.load(study_uid)
            if manifest is None:
                raise ArchiveConflictError("the archive does not hold the study", reason="UNKNOWN_STUDY")
            finished = _finished(manifest, provenance.decision_id)
            if finished is not None:
                return finished
            draft = Draft(self.name, study_uid, to, provenance, self._now())
            return self._relink(manifest, draft, list(manifest.instances), intent)

    def sweep(self, receipt: RelinkReceipt, intent: IntentSink) -> int:
        with self._shelf.locked():
            manifest = self._shelf.load(receipt.study_uid)
            if manifest is None or manifest.state != DONE:
                return 0
            stored = RelinkReceipt.from_json(manifest.relink)
            if stored.decision_id != receipt.decision_id:
                return 0
            late = [uid for uid, entry in manifest.instances.items() if not entry.decision]
            late = [uid for uid in late if self._came_as(manifest, uid, stored.former)]
            if not late:
                return 0
            self._relink(manifest, Draft.extending(stored), late, intent)
            return len(late)

    def undo(self, receipt: RelinkReceipt) -> None:
        with self._shelf.locked():
            manifest = self._shelf.load(receipt.study_uid)
            if manifest is None:
                raise ArchiveConflictError("the archive does not hold the study", reason="UNKNOWN_STUDY")
            if not manifest.relink:
                # Only the intent had been made; the state keeps a straggler from acting on it after all.
                self._replace(manifest, {}, self._shelf.read, "", receipt, UNDONE)
                return
            stored = RelinkReceipt.from_json(manifest.relink)
            if stored.decision_id != receipt.decision_id:
                raise ArchiveConflictError("the study was linked by another decision since", reason="CHANGED_SINCE")
            if manifest.state == UNDONE:
                return
            moved = [uid for uid, entry in manifest.instances.items() if entry.decision == receipt.decision_id]

            def before(uid: str) -> bytes:
                return restored(stored, uid, self._shelf.read(manifest.instances[uid].file))

            self._replace(manifest, {uid: _sha256(before(uid)) for uid in moved}, before, "", stored, UNDONE)

    def _relink(self, manifest: Manifest, draft: Draft, uids: Sequence[str], intent: IntentSink) -> RelinkReceipt:
        """Edits every instance twice, first to know the inverse and the names, so that one is in memory at a time."""
        new: dict[str, str] = {}
        former_ids: set[str] = set()
        for uid in uids:
            source = readable(self._shelf.read(manifest.instances[uid].file))
            former_ids.add(_patient_id(source))
            try:
                new[uid] = _sha256(draft.add(uid, source).data)
            except HeaderError as error:
                raise unreadable(error) from None
        if draft.target.key.id in former_ids:
            raise RelinkRefusedError("the study already has the target's Patient ID", reason="SAME_PATIENT_ID")
        if len(former_ids) > 1:
            raise ArchiveConflictError("instances of the study name different patients", reason="TWO_COPIES")
        receipt = draft.receipt()
        intent(receipt)
        crash_point("relink.intended")

        def after(uid: str) -> bytes:
            return draft.edited(readable(self._shelf.read(manifest.instances[uid].file))).data

        self._replace(manifest, new, after, receipt.decision_id, receipt, DONE)
        return receipt

    def _replace(
        self,
        manifest: Manifest,
        new: Mapping[str, str],
        produce: Callable[[str], bytes],
        decision: str,
        receipt: RelinkReceipt,
        state: str,
    ) -> None:
        """Puts new objects in the place of old ones: written, read back and compared before the manifest changes."""
        note = self._shelf.begin(
            manifest.study_uid, "", {manifest.instances[uid].file for uid in new} | set(new.values())
        )
        for uid, sha256 in new.items():
            self._shelf.write(produce(uid))
            written = self._shelf.read(sha256)
            source = parse(written)
            same = source.text(SOP_INSTANCE_UID) == uid and pixel_sha256(source) == receipt.instances[uid]
            if _sha256(written) != sha256 or not same:
                raise ArchiveError("a corrected copy differs from its original; nothing was changed")
            manifest.instances[uid] = Entry(sha256, receipt.instances[uid], decision)
        manifest.relink, manifest.state = receipt.to_json(), state
        manifest.identity = _plain(receipt.target if state == DONE else receipt.former)
        self._shelf.commit(manifest, note)

    def _came_as(self, manifest: Manifest, uid: str, former: PatientIdentity | None) -> bool:
        source = readable(self._shelf.read(manifest.instances[uid].file))
        return _patient_id(source) == (former.key.id if former else "")


def _finished(manifest: Manifest, decision_id: str) -> RelinkReceipt | None:
    """The receipt when this decision has been carried out; refuses what would go over another one."""
    if not manifest.relink:
        return None
    receipt = RelinkReceipt.from_json(manifest.relink)
    if receipt.decision_id == decision_id:
        if manifest.state == UNDONE:
            raise RelinkRefusedError("this decision was undone; decide anew", reason="DECISION_UNDONE")
        return receipt
    if manifest.state == DONE:
        raise RelinkRefusedError("the study is linked by another decision; undo that first", reason="ALREADY_LINKED")
    return None


def _checked(data: bytes, study_uid: str) -> Part10:
    source = readable(data)
    if source.text(STUDY_INSTANCE_UID) != study_uid:
        raise ArchiveConflictError("an instance belongs to another study", reason="OTHER_STUDY")
    if not source.text(SOP_INSTANCE_UID):
        raise ArchiveError("an instance has no SOP Instance UID", reason="NO_SOP_INSTANCE_UID")
    return source


def _patient_id(source: Part10) -> str:
    identity = identity_of(source)
    return identity.key.id if identity else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(identity: PatientIdentity | None) -> dict[str, object] | None:
    return None if identity is None else asdict(identity)
