"""ResNets: the face, the twin, and shortcuts that let gradients through."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inference.networks import build
from tests.networks.faces import assert_has_the_face, assert_its_twin_agrees, planes


@pytest.mark.parametrize(
    ("name", "settings", "dimension"),
    [("resnet18", {}, 512), ("resnet18", {"pool": "mean+max", "embedding": 8}, 8), ("resnet50", {}, 2048)],
)
def test_it_has_the_face_of_a_network(name: str, settings: dict[str, Any], dimension: int) -> None:
    torch.manual_seed(1)
    network = build(name, settings)
    assert network.dimension == dimension
    assert_has_the_face(network)


def test_its_onnx_twin_agrees() -> None:
    torch.manual_seed(2)
    assert_its_twin_agrees(build("resnet18", {"pool": "gem"}))


def test_gradients_pass_the_shortcuts_that_change_the_number_of_channels() -> None:
    """With the residual branch of a stage shut, its input still learns."""
    torch.manual_seed(3)
    network: Any = build("resnet18", {}).eval()
    block = network.trunk.layers[5][0]
    torch.nn.init.zeros_(block.bn2.weight)
    network(planes(2, 1)).sum().backward()
    assert float(network.trunk.layers[0].weight.grad.abs().max()) > 0
