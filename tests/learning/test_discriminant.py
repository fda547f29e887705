"""The discriminant head in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import TrainingError
from inference.encoders.runtime import WEIGHTS_FILE
from tests.learning.tiny import TinyNetwork, quiet, tiny_recipe, weights, write_films
from training.learning.best import best_weights
from training.learning.discriminant import best_shrinkage, discriminant
from training.learning.folder import Folder
from training.learning.prepare import prepare_data
from training.learning.recipe import Recipe
from training.learning.run import Hardware, train


def _people(count: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Identity in 8 of 40 directions, weaker than what varies in the 32 others."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0]
    identity = np.repeat(rng.normal(size=(count, 8)), each, axis=0)
    features = np.hstack([identity + 0.2 * rng.normal(size=identity.shape), 3 * rng.normal(size=(len(identity), 32))])
    return features @ turn + 5, np.repeat(np.arange(count), each)


def _rank1(vectors: np.ndarray, classes: np.ndarray) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T - 2 * np.eye(len(unit))
    return float((classes[scores.argmax(1)] == classes).mean())


def test_it_finds_what_tells_people_apart_that_it_never_saw() -> None:
    projection, mean = discriminant(*_people(300, 3, 1), 8, 0.0)
    features, classes = _people(50, 2, 2)
    assert _rank1(features - mean, classes) < 0.2
    assert _rank1((features - mean) @ projection.T, classes) > 0.9


def test_what_tells_hospitals_apart_is_not_taken_for_what_tells_people_apart() -> None:
    features, classes = _people(60, 3, 1)
    groups = (classes >= 30).astype(np.int64)
    far = features + groups[:, None] * 200 * np.random.default_rng(3).normal(size=40)
    found, mean = discriminant(far, classes, 8, 0.1, groups)
    near, _ = discriminant(features, classes, 8, 0.1, groups)
    np.testing.assert_allclose(np.abs(found), np.abs(near), atol=1e-6)
    np.testing.assert_allclose(mean, (far[groups == 0].mean(axis=0) + far[groups == 1].mean(axis=0)) / 2)
    blind, _ = discriminant(far, classes, 8, 0.1)
    assert np.abs(np.abs(blind) - np.abs(near)).max() > 0.1


def test_one_group_is_as_good_as_none() -> None:
    features, classes = _people(60, 3, 1)
    plain = discriminant(features, classes, 8, 0.1)
    for one, other in zip(
        plain, discriminant(features, classes, 8, 0.1, np.zeros(len(classes), np.int64)), strict=True
    ):
        np.testing.assert_allclose(one, other)


def test_directions_that_tell_little_weigh_little() -> None:
    projection, mean = discriminant(*_people(300, 3, 1), 20, 0.0)
    features, classes = _people(50, 2, 2)
    assert _rank1((features - mean) @ projection.T, classes) > 0.8


def test_it_is_shrunk_the_more_the_less_there_is_to_learn_from() -> None:
    much, little = _people(600, 4, 1), _people(24, 2, 1)
    chosen = [best_shrinkage(*some, np.zeros_like(some[1]), len(some[1]), 4, 0) for some in (much, little)]
    assert chosen[0] <= chosen[1]


@pytest.mark.parametrize(("count", "each", "dimension"), [(5, 3, 5), (30, 1, 4), (300, 3, 41)])
def test_too_little_for_a_discriminant_is_an_error(count: int, each: int, dimension: int) -> None:
    with pytest.raises(TrainingError) as caught:
        discriminant(*_people(count, each, 1), dimension, 0.1)
    assert caught.value.reason == "DISCRIMINANT"


def test_a_training_starts_from_it_once(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", (3,) * 20).parent
    recipe = tiny_recipe(
        films,
        ("settings = { dropout = 0.2 }", "settings = { dimension = 4 }\ndiscriminant = 2"),
        ("learning_rate = 0.01", "learning_rate = 1e-9"),
    )
    train(recipe, tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    start = safetensors.torch.load_file(tmp_path / "out" / "start.safetensors")
    exported = safetensors.torch.load_file(tmp_path / "out" / "tiny" / "weights.safetensors")
    assert torch.allclose(start["head.0.weight"], exported["head.0.weight"], atol=1e-6)
    assert start["head.0.weight"].shape == (4, 128)
    assert torch.equal(start["head.1.running_var"], torch.ones(4))


def _recipe(folder: Path, *changes: tuple[str, str]) -> Recipe:
    fitted = ("settings = { dropout = 0.2 }", "settings = { dimension = 4 }\ndiscriminant = 2")
    return tiny_recipe(write_films(folder / "films", (3,) * 20).parent, fitted, *changes)


def test_without_a_step_the_fitted_head_is_what_serves(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, ("steps = 6", "steps = 0"))
    outcome = train(recipe, tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    assert outcome is not None
    assert torch.equal(_head(tmp_path / "out" / "start.safetensors"), _head(outcome.bundle / WEIGHTS_FILE))
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_steps_that_better_nothing_leave_the_fitted_head(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, ("learning_rate = 0.01", "learning_rate = 1.0"))
    outcome = train(recipe, tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    assert outcome is not None
    assert torch.equal(_head(tmp_path / "out" / "start.safetensors"), _head(outcome.bundle / WEIGHTS_FILE))
    trained = weights(Folder(tmp_path / "out").best)["network.head.0.weight"]
    assert not torch.equal(trained, _head(outcome.bundle / WEIGHTS_FILE))


def test_a_test_that_is_better_than_the_start_wins(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    folder = Folder(tmp_path / "out")
    train(recipe, folder.path, hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    spoilt = safetensors.torch.load_file(folder.start)
    spoilt["head.0.weight"].zero_()
    safetensors.torch.save_file(spoilt, folder.start)
    held_out = prepare_data(recipe, folder, (), 1, quiet).held_out
    found = best_weights(recipe, TinyNetwork(4, 0.0), held_out, folder, torch.device("cpu"), quiet)
    assert torch.equal(found.state_dict()["head.0.weight"], weights(folder.best)["network.head.0.weight"])


def _head(path: Path) -> torch.Tensor:
    return safetensors.torch.load_file(path)["head.0.weight"]
