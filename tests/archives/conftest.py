"""One Orthanc per setting of OverwriteInstances and session: starting one costs seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.orthanc import Orthanc, orthanc


@pytest.fixture(scope="session")
def keeping_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """OverwriteInstances=false: the second instance under a SOP Instance UID is dropped."""
    with orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as peer:
        yield peer


@pytest.fixture(scope="session")
def overwriting_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """OverwriteInstances=true: the second instance replaces the first."""
    with orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True, OverwriteInstances=True) as peer:
        yield peer


@pytest.fixture(params=["keeping", "overwriting"])
def peer(request: pytest.FixtureRequest) -> Iterator[Orthanc]:
    """An empty Orthanc of either setting."""
    running: Orthanc = request.getfixturevalue(f"{request.param}_orthanc")
    running.clear()
    yield running
