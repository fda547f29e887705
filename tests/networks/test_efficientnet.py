"""EfficientNets: the face, the twin, the poolings, and the ImageNet start that the general encoder has as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from config.errors import EncoderError
from inference.encoders.registry import Registry
from inference.networks import build
from tests.networks.faces import assert_has_the_face, assert_its_twin_agrees, planes


@pytest.mark.parametrize(
    ("name", "settings", "dimension"),
    [
        ("efficientnet-lite0", {}, 1280),
        ("efficientnet-lite0", {"pool": "gem", "embedding": 24}, 24),
        ("efficientnet-lite0", {"pool": "mean+max"}, 2560),
        ("efficientnet-b0", {"embedding": 16}, 16),
    ],
)
def test_it_has_the_face_of_a_network(name: str, settings: dict[str, Any], dimension: int) -> None:
    torch.manual_seed(1)
    network = build(name, settings)
    assert network.dimension == dimension
    assert_has_the_face(network)


@pytest.mark.parametrize(("name", "pool"), [("efficientnet-lite0", "gem"), ("efficientnet-b0", "mean+max")])
def test_its_onnx_twin_agrees(name: str, pool: str) -> None:
    torch.manual_seed(2)
    assert_its_twin_agrees(build(name, {"pool": pool, "embedding": 16}))


def test_the_pretrained_start_is_the_network_of_the_general_encoder() -> None:
    network = build("efficientnet-lite0", {"pretrained": True}).eval()
    encoder: Any = Registry(device="cpu").get("general")
    pixels = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        found = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, None].float() / 255)
    np.testing.assert_allclose(found.numpy(), encoder._features(list(pixels)), atol=2e-5)


def test_the_classifier_of_imagenet_is_not_carried_along() -> None:
    network = build("efficientnet-lite0", {"pretrained": True})
    assert not [name for name in network.state_dict() if "_fc" in name]
    assert sum(one.numel() for one in network.parameters()) < 3.5e6


def test_without_drop_connect_training_has_no_chance_in_it() -> None:
    torch.manual_seed(4)
    for name in ("efficientnet-lite0", "efficientnet-b0"):
        sure, chancy = build(name, {"drop_connect": 0.0}).train(), build(name, {"drop_connect": 0.5}).train()
        x = planes(4, 1)
        with torch.no_grad():
            assert torch.equal(sure(x), sure(x))
            assert not torch.equal(chancy(x), chancy(x))


def test_the_generalised_mean_lies_between_mean_and_maximum() -> None:
    mean, gem, both = (build("efficientnet-lite0", {"pool": pool}).pool for pool in ("mean", "gem", "mean+max"))
    maps = torch.rand(3, 5, 4, 4)
    with torch.no_grad():
        low, middle, high = mean(maps), gem(maps), both(maps)[:, 5:]
        assert (low < middle).all()
        assert (middle < high).all()
        assert torch.equal(both(maps)[:, :5], low)
        gem.power.fill_(1.0)
        torch.testing.assert_close(gem(maps), low)


def test_windows_of_a_grid_cover_the_map() -> None:
    pool = build("efficientnet-lite0", {"pool": "grid", "grid": 4}).pool
    maps = torch.rand(2, 3, 8, 8)
    expected = maps.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)).flatten(1)
    torch.testing.assert_close(pool(maps), expected)
    uneven = torch.rand(1, 1, 14, 9, requires_grad=True)
    assert pool(uneven).shape == (1, 16)
    pool(uneven).sum().backward()
    assert uneven.grad is not None
    assert (uneven.grad > 0).all()
    with pytest.raises(ValueError, match="does not fit"):
        pool(torch.rand(1, 1, 3, 8))


def test_its_first_blocks_are_those_of_the_whole_network() -> None:
    whole, first = (build("efficientnet-lite0", {"pretrained": True, "blocks": n}).eval() for n in (0, 11))
    assert (first.channels, first.dimension) == (112, 112)
    seen: list[torch.Tensor] = []
    hook = whole.trunk.layers.network._blocks[10].register_forward_hook(lambda *found: seen.append(found[2]))
    x = planes(2, 1)
    with torch.inference_mode():
        whole.local(x)
        torch.testing.assert_close(first.local(x), seen[0])
    hook.remove()


def test_a_grid_on_the_first_blocks_has_a_twin() -> None:
    torch.manual_seed(5)
    settings = {"blocks": 3, "pool": "grid", "grid": 2, "embedding": 8}
    assert_its_twin_agrees(build("efficientnet-lite0", settings))


def test_blocks_that_are_not_there_are_named() -> None:
    for name, blocks in (("efficientnet-lite0", 17), ("efficientnet-b0", 3)):
        with pytest.raises(EncoderError, match="blocks"):
            build(name, {"blocks": blocks})
