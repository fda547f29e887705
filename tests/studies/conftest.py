from __future__ import annotations

import pytest

from inference.networks import NETWORKS


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
