"""The Orthanc twin against the real Orthanc, with either setting of OverwriteInstances."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicom_node.archives.orthanc import OrthancArchive
from dicom_node.archives.orthanc_http import OrthancRest
from tests.archives.contract import ArchiveContract
from tests.peers.orthanc import USER, Orthanc

pytestmark = pytest.mark.orthanc


class TestOrthanc(ArchiveContract):
    @pytest.fixture
    def archive(self, peer: Orthanc) -> Iterator[OrthancArchive]:  # type: ignore[override]
        archive = OrthancArchive(OrthancRest(peer.url, USER, str(peer.password_file), 20.0))
        yield archive
        archive.close()
