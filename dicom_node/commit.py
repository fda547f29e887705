"""Group commit: the objects that several associations finished are journalled together, then acknowledged.

An object arrives in a slot, a file of ``incoming/`` whose name was durable before its first byte came. Each association
syncs its own slot; most of it is on disk by then, because the disk was told to begin while the rest was still coming.
Whoever comes first then journals all that are synced with one write and one sync, and their senders are answered. Then
the objects move to their places, and readers hear of them. So at a start

- a slot whose content the journal names was being moved: it moves on;
- any other slot was never acknowledged: it goes.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from threading import Event, Lock
from typing import Any

import structlog

from config.errors import MedReIDError, StorageError
from dicom_node.crashpoints import crash_point
from dicom_node.helper import Helper
from dicom_node.incoming import IncomingObject, storage_error
from dicom_node.journal import Journal, Position, sync_folder
from dicom_node.part10 import ObjectIdentity
from dicom_node.spool import Source, Spool, StoredObject, now_text

_SLOTS = 128
# So many records fit into a frame of the journal, however long the UIDs in them.
_MAX_BATCH = 64

log = structlog.get_logger()


def _taken_lock() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class _Entry:
    """One thing to commit: a record, and the object it speaks of if there is one.

    ``turn`` is released when the entry is done, or when its thread has to lead the next commit.
    """

    record: Mapping[str, Any]
    incoming: IncomingObject | None = None
    done: bool = False
    error: MedReIDError | None = None
    turn: Lock = field(default_factory=_taken_lock)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found left over: objects that moved on, slots that went, associations cut off."""

    restored: int = 0
    removed: int = 0
    associations_lost: int = 0


class Committer:
    """The one writer of a spool's ``incoming/`` folder and journal. Opening it recovers from whatever happened.

    Whichever thread comes first commits for all that wait (leader and followers), so that in company one sync of the
    journal serves all. ``failed`` is set when the journal cannot be trusted any more; the process then has to be
    started again.
    """

    def __init__(self, spool: Spool, journal: Journal | None = None) -> None:
        self.spool = spool
        self.failed = Event()
        self._journal = journal or Journal(spool.journal_folder)
        self._journal.before_rotation = self._sync_moves
        self._slots: deque[Path] = deque()
        self._slots_lock = Lock()
        self._slot_maker = Helper("slots")
        self._slots_due = False
        self._hasher = Helper("hash")
        self._arriving = 0
        self._slot_numbers = itertools.count(1)
        self._unmoved: deque[tuple[list[_Entry], Position]] = deque()
        self._move_lock = Lock()
        self._moved_into: set[Path] = set()
        self._waiting: list[_Entry] = []
        self._led = False
        self._waiting_lock = Lock()
        self._commit_lock = Lock()
        self.recovery = self._recover()
        self._make_slots()

    def receive(self, identity: ObjectIdentity) -> IncomingObject:
        """A new object to stream into. Raises DiskFullError before anything is written, or as IncomingObject does."""
        self.spool.ensure_free()
        slot = self._slot()
        # In company every core has work anyway, and a hand-over only costs.
        hasher = self._hasher if self._arriving == 0 else None
        try:
            incoming = IncomingObject(slot, self.spool.min_free_bytes, identity, hasher, self._closed)
        except MedReIDError:
            slot.unlink(missing_ok=True)
            raise
        with self._slots_lock:
            self._arriving += 1
        return incoming

    def _closed(self) -> None:
        with self._slots_lock:
            self._arriving -= 1

    def store(self, incoming: IncomingObject, source: Source) -> StoredObject:
        """Makes a complete object durable: file, folder and journal. :meth:`settle` gives it its place.

        Raises
        ------
        DiskFullError, StorageError
            when it is not stored; nothing of it stays behind, or a recovery will remove it.
        """
        try:
            incoming.sync()
        except StorageError:
            incoming.discard()
            raise
        crash_point("commit.file_synced")
        stored = StoredObject(incoming.sha256, incoming.size, incoming.identity, source, now_text())
        self._commit(_Entry(stored.record(), incoming))
        return stored

    def note(self, record: Mapping[str, Any]) -> None:
        """Appends a record that belongs to no object, durably and after all objects stored before."""
        self._commit(_Entry(record))
        self.settle()

    def close(self) -> None:
        """Makes everything durable and lets go of the journal. Nothing may be stored any more."""
        for helper in (self._hasher, self._slot_maker):
            helper.close()
        with self._commit_lock:
            for slot in self._slots:
                slot.unlink(missing_ok=True)
            self._sync_moves()
            self._journal.close()

    def _slot(self) -> Path:
        """A slot; new ones are made in time by another thread, here only where that could not keep up."""
        with self._slots_lock:
            slot = self._slots.popleft() if self._slots else None
            if len(self._slots) <= _SLOTS // 2 and not self._slots_due:
                self._slots_due = True
                self._slot_maker.do(self._make_slots)
        if slot is not None:
            return slot
        try:
            return self._new_slots(1)[0]
        except OSError as error:
            raise storage_error(error, "a slot was made") from error

    def _make_slots(self) -> None:
        try:
            made = self._new_slots(_SLOTS - len(self._slots))
        except OSError:
            made = []  # the disk is full or broken: whoever finds no slot will say so
        with self._slots_lock:
            self._slots.extend(made)
            self._slots_due = False

    def _new_slots(self, count: int) -> list[Path]:
        made: list[Path] = []
        try:
            for _ in range(count):
                path = self.spool.incoming / f"slot-{next(self._slot_numbers)}"
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                made.append(path)
            sync_folder(self.spool.incoming)
        except OSError:
            for path in made:
                path.unlink(missing_ok=True)
            raise
        return made

    def _commit(self, entry: _Entry) -> None:
        with self._waiting_lock:
            self._waiting.append(entry)
            follow, self._led = self._led, True
        if follow:
            entry.turn.acquire()
        if not entry.done:
            self._lead()
        if entry.error is not None:
            raise entry.error

    def _lead(self) -> None:
        """Commits for all that wait, wakes them, and leaves the lead to the first of those that came meanwhile."""
        with self._waiting_lock:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        with self._commit_lock:
            self._commit_batch(batch)
        with self._waiting_lock:
            self._led = bool(self._waiting)
            wake = batch[1:] + self._waiting[:1]
        for entry in wake:
            entry.turn.release()

    def _commit_batch(self, batch: list[_Entry]) -> None:
        try:
            self._make_durable(batch)
        except MedReIDError as error:
            _fail(batch, error)
        except OSError as error:
            _fail(batch, storage_error(error, "objects were committed"))
        for entry in batch:
            entry.done = True
            if entry.error is not None and entry.incoming is not None:
                # Once the journal failed, only a recovery knows whether a file stays.
                entry.incoming.close() if self.failed.is_set() else entry.incoming.discard()

    def _make_durable(self, batch: list[_Entry]) -> None:
        if self.failed.is_set():
            raise StorageError("the journal failed; the receiver has to be started again")
        try:
            self._journal.append([entry.record for entry in batch])
        finally:
            if self._journal.broken:
                self.failed.set()
        self._unmoved.append((batch, self._journal.position))
        crash_point("commit.durable")

    def settle(self) -> None:
        """Moves objects that are durable into place and shows them to readers, in the order of the journal.

        To be called after the sender was answered, who need not wait for it. Where it fails, ``failed`` is set.
        """
        with self._move_lock:
            while self._unmoved and not self.failed.is_set():
                batch, position = self._unmoved[0]
                try:
                    self._move_into_place(batch)
                    self._journal.publish(position)
                except OSError as error:
                    # What is acknowledged by the journal has to get there: a recovery will try again.
                    self.failed.set()
                    log.error("commit.move_failed", error=os.strerror(error.errno or 0))
                    return
                self._unmoved.popleft()
                crash_point("commit.published")

    def _move_into_place(self, batch: list[_Entry]) -> None:
        for entry in batch:
            if entry.incoming is not None:
                place = self.spool.path(entry.record["sha256"])
                entry.incoming.place(place)
                entry.incoming.close()
                self._moved_into.add(place.parent)
        crash_point("commit.moved")

    def _sync_moves(self) -> None:
        """Makes all moves durable, so that a recovery need not look further back than the journal's last segments."""
        self.settle()
        for folder in (*self._moved_into, self.spool.incoming):
            sync_folder(folder)
        self._moved_into.clear()

    def _recover(self) -> Recovery:
        """Finishes or removes what a crash left over, and ends the associations that it cut off."""
        acknowledged: set[str] = set()
        open_associations: dict[str, None] = {}
        for record in self._journal.recent():
            if record["kind"] == "instance":
                acknowledged.add(record["sha256"])
                open_associations[record["association"]] = None
            elif record["kind"] == "association_end":
                open_associations.pop(record["association"], None)
        restored, removed = self._settle_slots(acknowledged)
        self._sync_moves()
        self._journal.publish()
        for association in open_associations:
            self.note({"kind": "association_end", "association": association, "how": "lost", "at": now_text()})
        found = Recovery(restored, removed, len(open_associations))
        log.info("spool.recovered", restored=restored, removed=removed, cut_off=found.associations_lost)
        return found

    def _settle_slots(self, acknowledged: set[str]) -> tuple[int, int]:
        restored = removed = 0
        for slot in sorted(self.spool.incoming.iterdir()):
            with slot.open("rb") as file:
                sha256 = file_digest(file, "sha256").hexdigest()
            if sha256 in acknowledged:
                place = self.spool.path(sha256)
                slot.replace(place)
                self._moved_into.add(place.parent)
                restored += 1
            else:
                removed += slot.stat().st_size > 0
                slot.unlink()
            crash_point("recover.settled")
        return restored, removed


def _fail(batch: list[_Entry], error: MedReIDError) -> None:
    for entry in batch:
        entry.error = error
