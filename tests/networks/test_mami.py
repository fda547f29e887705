"""MaMI's network as a whole: its face, its twin, and the queries that show where it looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from inference import networks
from inference.encoders.inputs import InputSpec
from inference.encoders.runtime import OnnxRuntime, TorchRuntime, export_onnx
from inference.networks.mami import KeyQueries
from tests.networks.faces import SIZE, assert_has_the_face, assert_its_twin_agrees, planes
from tests.networks.test_compa import TINY, adapted, stirred


@pytest.mark.parametrize("reading", ["sum", "concat"])
def test_it_has_the_face_of_a_network(reading: str) -> None:
    assert_has_the_face(stirred(adapted(reading=reading)))


@pytest.mark.parametrize(
    "settings",
    [{"reading": "sum"}, {"reading": "concat"}, {"context": "scan"}],
    ids=["sum", "concat", "scan"],
)
def test_its_onnx_twin_agrees(settings: dict[str, Any]) -> None:
    """With adapters that do something, for any number of images and slices."""
    assert_its_twin_agrees(stirred(adapted(**settings)))


def test_the_twin_of_discrete_labels_takes_them() -> None:
    network = stirred(adapted(discrete=True, modalities=3)).eval()
    twin = OnnxRuntime(export_onnx(network, InputSpec(size=SIZE)), "onnx", "twin")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 2, 3, SIZE, SIZE), np.uint8)
    labels = np.array([2, 0, 1])
    expected = TorchRuntime(network, torch.device("cpu"))(pixels, labels)
    np.testing.assert_allclose(twin(pixels, labels), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert not np.allclose(twin(pixels, labels[::-1].copy()), expected, rtol=0.01)


def test_weights_of_the_plain_network_fit() -> None:
    plain, network = networks.build("vit-tiny", TINY), adapted()
    missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {name.partition(".")[0] for name in missing} == {"adapter"}


def test_depth_and_size_are_settings() -> None:
    found = networks.build("mami-small", {"depth": 1, "size": SIZE})
    assert found(torch.rand(1, 1, 3, SIZE, SIZE)).shape == (1, 384)


@torch.no_grad()
def test_queries_of_a_modality_look_where_their_key_is() -> None:
    queries = KeyQueries(modalities=2, queries=1, channels=3)
    queries.keys.weight[:] = torch.eye(3)
    queries.queries[0], queries.queries[1] = torch.tensor([50.0, 0, 0]), torch.tensor([0, 50.0, 0])
    local = torch.zeros(2, 3, 2, 2)
    local[:, 0, 0, 1] = local[:, 1, 1, 0] = 1
    found = queries.attention(local, torch.tensor([0, 1]))
    assert found.shape == (2, 1, 2, 2)
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(2, 1))
    assert float(found[0, 0, 0, 1]) > 0.99
    assert float(found[1, 0, 1, 0]) > 0.99


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_in_half_of_the_precision_it_says_the_same(training: bool) -> None:
    """What CUDA serves and trains in; here on a CPU."""
    network = stirred(adapted()).train(training)
    x = planes(3, 2)
    with torch.inference_mode(not training):
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x)
    assert (found.dtype, network.local(x).dtype) == (torch.float32, torch.float32)
    assert float(torch.nn.functional.cosine_similarity(found, expected).detach().min()) > 0.999
