"""A real Orthanc on loopback, on ports chosen by the system, with a storage folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from dicom_node.process import free_port

USER = "medreid"
PASSWORD = "test-only"
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def program() -> str:
    found = shutil.which("Orthanc", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if found is None:
        raise FileNotFoundError("Orthanc is not installed (apt-get install orthanc)")
    return found


@dataclass
class Orthanc:
    """A running Orthanc; ``http`` is a session that is logged in."""

    folder: Path
    http_port: int
    dicom_port: int
    process: subprocess.Popen[bytes]
    ae_title: str = "ORTHANC"
    http: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/"

    @cached_property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.get("system")["Version"].split("."))

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    def get(self, path: str) -> Any:
        answer = self.http.get(self.url + path, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> requests.Response:
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.http.post(self.url + path, data=data, timeout=60)

    def delete(self, path: str) -> requests.Response:
        return self.http.delete(self.url + path, timeout=30)

    def upload(self, part10: bytes) -> dict[str, Any]:
        answer = self.post("instances", part10)
        answer.raise_for_status()
        stored: dict[str, Any] = answer.json()
        return stored

    def file(self, instance: str) -> bytes:
        return self.http.get(f"{self.url}instances/{instance}/file", timeout=30).content

    def studies(self, study_uid: str) -> list[dict[str, Any]]:
        """Every Orthanc study that has this Study Instance UID, expanded."""
        found = self.post("tools/lookup", study_uid).json()
        return [self.get(f"studies/{one['ID']}") for one in found if one["Type"] == "Study"]

    def clear(self) -> None:
        for study in self.get("studies"):
            self.delete(f"studies/{study}")

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=15)


def configuration(folder: Path, http_port: int, dicom_port: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpServerEnabled": True,
        "HttpPort": http_port,
        "HttpCompressionEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "DicomModalities": {},
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "StableAge": 1,
        "OverwriteInstances": False,
        "ConcurrentJobs": 2,
        "HttpThreadsCount": 10,
        # Test studies are thrown away with their folder.
        "SyncStorageArea": False,
    }
    values.update(changes)
    return values


@contextlib.contextmanager
def orthanc(
    folder: Path, *, dicomweb: bool = False, ports: tuple[int, int] | None = None, **changes: Any
) -> Iterator[Orthanc]:
    """Starts Orthanc, waits until it answers, and ends it (by its process id) on leaving.

    ``ports`` (HTTP, DICOM) serve to start one again where it was.
    ``changes`` go over the configuration, e.g. ``OverwriteInstances=True`` or ``DicomModalities={...}``.
    """
    (folder / "storage").mkdir(parents=True, exist_ok=True)
    (folder / "password").write_text(PASSWORD + "\n")
    plugins = [str(DICOMWEB_PLUGIN)] if dicomweb else []
    for attempt in range(3):  # a port found free may be taken before Orthanc binds it
        http_port, dicom_port = ports or (free_port(), free_port())
        values = configuration(folder, http_port, dicom_port, **{"Plugins": plugins, **changes})
        (folder / "orthanc.json").write_text(json.dumps(values))
        with (folder / "orthanc.log").open("ab") as log:
            process = subprocess.Popen([program(), str(folder / "orthanc.json")], stdout=log, stderr=log)
        peer = Orthanc(folder, http_port, dicom_port, process)
        peer.http.auth = (USER, PASSWORD)
        peer.http.trust_env = False
        if _answers(peer):
            break
        peer.stop()
        if attempt == 2:
            raise RuntimeError(f"Orthanc did not start; see {folder / 'orthanc.log'}")
    try:
        yield peer
    finally:
        peer.stop()


def _answers(peer: Orthanc) -> bool:
    for _ in range(300):
        if peer.process.poll() is not None:
            return False
        with contextlib.suppress(requests.RequestException):
            if peer.http.get(peer.url + "system", timeout=2).ok:
                return True
        time.sleep(0.1)
    return False


def settings_of(peer: Orthanc) -> Mapping[str, str]:
    """The ``MEDREID_ARCHIVE__*`` variables that point a node at this Orthanc."""
    return {
        "MEDREID_ARCHIVE__KIND": "orthanc",
        "MEDREID_ARCHIVE__URL": peer.url,
        "MEDREID_ARCHIVE__USER": USER,
        "MEDREID_ARCHIVE__PASSWORD_FILE": str(peer.password_file),
        "MEDREID_ARCHIVE__QUIET_SECONDS": "0",
    }
