from __future__ import annotations

from pathlib import Path

import pytest

from tests.boneprint.tiny import write_pairs


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of twenty persons."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))
