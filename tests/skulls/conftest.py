"""One toy training for all tests that need a trained encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.encoders.registry import Registry
from inference.encoders.skull_face import SkullFaceEncoder
from tests.skulls import toy
from training.skulls.export import Outcome
from training.skulls.recipe import SkullRecipe


@dataclass(frozen=True, slots=True)
class ToyRun:
    """A finished training: its recipe, its work folder and what came out."""

    recipe: SkullRecipe
    work: Path
    outcome: Outcome

    def encoder(self) -> SkullFaceEncoder:
        found = Registry((self.work,), "cpu").get("skull-face")
        assert isinstance(found, SkullFaceEncoder)
        return found


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the toy network and the toy phantoms known by name."""
    toy.known(monkeypatch)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyRun]:
    folder = tmp_path_factory.mktemp("skulls")
    with pytest.MonkeyPatch.context() as patch:
        toy.known(patch)
        recipe = toy.recipe_in(folder)
        yield ToyRun(recipe, folder / "work", toy.trained(recipe, folder / "work"))
