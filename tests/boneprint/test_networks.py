"""What serves: one space for both sides, whatever the size and the tint of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from config.errors import EncoderError
from inference import networks
from inference.networks.boneprint_explicit import ExplicitBoneprint
from inference.networks.boneprint_parts import Boneprint
from inference.networks.boneprint_sides import SIDES
from tests.boneprint.tiny import ENCODER, SETTINGS, SIZE, TRANSLATOR

NAMES = tuple(SETTINGS)


def built(name: str, settings: Mapping[str, Any] | None = None) -> Boneprint:
    torch.manual_seed(0)
    network = networks.build(name, settings or SETTINGS[name])
    assert isinstance(network, Boneprint)
    with torch.no_grad():
        # A U-Net's residual blocks begin as nothing: untrained, it would not listen to anything.
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def pictures(count: int = 3, edge: int = SIZE) -> Tensor:
    return torch.rand(count, 3, edge, edge, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_either_side_gives_embeddings_of_one_dimension(name: str) -> None:
    network = built(name)
    found = {side: network.encode(pictures(), side) for side in SIDES}
    for embeddings in found.values():
        assert embeddings.shape == (3, network.dimension)
        assert embeddings.dtype == torch.float32
        assert torch.isfinite(embeddings).all()
        assert not torch.allclose(embeddings[0], embeddings[1]), "two pictures are one to it"
    if name != "boneprint-single":
        assert not torch.allclose(found["radiograph"], found["rendering"]), "it was not told which side it sees"


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_encoded_alike_in_any_company(name: str) -> None:
    network, batch = built(name), pictures()
    alone = torch.cat([network.encode(one[None], "rendering") for one in batch])
    assert torch.allclose(alone, network.encode(batch, "rendering"), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_in_one_batch_are_told_apart_by_their_number(name: str) -> None:
    network, batch = built(name), pictures()
    mixed = network(batch[:, None], torch.tensor([1, 0, 1]))
    assert torch.allclose(mixed[1], network.encode(batch[1:2], "radiograph")[0], atol=1e-5)
    assert torch.allclose(mixed[::2], network.encode(batch[::2], "rendering"), atol=1e-5)
    with pytest.raises(ValueError, match="radiographs"):
        network(batch[:, None])


def test_a_tint_says_nothing() -> None:
    network, grey = built("boneprint-explicit"), pictures()[:, :1]
    tinted = torch.cat([grey * 1.2, grey, grey * 0.8], dim=1)
    same = grey.expand(-1, 3, -1, -1)
    assert torch.allclose(network.encode(tinted, "rendering"), network.encode(same, "rendering"), atol=1e-5)


def test_larger_pictures_are_scaled_to_its_size() -> None:
    network = built("boneprint-implicit")
    ramps = [torch.linspace(0.5 / edge, 1 - 0.5 / edge, edge).expand(1, 3, edge, edge) for edge in (SIZE, 4 * SIZE)]
    small, large = (network.grey(ramp) for ramp in ramps)
    assert large.shape == (1, 1, SIZE, SIZE)
    assert torch.allclose(small, large, atol=0.02)
    assert (float(small.min()), float(small.max())) == pytest.approx((-1, 1), abs=0.05)


def test_the_other_side_is_a_part_of_an_explicit_boneprint() -> None:
    network = built("boneprint-explicit")
    assert isinstance(network, ExplicitBoneprint)
    grey = network.grey(pictures())
    radiograph, rendering = network.translated(grey, "rendering"), network.translated(grey, "radiograph")
    assert torch.equal(network.embed(grey, "radiograph"), network.fused(grey, rendering))
    assert torch.equal(network.embed(grey, "rendering"), network.fused(radiograph, grey))


def test_what_serves_draws_no_noise() -> None:
    whole = built("boneprint-implicit")
    serving = built("boneprint-implicit", SETTINGS["boneprint-implicit"] | {"draws": False})
    own = serving.state_dict()
    assert set(own) < set(whole.state_dict())
    serving.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    assert torch.equal(whole.encode(pictures(), "radiograph"), serving.encode(pictures(), "radiograph"))


def test_a_single_side_sees_the_other_translated() -> None:
    network = built("boneprint-single", SETTINGS["boneprint-single"] | {"seen": "radiograph"})
    batch = pictures()
    with torch.no_grad():
        before = {side: network.encode(batch, side) for side in SIDES}
        for parameter in network.get_submodule("translator").parameters():
            parameter.mul_(0.5)
        after = {side: network.encode(batch, side) for side in SIDES}
    assert torch.equal(before["radiograph"], after["radiograph"])
    assert not torch.allclose(before["rendering"], after["rendering"])


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("boneprint-explicit", {"translator": TRANSLATOR | {"width": 12}}, "translator.width"),
        ("boneprint-explicit", {"encoder": ENCODER | {"width": 4}}, "encoder.width"),
        ("boneprint-explicit", {"encoder": {"backbone": "vgg"}}, "vgg"),
        ("boneprint-explicit", {"encoder": {"depth": 3}}, "depth"),
        ("boneprint-explicit", {"size": 8}, "size"),
        ("boneprint-explicit", {"pretrained": True}, "efficientnet-lite0"),
        ("boneprint-implicit", {"width": 8}, "width"),
        ("boneprint-implicit", {"multiples": [1]}, "multiples"),
        ("boneprint-implicit", {"step": 1000}, "step"),
        ("boneprint-single", {"seen": "lateral"}, "lateral"),
        ("boneprint-single", {"dimension": 0}, "dimension"),
    ],
)
def test_settings_that_it_cannot_take_are_named(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        networks.build(name, settings)
    assert caught.value.reason == "NETWORK_SETTINGS"
