"""The classifier's network: logits for its classes over any other network."""

from __future__ import annotations

from typing import Any

import torch

from inference.encoders.modality import CLASSES
from inference.networks import build
from tests.networks.faces import assert_its_twin_agrees, planes, settled


def test_it_gives_a_logit_for_each_class() -> None:
    torch.manual_seed(1)
    network: Any = settled(build("modality-classifier", {}))
    assert network.classes == CLASSES
    with torch.inference_mode():
        assert network(planes(3)).shape == (3, 7)
        assert network.local(planes(3)).shape[:2] == (3, network.channels)


def test_its_body_and_classes_are_settings() -> None:
    torch.manual_seed(2)
    settings = {"network": "resnet18", "settings": {"pool": "mean+max"}, "classes": ["CT", "other"]}
    network: Any = build("modality-classifier", settings)
    assert (network.dimension, network.classes) == (2, ("CT", "other"))
    assert_its_twin_agrees(network)


def test_it_learns_what_two_kinds_of_picture_are() -> None:
    torch.manual_seed(3)
    network: Any = build("modality-classifier", {"network": "resnet18", "classes": ["dark", "bright"], "dropout": 0.0})
    x = torch.cat([planes(8, 1) * 0.3, 0.7 + planes(8, 1, seed=1) * 0.3])
    wanted = torch.tensor([0] * 8 + [1] * 8)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(4):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(x), wanted).backward()
        optimiser.step()
    with torch.no_grad():
        assert (network.train()(x).argmax(1) == wanted).float().mean() > 0.9
