"""Whole trainings, small enough for a test."""

from __future__ import annotations

from pathlib import Path

from inference.encoders.registry import Registry
from tests.learning.tiny import quiet, tiny_recipe, write_films
from training.learning.run import Hardware, train

CPU = Hardware(accelerator="cpu")


def test_a_training_ends_in_a_bundle_that_serves(tmp_path: Path) -> None:
    write_films(tmp_path / "films")
    said: list[str] = []
    outcome = train(tiny_recipe(tmp_path / "films"), tmp_path / "out", hardware=CPU, tell=quiet, say=said.append)
    assert outcome is not None
    assert outcome.bundle == tmp_path / "out" / "tiny"
    manifest = Registry((tmp_path / "out",), "cpu").bundle("tiny").manifest
    assert manifest.dimension == 8
