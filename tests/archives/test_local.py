"""The embedded twin: the contract, and what only it can get wrong."""

from __future__ import annotations

import pytest

from dicom_node.archives.local import LocalArchive
from tests.archives.contract import ArchiveContract


class TestLocal(ArchiveContract):
    @pytest.fixture
    def archive(self, tmp_path_factory: pytest.TempPathFactory) -> LocalArchive:
        return LocalArchive(tmp_path_factory.mktemp("home") / "archive")
