"""Bad input and bad luck: each a named error, with nothing half written and what was there still there."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from config.errors import CommandError, TrainingError
from inference.networks import NETWORKS
from tests.learning.tiny import TinyNetwork, quiet, tiny_recipe, weights, write_films
from training.learning.export import Outcome
from training.learning.recipe import Recipe
from training.learning.run import Hardware, train

CPU = Hardware(accelerator="cpu")


def _train(recipe: Recipe, out: Path, *, resume: bool = False) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    outcome = train(recipe, out, resume=resume, hardware=CPU, tell=quiet, say=said.append)
    assert outcome is not None
    return outcome, said


def _refused(recipe: Recipe, out: Path, reason: str) -> str:
    with pytest.raises((TrainingError, CommandError)) as caught:
        _train(recipe, out)
    assert caught.value.reason == reason
    assert not (out / "tiny").exists()
    assert not list(out.glob(".bundle-*"))
    return str(caught.value)


def test_patients_of_one_image_are_told_of_and_taken_for_cross_entropy(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", (3,) * 14 + (1,) * 8).parent
    _, said = _train(tiny_recipe(films), tmp_path / "out")
    assert any(line.startswith("ONE_IMAGE_PATIENTS: ") and "not used" in line for line in said)
    outcome, said = _train(tiny_recipe(films, ("images = 2", "images = 2\nsingles = 2")), tmp_path / "with")
    assert any(line.startswith("ONE_IMAGE_PATIENTS: ") and "cross-entropy" in line for line in said)
    assert "ONE_IMAGE_PATIENTS" in (outcome.bundle / "bundle.toml").read_text()


def test_a_few_unreadable_files_are_listed_and_many_are_an_error(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films").parent
    broken = sorted(films.glob("*.png"))
    broken[0].write_bytes(b"no picture")
    _, said = _train(tiny_recipe(films), tmp_path / "few")
    assert "UNUSABLE_IMAGES: 1 images that cannot be used: UNKNOWN_FORMAT 1" in said
    with (tmp_path / "few" / "failures.csv").open(newline="") as file:
        assert [(row["path"], row["reason"]) for row in csv.DictReader(file)] == [(broken[0].name, "UNKNOWN_FORMAT")]
    for path in broken[:30]:
        path.write_bytes(b"no picture")
    message = _refused(tiny_recipe(films), tmp_path / "many", "TOO_MANY_FAILURES")
    assert "UNKNOWN_FORMAT 30" in message
    assert "failures.csv" in message


def test_a_kind_of_image_with_a_single_patient_is_named(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", split="train", view="PA").parent
    _rewrite(films, lambda line: line.replace(",train,", ",validation,") if ",p1" in line else line)
    _rewrite(films, lambda line: line.replace(",PA,", ",LL,") if ",p0," in line else line)
    recipe = tiny_recipe(films, ("seed = 5", 'seed = 5\ncompare = ["modality", "view"]'))
    assert "films DX LATERAL" in _refused(recipe, tmp_path / "out", "ONE_PATIENT")


def _rewrite(films: Path, change: Callable[[str], str]) -> None:
    manifest = films / "manifest.csv"
    manifest.write_text("".join(change(line) for line in manifest.read_text().splitlines(keepends=True)))


def test_a_validation_without_mates_is_an_error_before_anything_is_trained(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", (1,) * 6).parent
    for reason, images in (("VALIDATION_TOO_SMALL", (1,) * 16), ("SPLIT_EMPTY", (3,))):
        shutil.rmtree(films)
        write_films(films, images)
        _refused(tiny_recipe(films), tmp_path / reason, reason)
        assert not (tmp_path / reason / "checkpoints").exists()
    shutil.rmtree(films)
    write_films(films)
    message = _refused(
        tiny_recipe(films, ("every = 3", 'every = 3\nfigure = "fnir"')), tmp_path / "few", "VALIDATION_TOO_SMALL"
    )
    assert "100 searches" in message


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_the_last_checkpoint_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    films = write_films(tmp_path / "films").parent
    monkeypatch.setitem(NETWORKS, "tiny", f"{__name__}:build_{where}")
    message = _refused(tiny_recipe(films), tmp_path / "out", "NOT_FINITE")
    assert f"the {where} is not finite at step 4" in message
    assert all(torch.isfinite(value).all() for value in _tensors(tmp_path / "out"))
    # On the same machine with the fault gone, it goes on from there.
    monkeypatch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
    outcome, _ = _train(tiny_recipe(films), tmp_path / "out", resume=True)
    assert outcome.bundle.is_dir()


def _tensors(out: Path) -> list[Tensor]:
    return [value for value in weights(out / "checkpoints" / "last.ckpt").values() if isinstance(value, Tensor)]


class _Breaking(TinyNetwork):
    """Whose fifth training step goes wrong: by its output, or only by its gradient."""

    def __init__(self, by_gradient: bool) -> None:
        super().__init__(8, 0.2)
        self._by_gradient, self._passes = by_gradient, 0

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        found = super().forward(x, modality)
        self._passes += self.training
        if not (self.training and self._passes == 5):
            return found
        # The root of nothing has no slope: zero forwards, infinite backwards.
        return found + (found * 0).abs().sqrt() if self._by_gradient else found * torch.inf


def build_loss(name: str, settings: Mapping[str, Any]) -> TinyNetwork:
    return _Breaking(by_gradient=False)


def build_gradient(name: str, settings: Mapping[str, Any]) -> TinyNetwork:
    return _Breaking(by_gradient=True)


def test_a_twin_that_differs_is_refused_and_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = write_films(tmp_path / "films").parent
    monkeypatch.setitem(NETWORKS, "tiny", f"{__name__}:build_unfaithful")
    _refused(tiny_recipe(films), tmp_path / "out", "ONNX_PARITY")


class _Unfaithful(TinyNetwork):
    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        found = super().forward(x, modality)
        return found.roll(1, 1) if torch.jit.is_tracing() else found


def build_unfaithful(name: str, settings: Mapping[str, Any]) -> TinyNetwork:
    return _Unfaithful(8, 0.0)


@pytest.mark.parametrize(("word", "reason"), [("val", "SPLIT_LEAK"), ("third", "SPLIT_UNKNOWN")])
def test_a_split_that_tears_a_patient_apart_or_means_nothing_is_refused(tmp_path: Path, word: str, reason: str) -> None:
    films = write_films(tmp_path / "films", split="train").parent
    _rewrite(films, lambda line: line.replace(",train,", f",{word},") if line.startswith("0-0") else line)
    _refused(tiny_recipe(films), tmp_path / "out", reason)
