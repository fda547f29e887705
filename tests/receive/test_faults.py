"""Faults of a receiver in a process of its own: killed at every step, killed at random, out of disk, asked to end."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.crashpoints import RECEIVE_POINTS, crash_point
from dicom_node.journal import Journal
from dicom_node.part10 import ObjectIdentity, canonical_header
from dicom_node.receive import OUT_OF_RESOURCES, SUCCESS
from tests.peers.dcmtk import start_storescu
from tests.peers.raw_dicom import CT, EXPLICIT_LE, RawPeer, data_pdus, p_data, pdv, store_rq
from tests.peers.receiver import ROOT, receiver
from tests.receive.conftest import Stored, wait_for

OBJECTS = 12
SENDERS = 2
# Enough passes that something was acknowledged before, where a pass is an object.
PASSES = {"journal.rotating": 1, "journal.segment_made": 1, "recover.settled": 1}


def write_objects(folder: Path, count: int) -> list[Path]:
    """Small objects, all different; the number in the file name is the last component of the SOP Instance UID."""
    folder.mkdir()
    for number in range(count):
        identity = ObjectIdentity(CT, f"1.2.{number}", EXPLICIT_LE)
        data = b"\x08\x00\x16\x00UI\x1a\x00" + CT.encode() + b"\0\x08\x00\x18\x00UI" + padded_uid(identity)
        pixels = b"\xe0\x7f\x10\x00OW\0\0" + (20_000).to_bytes(4, "little") + bytes([number % 256]) * 20_000
        (folder / f"{number}.dcm").write_bytes(canonical_header(identity) + data + pixels)
    return [folder / f"{number}.dcm" for number in range(count)]


def padded_uid(identity: ObjectIdentity) -> bytes:
    uid = identity.sop_instance_uid.encode()
    uid += b"\0" * (len(uid) % 2)
    return len(uid).to_bytes(2, "little") + uid


def acknowledged_by(sender: subprocess.Popen[str]) -> set[str]:
    """Waits for a storescu and returns the SOP Instance UIDs that were answered with Success."""
    output, _ = sender.communicate(timeout=120)
    uids, sending = set(), ""
    for line in output.splitlines():
        if line.startswith("I: Sending file: "):
            sending = f"1.2.{Path(line.removeprefix('I: Sending file: ')).stem}"
        elif line.startswith("I: Received Store Response (Success)"):
            uids.add(sending)
    return uids


def send(port: int, paths: list[Path]) -> set[str]:
    """Sends with several storescu at once; all that was acknowledged to any of them."""
    senders = [start_storescu(port, paths[number::SENDERS], "-v", "-xe") for number in range(SENDERS)]
    return set[str]().union(*map(acknowledged_by, senders))


def check(spool: Stored, acknowledged: set[str]) -> None:
    """Everything acknowledged is journalled, and stands in the spool exactly once and whole."""
    spool.check()
    names: dict[str, set[str]] = {}
    for one in spool.instances:
        names.setdefault(one["sop_instance_uid"], set()).add(one["sha256"])
    assert acknowledged <= set(names)
    assert all(len(hashes) == 1 for hashes in names.values())
    assert set(spool.files) == {sha256 for hashes in names.values() for sha256 in hashes}


def test_every_step_of_the_receive_path_has_its_crash_point() -> None:
    used = set()
    for name in ("receive", "commit", "journal"):
        source = (ROOT / "dicom_node" / f"{name}.py").read_text()
        used |= {part.partition('"')[0] for part in source.split('crash_point("')[1:]}
    assert used == set(RECEIVE_POINTS)
    crash_point("receive.command_read")  # unarmed, it does nothing


@pytest.mark.dcmtk
@pytest.mark.parametrize("point", RECEIVE_POINTS)
def test_kill_at_every_step(tmp_path: Path, stored: Callable[[], Stored], point: str) -> None:
    home = tmp_path / "home"
    paths = write_objects(tmp_path / "objects", OBJECTS)
    # A tiny first segment, so that the journal rotates after a few objects.
    Journal(home / "spool" / "journal", 2000).close()
    in_recovery = point.startswith("recover.")
    first = "commit.durable:4" if in_recovery else f"{point}:{PASSES.get(point, 4)}"
    with receiver(home, crash_point=first) as ours:
        acknowledged = send(ours.port, paths)
        assert ours.process.wait(timeout=30) == -signal.SIGKILL
    assert len(acknowledged) < OBJECTS
    if in_recovery:
        with pytest.raises(RuntimeError, match=str(-signal.SIGKILL)), receiver(home, crash_point=point):
            pass
    with receiver(home) as ours:
        check(stored(), acknowledged)
        everything = send(ours.port, paths)
        assert len(everything) == OBJECTS
        assert ours.terminate() == 0
    check(stored(), everything)
    assert len(stored().files) == OBJECTS
    assert stored().ends.count("released") == SENDERS
    assert not list((home / "spool" / "incoming").iterdir())


@pytest.mark.dcmtk
def test_kill_at_random_moments(tmp_path: Path, stored: Callable[[], Stored]) -> None:
    home, dice = tmp_path / "home", random.Random(7)
    paths = write_objects(tmp_path / "objects", 400)
    acknowledged: set[str] = set()
    for _ in range(4):
        with receiver(home) as ours:
            check(stored(), acknowledged)
            killer = threading.Timer(dice.uniform(0.05, 0.5), ours.process.kill)
            killer.start()
            acknowledged |= send(ours.port, paths)
            killer.join()
    with receiver(home) as ours:
        check(stored(), acknowledged)
        assert send(ours.port, paths[:20]) == {f"1.2.{number}" for number in range(20)}
        assert ours.terminate() == 0
    check(stored(), acknowledged)


def test_a_disk_that_fills_up_mid_object_and_recovers(tmp_path: Path, stored: Callable[[], Stored]) -> None:
    """The limit on file sizes stands for a full disk: writes fail with an error of the same family."""
    with receiver(tmp_path / "home") as ours, RawPeer(ours.port) as peer:
        peer.associate()
        assert peer.store(b"before") == SUCCESS
        resource.prlimit(ours.process.pid, resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
        assert peer.store(bytes(300_000), store_rq(sop_instance="1.1")) == OUT_OF_RESOURCES
        assert not stored().leftovers
        assert peer.store(b"small", store_rq(sop_instance="1.2")) == SUCCESS
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(ours.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert peer.store(bytes(300_000), store_rq(sop_instance="1.1")) == SUCCESS
        peer.release()
        assert ours.terminate() == 0
    stored().check()
    assert [one["sop_instance_uid"] for one in stored().instances] == ["1.2.3", "1.2", "1.1"]


def test_sigterm_lets_the_object_in_flight_finish(tmp_path: Path, stored: Callable[[], Stored]) -> None:
    content = bytes(range(256)) * 4000
    with receiver(tmp_path / "home") as ours, RawPeer(ours.port) as peer, RawPeer(ours.port) as idle:
        assert idle.associate() == 2
        peer.associate()
        pdus = list(data_pdus(content))
        peer.send(p_data(pdv(1, 3, store_rq())), *pdus[: len(pdus) // 2])
        wait_for(lambda: stored().leftovers)
        ours.process.terminate()
        idle.expect_abort()
        time.sleep(0.2)
        assert ours.process.poll() is None
        peer.send(*pdus[len(pdus) // 2 :])
        assert peer.status() == SUCCESS
        peer.expect_abort()
        assert ours.process.wait(timeout=30) == 0
    stored().check()
    assert len(stored().files) == 1
    assert stored().ends == ["aborted"]


def test_a_sender_that_stops_mid_object_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with receiver(tmp_path / "home") as ours, RawPeer(ours.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, 3, store_rq())), p_data(pdv(1, 0, bytes(1000))))
        assert ours.terminate() == 0


def test_a_second_receiver_on_the_same_home_says_what_to_do(tmp_path: Path) -> None:
    with receiver(tmp_path / "home"), pytest.raises(RuntimeError), receiver(tmp_path / "home"):
        pass
    assert "another receiver is running" in (tmp_path / "home" / "receiver.log").read_text()
