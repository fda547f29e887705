"""A receiver in the test's own process, and what stands in its spool."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load_settings
from dicom_node.journal import JournalReader, Position
from dicom_node.listener import Listener
from dicom_node.spool import Spool


def wait_for(happened: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits until ``happened`` says so; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


ListenerFactory = Callable[..., AbstractContextManager[Listener]]


def make_settings(home: Path, **dicom: str) -> Settings:
    """Settings with an empty home, port 0 and no reserve; keys are those of section ``dicom`` in upper case."""
    environment = {"MEDREID_DICOM__PORT": "0", "MEDREID_SPOOL__MIN_FREE_BYTES": "0"}
    return load_settings(environment=environment | {f"MEDREID_DICOM__{k}": v for k, v in dicom.items()}, home=home)


@pytest.fixture
def listen(tmp_path: Path) -> ListenerFactory:
    """``with listen(MAX_PDU_LENGTH="16384") as listener: ...``"""

    @contextlib.contextmanager
    def start(**dicom: str) -> Iterator[Listener]:
        settings = make_settings(tmp_path / "home", **dicom)
        with Listener(settings, Spool(settings.spool_folder, settings.spool.min_free_bytes)) as listener:
            yield listener

    return start


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], Stored]:
    """Looks at the spool of ``listen`` and of receivers with the home ``tmp_path / "home"``."""
    return lambda: Stored(tmp_path / "home" / "spool")


class Stored:
    """What a spool holds, read the way any other process reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        reader, position = JournalReader(folder / "journal"), Position()
        while True:
            more, position = reader.read(position)
            if not more:
                break
            self.records += more
        self.files = {path.stem: path.read_bytes() for path in (folder / "objects").glob("??/*.dcm")}

    @property
    def instances(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == "instance"]

    @property
    def ends(self) -> list[str]:
        return [record["how"] for record in self.records if record["kind"] == "association_end"]

    @property
    def durable(self) -> set[str]:
        """Hashes of all that a sender may have been told of: objects, and slots about to be moved to their place."""
        # Slots before objects: what moves in between is then seen twice, never missed.
        slots = []
        for path in (self.folder / "incoming").iterdir():
            with contextlib.suppress(FileNotFoundError):
                slots.append(path.read_bytes())
        return {hashlib.sha256(content).hexdigest() for content in slots if content} | set(Stored(self.folder).files)

    @property
    def leftovers(self) -> list[Path]:
        """Files with content that are no object. Empty ones are slots for objects to come."""
        folders = (self.folder / "incoming", self.folder / "staging")
        return [path for folder in folders for path in folder.iterdir() if path.stat().st_size]

    def check(self) -> None:
        """Every file is whole and every journalled object is there; nothing lies about."""
        for sha256, content in self.files.items():
            assert hashlib.sha256(content).hexdigest() == sha256
        for record in self.instances:
            assert len(self.files[record["sha256"]]) == record["size"]
        assert not self.leftovers
