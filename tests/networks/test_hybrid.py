"""The hybrid: both networks are in its embedding, whatever the size of the image."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inference.networks import build
from tests.networks.faces import assert_has_the_face, assert_its_twin_agrees, planes, settled


def test_it_has_the_face_of_a_network_and_projects() -> None:
    torch.manual_seed(1)
    network = build("hybrid", {})
    assert (network.dimension, network.channels) == (512, 512 + 1280)
    assert_has_the_face(network)


def test_its_onnx_twin_agrees() -> None:
    torch.manual_seed(2)
    assert_its_twin_agrees(build("hybrid", {"embedding": 16}))


def test_both_networks_count() -> None:
    torch.manual_seed(3)
    network: Any = settled(build("hybrid", {"embedding": 16}))
    x = planes(2, 1)
    with torch.inference_mode():
        whole = network(x)
        for part in (network.trunk.first, network.trunk.second):
            kept = part.deviation.clone()
            part.deviation.fill_(1e6)  # it sees one grey
            assert not torch.allclose(network(x), whole, atol=1e-3)
            part.deviation.copy_(kept)
        torch.testing.assert_close(network(x), whole)


@pytest.mark.parametrize("size", [32, 45, 50, 64])
def test_any_size_has_one_grid(size: int) -> None:
    torch.manual_seed(4)
    network: Any = build("hybrid", {"embedding": 8}).eval()
    with torch.inference_mode():
        local = network.local(planes(1, 1, size))
    assert local.shape[:2] == (1, 1792)
    assert local.shape[2] == local.shape[3] == -(-size // 32)
