"""The recipe of the reconstruction teacher: it learns, goes on where it was, and ends in a teacher that loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.encoders.bundle import Bundle
from training.learning.teachers import load_teacher
from training.recipes import reconstruction as recipe
from training.recipes.reconstruction import HIDDEN, SQUARE, Draws, Pictures, Rebuilder

SIZE = 32


def pictures(seed: int = 1, count: int = 24) -> np.ndarray:
    """Ramps in many directions: what is hidden follows from what is not."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:SIZE, :SIZE] / SIZE
    angles = rng.uniform(0, 2 * np.pi, (count, 3, 1, 1))
    return np.uint8(np.clip(128 + 120 * (np.cos(angles) * down + np.sin(angles) * right), 0, 255))


def trained(work: Path, epochs: int, steps: int = 20) -> Rebuilder:
    torch.manual_seed(3)
    module = Rebuilder(steps, seed=5, learning_rate=5e-3)
    draws = Draws(Pictures((pictures(1), pictures(2)), (pictures(3, 8),) * 2), seed=5, size=8, count=5)
    recipe.train(draws, module, epochs, work)
    return module


def test_half_of_the_squares_are_hidden_and_none_in_part() -> None:
    whole = torch.rand(16, 3, 64, 64)
    covered, hidden = recipe.hide(whole, torch.Generator().manual_seed(1))
    assert float(hidden.float().mean()) == pytest.approx(HIDDEN, abs=0.08)
    squares = hidden.unfold(2, SQUARE, SQUARE).unfold(3, SQUARE, SQUARE).flatten(-2)
    assert torch.equal(squares.all(-1), squares.any(-1))
    assert (covered[hidden.expand_as(covered)] == 0.5).all()
    assert float((covered - whole)[~hidden.expand_as(whole)].abs().mean()) < 0.1


def test_an_interrupted_training_ends_where_one_that_was_not_does(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "parts", 2)
    parts = trained(tmp_path / "parts", 4)
    assert parts.global_step == whole.global_step == 20
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, msg=name)


def test_epochs_differ_in_what_they_show() -> None:
    own = Pictures((pictures(),), (pictures(),))
    first, second, again = (recipe.Batches(own.train, 8, 5, start, 5) for start in (0, 5, 0))
    assert len(list(first)) == 5
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], second[1])


def test_it_learns_and_its_bundle_is_a_teacher(tmp_path: Path) -> None:
    module = trained(tmp_path / "work", 8, steps=40)
    rebuilt, filled = recipe.errors(module.network, pictures(3, 8), seed=1)
    assert rebuilt < 0.8 * filled
    says = {"trained_on": "ramps", "recipe": "a test", "metrics": {"ramps": [rebuilt, filled]}}
    for _ in range(2):  # a second one takes the first one's place
        recipe.write_teacher(tmp_path / "out", module.network, says)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["reconstruction"]
    assert Bundle.read(tmp_path / "out" / "reconstruction").manifest.metrics == {"ramps": [rebuilt, filled]}
    teacher = load_teacher("reconstruction", [tmp_path / "out"])
    images = torch.from_numpy(pictures(4, 2)).float() / 255
    with torch.no_grad():
        expected = module.network.eval().local(images)
    torch.testing.assert_close(teacher.maps(images), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
