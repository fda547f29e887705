"""The whole node under kill -9: roles come back, acknowledged objects are there once, every study goes on."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from dicom_node.ledger import Ledger, StudyState
from dicom_node.process import NodeProcess
from tests.node.conftest import settled, wait_for
from tests.node.films import known, study_uid, write_film
from tests.peers.dcmtk import storescu

pytestmark = pytest.mark.dcmtk


def roles(node: NodeProcess) -> dict[str, psutil.Process]:
    """The node's children by role."""
    found = {}
    for child in psutil.Process(node.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # dead, and not yet noticed by the supervisor
            arguments = child.cmdline()
            if "--role" in arguments:
                found[arguments[arguments.index("--role") + 1]] = child
    return found


def kill_all(node: NodeProcess) -> None:
    """A power cut as far as processes go: nobody gets to say goodbye."""
    for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
        process.kill()
    node.kill()


def send(node: NodeProcess, *files: Path) -> bool:
    return storescu(node.settings.dicom.port, files, "--propose-lossless", "-R").returncode == 0


def test_a_role_that_is_killed_comes_back_and_a_killed_supervisor_takes_its_roles_along(
    node_process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = node_process()
    node.start()
    wait_for(lambda: set(roles(node)) == {"receiver", "ingester", "worker", "web"})
    for role, process in roles(node).items():
        process.kill()
        wait_for(lambda role=role, old=process.pid: (new := roles(node).get(role)) and new.pid != old)
    film = write_film(tmp_path / "films", 1, 0, known(1))
    wait_for(lambda: send(node, film))
    with Ledger.of(node.settings) as ledger:
        assert settled(ledger, study_uid(1, 0)).state is StudyState.ENROLLED
    orphaned = list(roles(node).values())
    node.kill()
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in orphaned))
    node.start()
    assert wait_for(lambda: send(node, write_film(tmp_path / "films", 2, 0, known(2))))


def test_killed_at_random_moments_every_acknowledged_object_is_there_once_and_every_study_settles(
    node_process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    chance = random.Random(5)
    films = [write_film(tmp_path / "films", person, 0, known(person)) for person in range(40)]
    acknowledged: set[str] = set()
    node = node_process(environment={"MEDREID_WORKER__LEASE_SECONDS": "2", "MEDREID_ASSEMBLY__STALE_SECONDS": "3"})
    waiting = list(films)
    for _ in range(3):
        node.start()
        deadline = time.monotonic() + chance.uniform(1.0, 6.0)
        while waiting and time.monotonic() < deadline:
            if send(node, waiting[0]):
                acknowledged.add(str(dcmread(waiting.pop(0), stop_before_pixels=True).SOPInstanceUID))
        kill_all(node)
    assert acknowledged, "nothing was sent before the kills"
    node.start()
    while waiting:
        if send(node, waiting[0]):
            acknowledged.add(str(dcmread(waiting.pop(0), stop_before_pixels=True).SOPInstanceUID))
    with Ledger.of(node.settings) as ledger:
        for person in range(len(films)):
            record = settled(ledger, study_uid(person, 0), 120)
            assert (record.state, record.instances) == (StudyState.ENROLLED, 1)
        assert not ledger.conflicts()
        for uid in acknowledged:
            sha256 = ledger.object_in_force(uid)
            assert sha256 is not None
            assert (node.settings.spool_folder / "objects" / sha256[:2] / f"{sha256}.dcm").is_file()
        assert len(acknowledged) == len(films) == ledger.object_count()
        assert len({e.patient for p in range(len(films)) for e in ledger.embeddings_of_study(study_uid(p, 0))}) == 40
