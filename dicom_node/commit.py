"""Group commit: the objects that several associations finished are made durable together, then acknowledged.

The order is what makes a crash harmless. An object is linked into ``incoming/``, synced with its folder, then the
journal; only then does it move to its place, and only then do readers hear of it. So at a start every file in
``incoming/`` is either in the journal, and moves on, or was never acknowledged, and goes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import structlog

from config.errors import MedReIDError, StorageError
from dicom_node.crashpoints import crash_point
from dicom_node.incoming import IncomingObject, storage_error
from dicom_node.journal import Journal, sync_folder
from dicom_node.spool import Source, Spool, StoredObject, now_text

_INCOMING_NAME = re.compile(r"([0-9a-f]{64})-\d+")

log = structlog.get_logger()


@dataclass(eq=False)
class _Entry:
    """One thing to commit: a record, and the object it speaks of if there is one."""

    record: Mapping[str, Any]
    incoming: IncomingObject | None = None
    done: bool = False
    error: MedReIDError | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found left over: objects that were acknowledged, files that were not, associations cut off."""

    restored: int = 0
    removed: int = 0
    associations_lost: int = 0


class Committer:
    """The one writer of a spool's ``incoming/`` folder and journal. Opening it recovers from whatever happened.

    Whichever thread comes first commits for all that wait (leader and followers): alone it pays no hand-over,
    in company one sync of folder and journal serves all. ``failed`` is set when the journal cannot be
    trusted any more; the process then has to be started again.
    """

    def __init__(self, spool: Spool, journal: Journal | None = None) -> None:
        self.spool = spool
        self.failed = Event()
        self._journal = journal or Journal(spool.journal_folder)
        self._journal.before_rotation = self._sync_shards
        self._incoming_folder = os.open(spool.incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._moved_into: set[Path] = set()
        self._waiting: list[_Entry] = []
        self._waiting_lock = Lock()
        self._commit_lock = Lock()
        self.recovery = self._recover()

    def store(self, incoming: IncomingObject, source: Source) -> StoredObject:
        """Makes a complete object durable: file, folder and journal. ``incoming`` is closed in any case.

        Raises
        ------
        DiskFullError, StorageError
            when it is not stored; nothing of it stays behind, or a recovery will remove it.
        """
        stored = StoredObject(incoming.sha256, incoming.size, incoming.identity, source, now_text())
        incoming.start_writeback()
        self._commit(_Entry(stored.record(), incoming))
        return stored

    def note(self, record: Mapping[str, Any]) -> None:
        """Appends a record that belongs to no object, durably and after all objects stored before."""
        self._commit(_Entry(record))

    def close(self) -> None:
        with self._commit_lock:
            self._sync_shards()
            self._journal.close()
            os.close(self._incoming_folder)

    def _commit(self, entry: _Entry) -> None:
        with self._waiting_lock:
            self._waiting.append(entry)
        with self._commit_lock:
            if not entry.done:
                with self._waiting_lock:
                    batch, self._waiting = self._waiting, []
                self._commit_batch(batch)
        if entry.error is not None:
            raise entry.error

    def _commit_batch(self, batch: list[_Entry]) -> None:
        try:
            self._make_durable(batch)
        except MedReIDError as error:
            _fail(batch, error)
        except OSError as error:
            _fail(batch, storage_error(error, "objects were committed"))
        for entry in batch:
            entry.done = True
            if entry.incoming is not None:
                # Once the journal may hold its record, only a recovery knows whether a file stays.
                keep = entry.error is None or self.failed.is_set()
                entry.incoming.close() if keep else entry.incoming.discard()

    def _make_durable(self, batch: list[_Entry]) -> None:
        if self.failed.is_set():
            raise StorageError("the journal failed; the receiver has to be started again")
        _each(batch, IncomingObject.link)
        crash_point("commit.linked")
        _each(batch, IncomingObject.sync)
        crash_point("commit.file_synced")
        good = [entry for entry in batch if entry.error is None]
        if any(entry.incoming for entry in good):
            os.fsync(self._incoming_folder)
        crash_point("commit.folder_synced")
        try:
            self._journal.append(entry.record for entry in good)
        finally:
            if self._journal.broken:
                self.failed.set()
        try:
            for entry in good:
                self._move_into_place(entry)
        except OSError:
            self.failed.set()
            raise
        crash_point("commit.moved")
        self._journal.publish()
        crash_point("commit.published")

    def _move_into_place(self, entry: _Entry) -> None:
        if entry.incoming is not None and entry.incoming.path is not None:
            place = self.spool.path(entry.record["sha256"])
            entry.incoming.path.replace(place)
            entry.incoming.path = None
            self._moved_into.add(place.parent)

    def _sync_shards(self) -> None:
        """Makes all moves durable, so that a recovery need not look further back than the journal's last segments."""
        for folder in self._moved_into:
            sync_folder(folder)
        self._moved_into.clear()
        os.fsync(self._incoming_folder)

    def _recover(self) -> Recovery:
        """Finishes or removes what a crash left in ``incoming/``, and ends the associations that it cut off."""
        acknowledged: set[str] = set()
        open_associations: dict[str, None] = {}
        for record in self._journal.recent():
            if record["kind"] == "instance":
                acknowledged.add(record["sha256"])
                open_associations[record["association"]] = None
            elif record["kind"] == "association_end":
                open_associations.pop(record["association"], None)
        restored = removed = 0
        for path in self.spool.incoming.iterdir():
            match = _INCOMING_NAME.fullmatch(path.name)
            if match and match[1] in acknowledged:
                place = self.spool.path(match[1])
                path.replace(place)
                self._moved_into.add(place.parent)
                restored += 1
            else:
                path.unlink()
                removed += 1
            crash_point("recover.settled")
        self._sync_shards()
        for association in open_associations:
            self.note({"kind": "association_end", "association": association, "how": "lost", "at": now_text()})
        found = Recovery(restored, removed, len(open_associations))
        log.info("spool.recovered", restored=restored, removed=removed, associations_lost=found.associations_lost)
        return found


def _each(batch: list[_Entry], step: Callable[[IncomingObject], object]) -> None:
    """Takes every object of the batch one step further; one that fails does not hold up the others."""
    for entry in batch:
        if entry.incoming is None or entry.error is not None:
            continue
        try:
            step(entry.incoming)
        except OSError as error:
            entry.error = storage_error(error, "an object was committed")


def _fail(batch: list[_Entry], error: MedReIDError) -> None:
    for entry in batch:
        entry.error = entry.error or error
