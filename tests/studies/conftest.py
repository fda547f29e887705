from __future__ import annotations

import pytest

from inference.networks import NETWORKS


@pytest.fixture(autouse=True)
def _networks_of_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "left", "tests.studies.halves:build")
    monkeypatch.setitem(NETWORKS, "right", "tests.studies.halves:build")
