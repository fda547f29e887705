from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.networks import NETWORKS
from tests.learning.tiny import quiet, tiny_recipe, write_films
from training.learning.run import Hardware, train


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``films/manifest.csv`` and the bundle ``out/tiny`` that was trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    films = write_films(folder / "films").parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
        train(tiny_recipe(films), folder / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    yield folder


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    """A copy of that bundle, to be damaged."""
    import shutil

    return Path(shutil.copytree(trained / "out" / "tiny", tmp_path / "given" / "tiny"))
