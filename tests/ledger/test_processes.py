"""Several processes on one ledger: nothing is done twice, and what a killed one held is done by another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from dicom_node.audit import verify
from dicom_node.ledger import Ledger, StudyState
from tests.ledger.builders import make_ready

WORKER = """
import sys, time
from pathlib import Path
from config.settings import load_settings
from dicom_node.ledger import Ledger, StudyState

url, log, hold = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "hold"
lease = {"MEDREID_WORKER__LEASE_SECONDS": "2" if hold else "120"}
worker = load_settings(environment=lease, home=Path("unused")).worker
with Ledger.open(url) as ledger, log.open("w") as file:
    while (claim := ledger.claim(log.name, worker)) is not None:
        print(claim.study_uid, file=file, flush=True)
        while hold:
            time.sleep(1)
        with ledger.transaction():
            ledger.count("walked")
            ledger.append_audit(log.name, "DECISION", claim.study_uid, {"generation": claim.generation})
            ledger.settle(claim, StudyState.NO_MATCH)
"""


def start(url: str, log: Path, hold: bool = False) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, url, str(log), "hold" if hold else "work"])


def studies_in(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_no_study_is_claimed_twice(ledger_url: str, tmp_path: Path) -> None:
    studies = [f"1.2.{n}" for n in range(40)]
    with Ledger.open(ledger_url) as ledger:
        make_ready(ledger, *studies)
        logs = [tmp_path / f"worker{n}" for n in range(3)]
        assert [child.wait(120) for child in [start(ledger_url, log) for log in logs]] == [0, 0, 0]
        claimed = Counter(study for log in logs for study in studies_in(log))
        assert claimed == Counter(studies)
        assert ledger.status().studies == {StudyState.NO_MATCH: 40}
        assert ledger.counters("walked")[0].value == 40
        report = verify(ledger)
        assert (report.intact, report.rows) == (True, 40)


def test_what_a_killed_worker_held_is_done_by_another(ledger_url: str, tmp_path: Path) -> None:
    with Ledger.open(ledger_url) as ledger:
        make_ready(ledger, "1.2.1")
        victim = start(ledger_url, tmp_path / "victim", hold=True)
        deadline = time.monotonic() + 60
        while not studies_in(tmp_path / "victim"):
            assert victim.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.wait(30) == -signal.SIGKILL
        record = ledger.study("1.2.1")
        assert record is not None and record.lease_until is not None
        while time.time() < record.lease_until:
            time.sleep(0.1)
        assert start(ledger_url, tmp_path / "heir").wait(60) == 0
        assert studies_in(tmp_path / "heir") == ["1.2.1"]
        assert ledger.status().studies == {StudyState.NO_MATCH: 1}


APPENDER = """
import sys
from dicom_node.ledger import Ledger
with Ledger.open(sys.argv[1]) as ledger:
    for n in range(25):
        with ledger.transaction():
            # The other way round than the others: neither order may end in a deadlock.
            for name in ("a", "b") if sys.argv[2] == "0" else ("b", "a"):
                ledger.append_audit("w", "SEARCH", name, {"n": n})
                ledger.count(name)
"""


def test_appenders_in_different_orders_make_one_chain(ledger_url: str) -> None:
    command = [sys.executable, "-c", APPENDER, ledger_url]
    children = [subprocess.Popen([*command, order]) for order in ("0", "1")]
    assert [child.wait(120) for child in children] == [0, 0]
    with Ledger.open(ledger_url) as ledger:
        report = verify(ledger)
        assert (report.intact, report.rows) == (True, 100)
        assert [counter.value for counter in ledger.counters()] == [50, 50]
