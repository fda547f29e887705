"""The spool and its group commit: content addresses, recovery, a disk that is short."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from config.errors import DiskFullError, HeaderError, JournalError, StorageError
from dicom_node.commit import Committer, Recovery
from dicom_node.journal import Journal, JournalReader, Position
from dicom_node.part10 import ObjectIdentity, canonical_header
from dicom_node.spool import Source, Spool

IDENTITY = ObjectIdentity("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")
SOURCE = Source("MODALITY", "MEDREID", "10.0.0.1", "a1")
DATA = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" * 100


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


def put(committer: Committer, number: int, association: str = "a1") -> str:
    incoming = committer.receive(ObjectIdentity("1.2", f"1.2.{number}", "1.2.840.10008.1.2"))
    incoming.write(DATA)
    stored = committer.store(incoming, Source(association=association))
    committer.settle()
    return stored.sha256


def records(spool: Spool) -> list[dict[str, Any]]:
    return JournalReader(spool.journal_folder).read(Position())[0]


def test_a_file_is_named_by_what_sha256sum_says(spool: Spool) -> None:
    stored = spool.put_bytes(canonical_header(IDENTITY) + DATA, SOURCE)
    answer = subprocess.run(["sha256sum", spool.path(stored.sha256)], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[0] == stored.sha256
    assert spool.path(stored.sha256).read_bytes() == canonical_header(IDENTITY) + DATA
    assert stored.record() == {
        "kind": "instance",
        "sha256": stored.sha256,
        "size": len(canonical_header(IDENTITY) + DATA),
        "sop_class_uid": IDENTITY.sop_class_uid,
        "sop_instance_uid": "1.2.3",
        "transfer_syntax_uid": IDENTITY.transfer_syntax_uid,
        "calling_ae": "MODALITY",
        "called_ae": "MEDREID",
        "peer": "10.0.0.1",
        "association": "a1",
        "received_at": stored.received_at,
    }


def test_the_same_object_has_the_same_name_whatever_wrote_its_header(spool: Spool, tmp_path: Path) -> None:
    mine = canonical_header(IDENTITY) + DATA
    extra = b"\x02\0\x13\0SH\x04\0ELSE"
    theirs = tmp_path / "theirs.dcm"
    theirs.write_bytes(b"x" * 128 + mine[128 : len(canonical_header(IDENTITY))] + extra + DATA)
    first, second = spool.put_bytes(mine, SOURCE), spool.put_file(theirs, SOURCE)
    assert first.sha256 == second.sha256
    assert list(spool.hashes()) == [first.sha256]
    assert list(spool.staging.iterdir()) == []


def test_what_is_no_dicom_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(HeaderError):
        spool.put_bytes(b"no DICOM", SOURCE)
    with pytest.raises(HeaderError) as caught:
        spool.put_file(tmp_path / "absent", SOURCE)
    assert caught.value.reason == "UNREADABLE"
    assert not list(spool.hashes()) and not list(spool.staging.iterdir())


@pytest.mark.parametrize("name", ["", "../" * 30, "A" * 64, "0" * 63, "0" * 64 + "\n", "/etc/passwd"])
def test_only_hashes_become_paths(spool: Spool, name: str) -> None:
    with pytest.raises(StorageError):
        spool.path(name)


def test_verify_finds_the_damaged_object(spool: Spool) -> None:
    good = spool.put_bytes(canonical_header(IDENTITY) + DATA, SOURCE).sha256
    bad = spool.put_bytes(canonical_header(IDENTITY) + DATA + b"1", SOURCE).sha256
    with spool.path(bad).open("r+b") as file:
        file.truncate(500)
    assert dict(spool.verify()) == {good: True, bad: False}
    assert spool.remove(bad) and not spool.remove(bad)
    assert dict(spool.verify()) == {good: True}


def test_below_the_reserve_nothing_is_opened(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 2**62)
    committer = Committer(spool)
    with pytest.raises(DiskFullError):
        committer.receive(IDENTITY)
    with pytest.raises(DiskFullError):
        spool.put_bytes(canonical_header(IDENTITY) + DATA, SOURCE)
    committer.close()
    assert not list(spool.incoming.iterdir()) and not list(spool.staging.iterdir())


def test_old_staging_files_are_swept_and_young_ones_kept(spool: Spool) -> None:
    old, young = spool.staging / "old", spool.staging / "young"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    Spool(spool.folder, 0)
    assert not old.exists() and young.exists()


def test_folders_and_objects_are_private(spool: Spool) -> None:
    path = spool.path(spool.put_bytes(canonical_header(IDENTITY) + DATA, SOURCE).sha256)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert spool.objects.stat().st_mode & 0o777 == 0o700


def test_many_threads_commit_in_groups_and_each_gets_its_own(spool: Spool) -> None:
    committer = Committer(spool, Journal(spool.journal_folder, 4096))
    hashes: list[str] = []

    def work(base: int) -> None:
        hashes.extend(put(committer, base + number) for number in range(25))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    committer.close()
    assert len(set(hashes)) == 150
    assert sorted(spool.hashes()) == sorted(hashes)
    assert sorted(one["sha256"] for one in records(spool)) == sorted(hashes)
    assert not list(spool.incoming.iterdir())


def test_a_discarded_object_leaves_nothing(spool: Spool) -> None:
    committer = Committer(spool)
    incoming = committer.receive(IDENTITY)
    incoming.write(DATA)
    incoming.discard()
    committer.close()
    assert not list(spool.incoming.iterdir()) and not list(spool.hashes()) and not records(spool)


def test_the_same_object_twice_is_one_file_and_two_records(spool: Spool) -> None:
    committer = Committer(spool)
    assert put(committer, 1) == put(committer, 1)
    committer.close()
    assert len(list(spool.hashes())) == 1
    assert len(records(spool)) == 2


def crash(committer: Committer) -> None:
    """Lets go of the lock as a killed process does, without any of the tidying."""
    committer._journal.close()


def test_recovery_moves_on_what_the_journal_names(spool: Spool) -> None:
    committer = Committer(spool)
    sha256 = put(committer, 1)
    committer.note({"kind": "association_end", "association": "a1", "how": "released", "at": "now"})
    crash(committer)
    spool.path(sha256).rename(spool.incoming / "slot")  # as if the move had not reached the disk
    again = Committer(spool)
    again.close()
    assert again.recovery == Recovery(restored=1, removed=0, associations_lost=0)
    assert dict(spool.verify()) == {sha256: True}


def test_recovery_removes_what_nobody_was_told_of(spool: Spool) -> None:
    committer = Committer(spool)
    for content in (b"", b"torn", canonical_header(IDENTITY) + DATA):
        (spool.incoming / f"slot{len(content)}").write_bytes(content)
    crash(committer)
    again = Committer(spool)
    again.close()
    assert again.recovery == Recovery(restored=0, removed=2)
    assert not list(spool.incoming.iterdir()) and not list(spool.hashes())


def test_recovery_ends_associations_that_were_cut_off_once(spool: Spool) -> None:
    committer = Committer(spool)
    put(committer, 1, "ended")
    put(committer, 2, "cut off")
    committer.note({"kind": "association_end", "association": "ended", "how": "released", "at": "now"})
    crash(committer)
    Committer(spool).close()
    Committer(spool).close()
    ends = [(one["association"], one["how"]) for one in records(spool) if one["kind"] == "association_end"]
    assert ends == [("ended", "released"), ("cut off", "lost")]


def test_two_receivers_on_one_spool_are_refused(spool: Spool) -> None:
    committer = Committer(spool)
    slot_in_use = committer.receive(IDENTITY)
    with pytest.raises(JournalError):
        Committer(spool)
    slot_in_use.write(DATA)
    stored = committer.store(slot_in_use, SOURCE)
    assert not list(spool.hashes()), "it is durable, but readers hear of it only when it has its place"
    committer.settle()
    assert list(spool.hashes()) == [stored.sha256]
    committer.close()


def test_a_move_that_fails_is_made_up_for_by_a_restart(spool: Spool) -> None:
    committer = Committer(spool)
    incoming = committer.receive(IDENTITY)
    incoming.write(DATA)
    stored = committer.store(incoming, SOURCE)
    shard = spool.path(stored.sha256).parent
    shard.rmdir()
    committer.settle()
    committer.settle()
    assert committer.failed.is_set()
    assert not records(spool)
    crash(committer)
    shard.mkdir()
    again = Committer(spool)
    again.close()
    assert again.recovery.restored == 1
    assert dict(spool.verify()) == {stored.sha256: True}
    assert records(spool)[0] == stored.record()


@pytest.mark.parametrize("pieces", [[], [0], [1], [64 * 1024, 300 * 1024, 1], [300 * 1024] * 3])
def test_hashed_beside_or_not_the_name_is_that_of_the_content(spool: Spool, pieces: list[int]) -> None:
    committer = Committer(spool)
    alone, in_company = committer.receive(IDENTITY), committer.receive(IDENTITY)
    for incoming in (alone, in_company):
        for number, size in enumerate(pieces):
            incoming.write(memoryview(bytes([number]) * size))
        committer.store(incoming, SOURCE)
    committer.close()
    content = canonical_header(IDENTITY) + b"".join(bytes([number]) * size for number, size in enumerate(pieces))
    assert list(spool.hashes()) == [hashlib.sha256(content).hexdigest()]
    assert dict(spool.verify()) == {hashlib.sha256(content).hexdigest(): True}
    assert [one["size"] for one in records(spool)] == [len(content)] * 2


def test_after_a_failed_journal_nothing_is_acknowledged_until_a_restart(spool: Spool) -> None:
    committer = Committer(spool)
    first = put(committer, 1)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, committer._journal._file)  # the disk below the journal is full against all promises
    os.close(full)
    with pytest.raises(StorageError):
        put(committer, 2)
    assert committer.failed.is_set()
    with pytest.raises(StorageError):
        put(committer, 3)
    crash(committer)
    again = Committer(spool)
    assert [one["sha256"] for one in records(spool) if one["kind"] == "instance"] == [first]
    third = put(again, 3)
    again.close()
    assert sorted(spool.hashes()) == sorted([first, third])
    assert not list(spool.incoming.iterdir())
