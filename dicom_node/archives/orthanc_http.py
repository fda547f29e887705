"""Orthanc's REST API through ``orthanc-api-client``: one host, bounded waits, and errors of our own.

The client's session is replaced by one that follows no redirect, asks no proxy, reads no ``.netrc``, repeats no
request by itself and never leaves the configured host. Addresses hold Orthanc's own hashes, never a received value.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import requests
from orthanc_api_client import OrthancApiClient
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from config.errors import ArchiveConflictError, ArchiveError, ArchiveUnavailableError, ConfigError

# The connection itself is quick or not there; the configured timeout is for answers.
CONNECT_SECONDS = 5.0


class MissingError(ArchiveConflictError):
    """Orthanc has no such resource (any more)."""

    reason = "ARCHIVE_MISSING"


class _OneHostSession(requests.Session):
    def __init__(self, root: str, timeout: float) -> None:
        super().__init__()
        self.trust_env = False
        # The one variable that says whom to trust, not where to go: a site's own certificate authority.
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self.headers["Accept-Encoding"] = "identity"  # Orthanc's gzip costs 50 ms per file
        self._root = root
        self._timeout = timeout
        # Orthanc drops idle connections after a second: what may safely be said twice is said again at once.
        again = Retry(
            total=2, status=0, redirect=0, other=0, allowed_methods={"GET", "PUT", "DELETE"}, backoff_factor=0.1
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=again))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        if not str(url).startswith(self._root):
            raise ArchiveError("a request would have left the configured archive", reason="OTHER_HOST")
        kwargs["allow_redirects"] = False
        kwargs.setdefault("timeout", (min(CONNECT_SECONDS, self._timeout), self._timeout))
        return super().request(method, url, *args, **kwargs)


class _Client(OrthancApiClient):  # type: ignore[misc]
    """The client with its answers turned into :mod:`config.errors`; bodies never enter a message."""

    def _raise_or_retry_on_errors(self, response: requests.Response, url: str) -> bool:
        status = response.status_code
        if 200 <= status < 300:
            return False
        if status in (401, 403):
            raise ArchiveError("the archive refuses user or password; see archive.user", reason="ARCHIVE_DENIED")
        if status == 404:
            raise MissingError("the archive has no such resource")
        if status >= 500:
            raise ArchiveUnavailableError(f"the archive answers {status}; it is tried again", reason="ARCHIVE_FAILED")
        raise ArchiveError(f"the archive answers {status} to a request", reason="ARCHIVE_REFUSED")

    def _translate_exception(self, request_exception: requests.RequestException, url: str) -> None:
        raise ArchiveUnavailableError(
            f"the archive cannot be reached ({type(request_exception).__name__}); check archive.url and that it runs"
        ) from None


class OrthancRest:
    """The calls that the archive needs. All raise :class:`config.errors.ArchiveError` or a subclass."""

    def __init__(self, url: str, user: str, password_file: str, timeout: float) -> None:
        root = _root(url)
        self._client = _Client(root, user=user, pwd=_password(password_file) if user else None)
        session = _OneHostSession(root, timeout)
        session.auth = self._client._http_session.auth
        self._client._http_session.close()
        self._client._http_session = session

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return _json(self._client.get(path, params=parameters or None))

    def text(self, path: str) -> str:
        return cast("str", self._client.get(path).text)

    def post(self, path: str, body: Any) -> Any:
        return _json(self._client.post(path, json=body))

    def delete(self, path: str) -> None:
        self._client.delete(path)

    def system(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._client.get_system())

    def lookup(self, value: str, level: str) -> list[str]:
        """Orthanc ids of resources that one of Orthanc's identifier tags finds; may hold near matches.

        ``value`` goes in the body, so that it may be anything.
        """
        found = _json(self._client.post("tools/lookup", data=value.encode("utf-8")))
        return [str(one["ID"]) for one in found if one["Type"] == level]

    def file(self, instance: str) -> bytes:
        return cast("bytes", self._client.instances.get_file(instance))

    def upload(self, part10: bytes) -> dict[str, Any]:
        """Stores one instance and returns Orthanc's answer (``ID``, ``Status``, ``ParentStudy``)."""
        answer = _json(self._client.post("instances", data=part10, headers={"Content-Type": "application/dicom"}))
        return cast("dict[str, Any]", answer)

    def bulk_delete(self, instances: Sequence[str]) -> None:
        """Deletes instances one by one (their study goes with the last): nothing that arrives meanwhile is touched."""
        try:
            self._client.post("tools/bulk-delete", json={"Resources": list(instances)})
        except MissingError:  # Orthanc before 1.9.4
            for instance in instances:
                with contextlib.suppress(MissingError):
                    self._client.delete(f"instances/{instance}")

    def metadata(self, path: str) -> Mapping[str, str]:
        return cast("Mapping[str, str]", self._client.get_json(f"{path}/metadata?expand"))

    def put_metadata(self, path: str, name: str, value: str) -> None:
        address = f"{path}/metadata/{quote(name, safe='')}"
        self._client.put(address, data=value.encode("utf-8"), headers=self._revision(address))

    def delete_metadata(self, path: str, name: str) -> None:
        address = f"{path}/metadata/{quote(name, safe='')}"
        with contextlib.suppress(MissingError):
            self._client.delete(address, headers=self._revision(address))

    def attachments(self, path: str) -> Sequence[str]:
        return cast("Sequence[str]", self._client.get_json(f"{path}/attachments"))

    def attachment(self, path: str, name: str) -> bytes:
        return cast("bytes", self._client.get_binary(f"{path}/attachments/{quote(name, safe='')}/data"))

    def put_attachment(self, path: str, name: str, data: bytes) -> None:
        address = f"{path}/attachments/{quote(name, safe='')}"
        self._client.put(address, data=data, headers=self._revision(address + "/data"))

    @cached_property
    def has_labels(self) -> bool:
        """Whether this Orthanc knows labels (1.12.0+); ``capabilities.has_label_support`` fails where it does not."""
        return bool(self.system().get("HasLabels"))

    def labels(self, path: str) -> Sequence[str]:
        return cast("Sequence[str]", self._client.get_json(f"{path}/labels")) if self.has_labels else ()

    def put_label(self, path: str, label: str) -> None:
        self._client.put(f"{path}/labels/{quote(label, safe='')}", data=b"")

    def _revision(self, address: str) -> dict[str, str]:
        """What ``CheckRevisions`` (Orthanc 1.9.2+) wants to hear before it lets something be changed."""
        try:
            tag = self._client.get(address).headers.get("ETag")
        except MissingError:
            return {}
        return {"If-Match": tag} if tag else {}


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise ArchiveUnavailableError("the archive's answer is no JSON; is archive.url an Orthanc?") from None


def _root(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("archive.url is no http(s) address; it looks like http://127.0.0.1:8042/")
    if parts.username or parts.password:
        raise ConfigError("archive.url holds a password; put it into archive.password_file")
    return url if url.endswith("/") else url + "/"


def _password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"archive.password_file {path} cannot be read: {type(error).__name__}") from None
