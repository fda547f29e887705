"""The backbones of the comparison: their published sizes, and the face that every network has."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from inference.networks import build
from inference.networks.base import MeanPool
from inference.networks.convnext import ConvNeXtSettings
from inference.networks.mobilenet import InvertedResidual
from tests.networks.faces import assert_has_the_face, assert_its_twin_agrees, planes

CLASSES = 1000
# Parameters as published with a classifier of 1000 classes, and the channels that it stands on.
PUBLISHED = {
    "resnet18": (11_689_512, 512),
    "resnet50": (25_557_032, 2048),
    "resnet101": (44_549_160, 2048),
    "densenet121": (7_978_856, 1024),
    "densenet201": (20_013_928, 1920),
    "efficientnet-b0": (5_288_548, 1280),
    "mobilenet-v2": (3_504_872, 1280),
    "convnext-tiny": (28_589_128, 768),
}


def parameters(network: Any) -> int:
    return sum(one.numel() for one in network.parameters())


def on_paper(name: str) -> Any:
    with torch.device("meta"):
        return build(name, {})


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_published_number_of_parameters(name: str) -> None:
    published, channels = PUBLISHED[name]
    network = on_paper(name)
    assert (network.channels, network.dimension) == (channels, channels)
    assert parameters(network) + (channels + 1) * CLASSES == published


def test_vgg16_has_the_published_number_of_parameters() -> None:
    """With its three fully connected layers on 7 x 7 x 512."""
    widths = (7 * 7 * 512, 4096, 4096, CLASSES)
    classifier = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    assert parameters(on_paper("vgg16")) + classifier == 138_357_544


def test_vit_base_is_the_published_b16_but_for_what_it_says_of_itself() -> None:
    """No bias of the patches, a norm on entry in place of the one on exit, and an MLP in place of the classifier."""
    width = 768
    network = on_paper("vit-base")
    mlp = parameters(network.identity)
    assert parameters(network) - mlp + width + (width + 1) * CLASSES == 86_567_656
    assert mlp == 2 * (width + 1) * width


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vgg16", {"embedding": 8}),
        ("densenet121", {"embedding": 8}),
        ("mobilenet-v2", {"embedding": 8}),
        ("convnext-tiny", {"embedding": 8, "drop_path": 0.0}),
    ],
)
def test_it_has_the_face_of_a_network(name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    assert_has_the_face(build(name, settings))


@pytest.mark.parametrize("name", ["mobilenet-v2", "convnext-tiny"])
def test_the_onnx_twin_of_what_is_written_here_agrees(name: str) -> None:
    torch.manual_seed(2)
    assert_its_twin_agrees(build(name, {"embedding": 8}))


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "mobilenet-v2", "convnext-tiny"])
def test_the_stride_is_32(name: str) -> None:
    torch.manual_seed(3)
    network: Any = build(name, {}).eval()
    with torch.inference_mode():
        assert network.local(planes(1, 1, size=64)).shape[2:] == (2, 2)
    assert isinstance(network.pool, MeanPool)


def test_a_short_cut_is_there_only_where_shapes_allow_it() -> None:
    torch.manual_seed(4)
    x = torch.rand(2, 8, 6, 6)
    for outputs, stride, kept in ((8, 1, True), (12, 1, False), (8, 2, False)):
        block = InvertedResidual(8, outputs, stride, 6).eval()
        torch.nn.init.zeros_(block.layers[-1][1].weight)
        found = block(x)
        assert found.shape == (2, outputs, 6 // stride, 6 // stride)
        assert torch.equal(found, x) is kept if kept else float(found.detach().abs().max()) == 0


def test_a_fresh_convnext_adds_next_to_nothing_in_its_blocks_and_drops_them_by_chance() -> None:
    torch.manual_seed(5)
    network: Any = build("convnext-tiny", {"drop_path": 0.5})
    block = network.trunk.layers[2]
    x = torch.rand(2, 96, 8, 8)
    assert float((block.eval()(x) - x).detach().abs().max()) < 1e-4
    last = network.trunk.layers[-2].train()
    torch.nn.init.ones_(last.scale)
    inputs = torch.rand(64, 768, 1, 1)
    added = (last(inputs) - inputs).detach().abs().amax((1, 2, 3))
    assert 10 < int((added == 0).sum()) < 54


def test_settings_of_a_backbone_are_bounded() -> None:
    with pytest.raises(ValueError, match="drop_path"):
        ConvNeXtSettings(drop_path=1.0)
