"""The README's commands and code are executed as they stand, all but the test command itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a fresh checkout with an up-to-date install: nothing is written into this one."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock", "deploy", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(script: str, folder: Path, seconds: float) -> str:
    """Runs a script as a reader would, in one shell; fails with its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDREID_")}
    environment["PATH"] += os.pathsep + "/usr/sbin"
    done = subprocess.run(
        # Job control, so that %1 and %2 mean the jobs that the text started.
        ["bash", "-m", "-e", "-o", "pipefail", "-c", script],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_two_commands_are_targets_of_the_makefile_and_the_demo_does_what_it_says(checkout: Path) -> None:
    demo, test = blocks("console")[0].split("\n")[:2]
    assert (demo, test) == ("make demo", "make test")
    # PATH finds the interpreter of this run; the stamp says that the install is up to date.
    said = run(demo, checkout, 900)
    sums = dict(re.findall(r"^(linked right|linked wrong|sent to review|rightly nobody|missed): (\d+)$", said, re.M))
    assert list(sums) == ["linked right", "linked wrong", "sent to review", "rightly nobody", "missed"]
    assert int(sums["linked wrong"]) == 0
    assert int(sums["linked right"]) > 0
    assert int(sums["rightly nobody"]) > 0
    assert "audit chain whole" in said


@pytest.mark.orthanc
@pytest.mark.timeout(900)
def test_the_tour_with_an_orthanc_and_the_ten_lines_of_python(checkout: Path) -> None:
    _, *tour = blocks("console")
    said = run("\n".join(tour), checkout, 700)
    assert "studies ENROLLED" in said
    assert "the chain is whole" in said
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith(("from", "import"))]) <= 10
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "ENROL" in done.stdout


def test_what_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT):
        assert (ROOT / path).exists(), path
    for folder in re.findall(r"^\| `([a-z_]+)/`", TEXT, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
