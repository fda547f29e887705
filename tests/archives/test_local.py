"""The embedded twin: the contract, and what only it can get wrong (kill -9, torn files, two processes, a full disk)."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from config.errors import ArchiveConflictError, ArchiveError, ArchiveUnavailableError
from dicom_node.archives import local, shelf
from dicom_node.archives.elements import parse
from dicom_node.archives.local import LocalArchive
from dicom_node.archives.protocol import RelinkReceipt
from tests.archives.contract import ArchiveContract, Intents, by_uid, news, pixels
from tests.archives.studies import TARGET, instance, provenance, uid, with_other_ids

FORK = multiprocessing.get_context("fork")


class TestLocal(ArchiveContract):
    @pytest.fixture
    def archive(self, tmp_path_factory: pytest.TempPathFactory) -> LocalArchive:
        return LocalArchive(tmp_path_factory.mktemp("home") / "archive")


def write(folder: Path, *files: bytes) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.dcm" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return paths


def objects(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "objects").rglob("*.dcm")}


def killed(act: Callable[[], object], at: int) -> bool:
    """Runs ``act`` in a child that is killed at its n-th crash point; False when it came through."""

    def child() -> None:
        passes = itertools.count()

        def die(_: str) -> None:
            if next(passes) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        for module in (local, shelf):
            module.crash_point = die  # type: ignore[attr-defined]
        act()

    process = FORK.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_kill_at_every_step_of_a_relink_and_of_its_undo_loses_nothing(tmp_path: Path) -> None:
    kills = 0
    for at in itertools.count():
        folder, study = tmp_path / f"archive{at}", uid("kill", at)
        files = [instance(study, 1), instance(study, 2, edit=with_other_ids)]
        archive = LocalArchive(folder)
        archive.store(study, write(tmp_path / f"files{at}", *files))
        before = by_uid(archive, study)

        first = killed(partial(archive.relink, study, TARGET, provenance(), Intents()), at)
        assert pixels(by_uid(LocalArchive(folder), study)) == pixels(before)
        receipt = LocalArchive(folder).relink(study, TARGET, provenance(), Intents())
        assert LocalArchive(folder).identity(study) == TARGET
        assert len(objects(folder)) == 2

        second = killed(partial(archive.undo, receipt), at)
        assert pixels(by_uid(LocalArchive(folder), study)) == pixels(before)
        LocalArchive(folder).undo(receipt)
        assert by_uid(LocalArchive(folder), study) == before
        assert len(objects(folder)) == 2
        assert not list((folder / "pending").iterdir())
        kills += first + second
        if not first and not second:
            break
    assert kills >= 9


def test_kill_at_every_step_of_a_store_keeps_whole_instances_and_tells_of_them(tmp_path: Path) -> None:
    for at in itertools.count():
        folder, study = tmp_path / f"archive{at}", uid("kill store", at)
        paths = write(tmp_path / f"files{at}", instance(study, 1), instance(study, 2))
        archive = LocalArchive(folder)
        dead = killed(partial(archive.store, study, paths), at)
        again = LocalArchive(folder)
        again.store(study, paths)
        assert by_uid(again, study) == {parse(p.read_bytes()).text(0x00080018): p.read_bytes() for p in paths}
        assert set(news(again, "")[0]) == {study}
        assert len(objects(folder)) == 2
        if not dead:
            break
    assert at >= 5


def test_instances_are_linked_not_copied_where_that_is_possible(tmp_path: Path) -> None:
    study = uid("links")
    (path,) = write(tmp_path / "spool", instance(study, 1))
    LocalArchive(tmp_path / "archive").store(study, [path])
    (kept,) = (tmp_path / "archive" / "objects").rglob("*.dcm")
    assert kept.stat().st_ino == path.stat().st_ino


def test_without_links_the_bytes_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    study = uid("copies")
    (path,) = write(tmp_path / "spool", instance(study, 1))
    monkeypatch.setattr(os, "link", refuse)
    archive = LocalArchive(tmp_path / "archive")
    archive.store(study, [path])
    path.unlink()
    assert list(archive.fetch(study)) == [instance(study, 1)]


def test_a_full_disk_changes_nothing_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = uid("full")
    archive = LocalArchive(tmp_path / "archive")
    archive.store(study, write(tmp_path / "spool", instance(study, 1), instance(study, 2)))
    before = by_uid(archive, study)
    written = itertools.count()
    real = os.fsync

    def full(descriptor: int) -> None:
        if next(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ArchiveUnavailableError) as caught:
            archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "ARCHIVE_STORAGE"
    assert by_uid(archive, study) == before
    archive.relink(study, TARGET, provenance(), Intents())
    assert archive.identity(study) == TARGET
    assert not list((tmp_path / "archive").rglob(".*"))


def test_a_torn_last_event_is_cut_off(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    first, second = uid("torn 1"), uid("torn 2")
    archive.store(first, write(tmp_path / "a", instance(first, 1)))
    with (tmp_path / "archive" / "events.log").open("ab") as log:
        log.write(b'{"study_uid": "1.2.')
    told, cursor = news(archive, "")
    assert told == [first]
    archive.store(second, write(tmp_path / "b", instance(second, 1)))
    assert news(archive, cursor)[0] == [second]


def test_a_manifest_that_is_damaged_is_named_not_overwritten(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    study = uid("damaged")
    paths = write(tmp_path / "a", instance(study, 1))
    archive.store(study, paths)
    (manifest,) = (tmp_path / "archive" / "studies").rglob("*.json")
    manifest.write_text(manifest.read_text()[:-5])
    for act in (lambda: archive.store(study, paths), lambda: list(archive.fetch(study))):
        with pytest.raises(ArchiveError):
            act()


def test_no_file_name_comes_from_a_received_value(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    study = uid("names")
    archive.store(study, write(tmp_path / "a", instance(study, 1, patient_id="../../PHANTOM")))
    names = " ".join(str(path.relative_to(tmp_path)) for path in (tmp_path / "archive").rglob("*"))
    assert study not in names
    assert "PHANTOM" not in names


def test_instances_that_name_different_patients_are_left_to_a_person(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    study = uid("mixed")
    archive.store(study, write(tmp_path / "a", instance(study, 1), instance(study, 2, patient_id="SOMEBODY")))
    before = by_uid(archive, study)
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "TWO_COPIES"
    assert by_uid(archive, study) == before


def test_a_copy_changed_by_somebody_is_not_undone_over(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    study = uid("changed")
    archive.store(study, write(tmp_path / "a", instance(study, 1)))
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    inverse = json.loads(receipt.to_json())
    inverse["instances"] = dict.fromkeys(inverse["instances"], "0" * 64)
    (manifest,) = (tmp_path / "archive" / "studies").rglob("*.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "relink": json.dumps(inverse)}))
    with pytest.raises(ArchiveConflictError) as caught:
        archive.undo(RelinkReceipt.from_json(receipt.to_json()))
    assert caught.value.reason == "CHANGED_SINCE"


def test_two_processes_store_into_one_study_and_neither_loses(tmp_path: Path) -> None:
    study = uid("two processes")
    archive = LocalArchive(tmp_path / "archive")
    halves = [
        write(tmp_path / str(half), *(instance(study, 10 * half + number) for number in range(8))) for half in (0, 1)
    ]

    def one_by_one(paths: list[Path]) -> None:
        for path in paths:
            archive.store(study, [path])

    processes = [FORK.Process(target=one_by_one, args=(paths,)) for paths in halves]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(archive.sop_instance_uids(study)) == 16
