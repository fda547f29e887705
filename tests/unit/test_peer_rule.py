"""A missing peer is said at home, and a failure with CI=true: never a silent skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT_DATA = {"MEDREID_TEST_DATA": "/nonexistent"}


def collect(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | variables
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/node/test_real_input.py",
    ]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_at_home_what_is_left_out_is_named_with_its_remedy() -> None:
    done = collect(**WITHOUT_DATA)
    assert "left out: 3 tests that need data (set MEDREID_TEST_DATA" in done.stdout


def test_in_ci_a_missing_peer_fails_the_run() -> None:
    done = collect(**WITHOUT_DATA, CI="true")
    assert done.returncode == 3
    assert "peers are missing" in done.stdout + done.stderr
