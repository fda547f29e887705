"""What is done to training images, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.learning.augment import Augmenter
from training.learning.recipe import Augment

EVERYTHING = Augment(
    scale=(0.5, 1.0), aspect=1.2, rotation=10, translation=0.05, brightness=0.1, contrast=0.3, gamma=0.3, noise=0.05,
    blur=1.5, cutout=0.3, border=0.1, resolution=0.3, flip=0.5, chance=0.7,
)  # fmt: skip


def _pictures(count: int = 6, slices: int = 1, size: int = 40) -> Tensor:
    drawn = torch.rand(count, slices, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(drawn.flatten(0, 1), (size, size), mode="bilinear")
    return (smooth * 255).byte().expand(-1, 3, -1, -1).unflatten(0, (count, slices)).contiguous()


SEEDS = torch.arange(6) * 7919


def test_without_settings_nothing_changes() -> None:
    pictures = _pictures()
    assert torch.allclose(Augmenter(Augment(), 40)(pictures, SEEDS), pictures / 255, atol=2e-4)


def test_what_happens_to_an_image_follows_from_its_seed_alone() -> None:
    pictures, augment = _pictures(), Augmenter(EVERYTHING, 32)
    together = augment(pictures, SEEDS)
    alone = torch.cat([augment(pictures[n : n + 1], SEEDS[n : n + 1]) for n in (5, 4, 3, 2, 1, 0)]).flip(0)
    assert torch.equal(together, alone)
    assert not torch.allclose(together, augment(pictures, SEEDS + 1), atol=0.05)
    assert (together.shape, together.dtype) == ((6, 1, 3, 32, 32), torch.float32)
    assert 0 <= together.min() <= together.max() <= 1


def test_slices_of_a_scan_are_moved_alike() -> None:
    one = _pictures(3, 1).expand(-1, 4, -1, -1, -1)
    settings = EVERYTHING.model_copy(update={"noise": 0.0})
    found = Augmenter(settings, 32)(one, SEEDS[:3])
    assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-6)


def test_laterality_survives_unless_a_flip_is_asked_for() -> None:
    left = torch.zeros(6, 1, 3, 40, 40, dtype=torch.uint8)
    left[..., :14] = 255
    settings = EVERYTHING.model_copy(
        update={"flip": 0.0, "cutout": 0.0, "border": 0.0, "translation": 0.0, "scale": (0.9, 1.0)}
    )
    kept = Augmenter(settings, 32)(left, SEEDS)
    assert bool((kept[..., :8].mean((1, 2, 3, 4)) > kept[..., -8:].mean((1, 2, 3, 4))).all())
    turned = Augmenter(settings.model_copy(update={"flip": 1.0}), 32)(left, SEEDS)
    assert bool((turned[..., :8].mean((1, 2, 3, 4)) < turned[..., -8:].mean((1, 2, 3, 4))).all())


@pytest.mark.parametrize(("step", "value"), [("border", 0.3), ("cutout", 0.8)])
def test_borders_and_parts_are_hidden_by_one_grey(step: str, value: float) -> None:
    pictures = _pictures()
    settings = Augment().model_copy(update={step: value, "chance": 1.0})
    changed = (Augmenter(settings, 40)(pictures, SEEDS) - pictures / 255).abs() > 0.01
    assert 0.05 < changed.float().mean() < 0.8
    if step == "border":
        assert not changed[..., 14:26, 14:26].any()


def test_resolution_is_lost_and_size_is_not() -> None:
    checks = (torch.arange(40) % 2 * 255).byte().expand(6, 1, 3, 40, 40).contiguous()
    settings = Augment(resolution=0.2, chance=1.0)
    assert Augmenter(settings, 40)(checks, SEEDS).std() < 0.5 * (checks / 255).std()
