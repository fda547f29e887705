"""What every test may ask for, and the rule for peers: with CI=true a missing peer fails the run, never skips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest
import structlog

from config.settings import Settings, load_settings

PEERS: dict[str, tuple[Callable[[], bool], str]] = {
    "orthanc": (lambda: _program("Orthanc") is not None, "apt-get install orthanc orthanc-dicomweb"),
    "dcmtk": (lambda: _program("storescp") is not None, "apt-get install dcmtk"),
    "dicom3tools": (lambda: _program("dciodvfy") is not None, "apt-get install dicom3tools"),
    "egl": (lambda: find_library("EGL") is not None, "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"),
    "data": (lambda: test_data_folder().is_dir(), "set MEDREID_TEST_DATA to the folder with the real test data"),
}

_left_out: dict[str, int] = {}


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def test_data_folder() -> Path:
    return Path(os.environ.get("MEDREID_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


test_data_folder.__test__ = False  # type: ignore[attr-defined]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {name for name, (there, _) in PEERS.items() if not there()}
    if not missing:
        return
    kept, dropped = [], []
    for item in items:
        needs = missing & {mark.name for mark in item.iter_markers()}
        for name in needs:
            _left_out[name] = _left_out.get(name, 0) + 1
        (dropped if needs else kept).append(item)
    if dropped and os.environ.get("CI") == "true":
        wanted = "; ".join(f"{name}: {PEERS[name][1]}" for name in sorted(_left_out))
        pytest.exit(f"CI=true and peers are missing ({wanted})", returncode=3)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a figure that the run should end with, whatever process the test ran in."""
    return lambda text: record_property("report", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        str(value)
        for outcome in ("passed", "failed")
        for test in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(test, "user_properties", [])
        if name == "report" and test.when == "call"
    ]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(text)
    for name, count in sorted(_left_out.items()):
        terminalreporter.write_line(f"left out: {count} tests that need {name} ({PEERS[name][1]})", yellow=True)


@pytest.fixture(autouse=True)
def _logging_is_each_tests_own() -> Iterator[None]:
    """A command run in a test leaves its logs pointed at a stream that is closed with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def data_folder() -> Path:
    """The real test data: tests that ask for it carry ``@pytest.mark.data``."""
    return test_data_folder()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Default settings with an empty home, on ports chosen by the system."""
    return load_settings(environment={"MEDREID_DICOM__PORT": "0", "MEDREID_WEB__PORT": "0"}, home=tmp_path / "home")
