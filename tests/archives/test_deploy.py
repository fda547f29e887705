"""deploy/orthanc.json and orthanc.lua in a real Orthanc: it starts, pushes what is new, and not what we moved."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from config.settings import load_settings
from dicom_node.archives.canonical import dataset_sha256
from dicom_node.archives.elements import parse
from dicom_node.archives.orthanc import OrthancArchive
from dicom_node.archives.orthanc_http import OrthancRest
from tests.archives.contract import Intents
from tests.archives.studies import TARGET, instance, provenance, uid
from tests.peers.orthanc import USER, Orthanc, orthanc

pytestmark = pytest.mark.orthanc

DEPLOY = Path(__file__).parents[2] / "deploy"


def shipped() -> dict[str, Any]:
    text = (DEPLOY / "orthanc.json").read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return values


class Receiver:
    """A Storage SCP that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.changed = threading.Condition()
        ae = AE("MEDREID")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = self.server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        with self.changed:
            self.got.append(event.encoded_dataset())
            self.changed.notify_all()
        return 0

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, timeout=30)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.server.shutdown()


@pytest.fixture
def peer(receiver: Receiver, tmp_path: Path) -> Iterator[Orthanc]:
    """The shipped configuration but for folders, ports, users and a shorter wait."""
    mine = ("StorageDirectory", "IndexDirectory", "HttpPort", "DicomPort", "StableAge", "LuaScripts")
    values = {name: value for name, value in shipped().items() if name not in mine}
    values["DicomModalities"]["medreid"][2] = receiver.port
    with orthanc(tmp_path, StableAge=1, LuaScripts=[str(DEPLOY / "orthanc.lua")], **values) as running:
        yield running


def test_what_is_new_is_pushed_and_what_the_node_moved_is_not(peer: Orthanc, receiver: Receiver) -> None:
    study, other = uid("deploy"), uid("deploy other")
    data = instance(study, 1)
    peer.upload(data)
    receiver.wait_for(1)
    assert dataset_sha256(parse(receiver.got[0])) == dataset_sha256(parse(data))
    archive = OrthancArchive(OrthancRest(peer.url, USER, str(peer.password_file), 20.0))
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    (moved,) = peer.studies(study)
    assert "MedReIDRelink" in peer.get(f"studies/{moved['ID']}/metadata")
    assert "MedReIDReceipt" in peer.get(f"studies/{moved['ID']}/attachments")
    while not peer.get(f"studies/{moved['ID']}")["IsStable"]:
        time.sleep(0.1)
    peer.upload(instance(other, 1))  # stable later than the moved one: when it is here, the other would have been
    receiver.wait_for(2)
    assert [parse(one).text(0x0020000D) for one in receiver.got] == [study, other]
    archive.undo(receipt)
    (former,) = peer.studies(study)
    assert former["PatientMainDicomTags"]["PatientID"] == "UNKNOWN"
    assert "MedReIDReceipt" not in peer.get(f"studies/{former['ID']}/attachments")
    archive.close()


def test_the_shipped_configuration_fits_the_shipped_settings() -> None:
    settings = load_settings(environment={})
    title, host, port = shipped()["DicomModalities"]["medreid"]
    assert (title, host, port) == (settings.dicom.ae_title, settings.dicom.host, settings.dicom.port)
