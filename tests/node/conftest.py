"""A node of one's own, quick and quiet, in a temporary home."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.ledger import Ledger, StudyRecord, StudyState
from dicom_node.process import NodeProcess, free_port

SITE = """
[dicom]
port = {dicom}
[web]
port = {web}
[assembly]
quiet_seconds = 0.5
stale_seconds = 20.0
[worker]
lease_seconds = 5.0
poll_seconds = 0.1
retry_seconds = 0.2
[archive]
quiet_seconds = 0.0
[spool]
min_free_bytes = 1048576
[log]
format = "json"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site file with free ports and short waits; tests append to it before they start a node."""
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(dicom=free_port(), web=free_port()))
    return path


@pytest.fixture
def node_process(tmp_path: Path, site: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Makes nodes on the same home and site file, and ends whatever a test left running."""
    made: list[NodeProcess] = []

    def make(**arguments: object) -> NodeProcess:
        made.append(NodeProcess(site, tmp_path / "home", tmp_path / "node.log", **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for node in made:
        node.stop()


def settled(ledger: Ledger, study_uid: str, seconds: float = 60.0) -> StudyRecord:
    """The study's record once it is settled."""
    return wait_for(lambda: (r := ledger.study(study_uid)) is not None and r.state.settled and r, seconds)


def in_state(ledger: Ledger, study_uid: str, state: StudyState, seconds: float = 60.0) -> StudyRecord:
    return wait_for(lambda: (r := ledger.study(study_uid)) is not None and r.state is state and r, seconds)


def wait_for(question: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Asks until the answer is truthy; fails with what it last was."""
    deadline = time.monotonic() + seconds
    answer = question()
    while not answer:
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.1)
        answer = question()
    return answer
