"""Work over processes: in order, bounded, and nobody left behind when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.processes import in_order

SCRIPT = """
import os, sys, time
from training.processes import in_order

def work(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    list(in_order(work, range(2), 2))
"""


def negated(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return -number


def test_results_come_in_order_and_work_is_read_only_as_far_as_needed() -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100, 200):
            read.append(number)
            yield number

    found = in_order(negated, numbers(), 2)
    assert [next(found) for _ in range(4)] == [-100, -101, -102, -103]
    assert len(read) <= 4 + 3 * 2
    found.close()  # type: ignore[attr-defined]


def test_an_error_comes_where_the_result_would_have() -> None:
    found = in_order(negated, [5, 6, 7, 8], 2)
    assert [next(found), next(found)] == [-5, -6]
    with pytest.raises(ValueError, match="seven"):
        next(found)


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(_lives(child) for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_lives(child) for child in children)


def _lives(pid: int) -> bool:
    """Whether there is such a process that is no zombie waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
