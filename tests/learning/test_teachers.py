"""Teachers by name: what they see, that they stay frozen, and what happens when one is not there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import EncoderError, TrainingError
from inference import networks
from inference.encoders.registry import Registry
from inference.types import LoadedSeries
from tests.networks.faces import planes
from training.learning import teachers
from training.learning.teachers import Reconstruction, load_teacher
from training.learning.toml_text import to_toml

SETTINGS = {"size": 32, "patch": 8, "depth": 1}


def write_bundle(folder: Path, network: str, dimension: int, weights: bytes, **more: Any) -> None:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(weights)
    says = dict.fromkeys(("description", "licence", "trained_on", "recipe"), "for a test")
    files = {"weights.safetensors": hashlib.sha256(weights).hexdigest()}
    core = {"name": folder.name, "version": "1.0", "network": network, "dimension": dimension}
    (folder / "bundle.toml").write_text(to_toml(core | says | more | {"files": files}))


def trained_bundle(folder: Path) -> torch.nn.Module:
    """A bundle ``student`` with a network of random weights, which is returned."""
    torch.manual_seed(4)
    network = networks.build("mami-tiny", SETTINGS).eval()
    weights = safetensors.torch.save(network.state_dict())
    write_bundle(folder / "student", "trained", 192, weights, model={"name": "mami-tiny", "settings": SETTINGS})
    return network


def test_the_imagenet_network_sees_what_the_general_encoder_sees() -> None:
    """Averaged over space and brought to Hellinger's form its maps are that encoder's embedding of a photograph."""
    pixels = np.random.default_rng(3).integers(0, 256, (224, 224, 3), np.uint8)
    image = LoadedSeries("1", "2", (), "OP", "fundus", pixels, (0.2, 0.2))
    (encoding,) = Registry(device="cpu").get("general").encode([image])
    teacher = load_teacher("imagenet")
    maps = teacher.maps(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    assert maps.shape == (1, teacher.channels, 7, 7) == (1, 1280, 7, 7)
    roots = (maps.mean((2, 3))[0] / maps.mean((2, 3)).sum()).sqrt()
    assert encoding is not None
    np.testing.assert_allclose(roots / roots.norm(), encoding.vector, atol=1e-5)


def test_a_teacher_stays_as_it_is() -> None:
    """Inside a module that trains, with gradients everywhere else: no gradient, no statistics of the batch."""
    teacher = load_teacher("imagenet")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    torch.nn.Sequential(teacher).train()
    images = planes(2, 1)[:, 0].requires_grad_()
    first, second = teacher.maps(images), teacher.maps(images[:1])
    assert not first.requires_grad
    torch.testing.assert_close(first[:1], second, rtol=1e-4, atol=1e-5)
    assert not any(one.requires_grad for one in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@torch.no_grad()
def test_the_network_of_a_bundle_teaches(tmp_path: Path) -> None:
    network: Any = trained_bundle(tmp_path)
    teacher = load_teacher("bundle:student", [tmp_path])
    x = planes(2, 1)
    assert teacher.channels == 192
    torch.testing.assert_close(teacher.maps(x[:, 0]), network.local(x))


@torch.no_grad()
def test_the_reconstruction_network_teaches(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = Reconstruction().eval()
    weights = safetensors.torch.save({name: value.half() for name, value in network.state_dict().items()})
    write_bundle(tmp_path / "reconstruction", "reconstruction", network.channels, weights)
    teacher = load_teacher("reconstruction", [tmp_path])
    x = planes(2, 1)[:, 0]
    assert network(x).shape == x.shape
    assert teacher.maps(x).shape == (2, teacher.channels, 2, 2)
    torch.testing.assert_close(teacher.maps(x), network.local(x), rtol=0.02, atol=0.02)


def test_without_a_bundle_the_reconstruction_names_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "package_teachers", lambda: tmp_path)
    with pytest.raises(TrainingError, match=r"training\.recipes\.reconstruction"):
        load_teacher("reconstruction")


@pytest.mark.parametrize(
    ("name", "told"),
    [("clip", "bundle:NAME"), ("bundle:nobody", "no encoder 'nobody'"), ("bundle:general", "not trained by a recipe")],
)
def test_a_teacher_that_is_not_there_is_named(name: str, told: str) -> None:
    with pytest.raises(TrainingError, match=f"{name}.*{told}") as caught:
        load_teacher(name)
    assert caught.value.reason == "TEACHER_UNKNOWN"


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    trained_bundle(tmp_path)
    (tmp_path / "student" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(EncoderError, match="SHA-256"):
        load_teacher("bundle:student", [tmp_path])


@pytest.mark.parametrize("weights", [b"torn", safetensors.torch.save({"other": torch.zeros(1)})])
def test_weights_of_another_network_are_refused(tmp_path: Path, weights: bytes) -> None:
    write_bundle(tmp_path / "reconstruction", "reconstruction", 256, weights)
    with pytest.raises(EncoderError, match="does not fit") as caught:
        load_teacher("reconstruction", [tmp_path])
    assert caught.value.reason == "BUNDLE_DAMAGED"
