"""Runtimes: PyTorch and its ONNX and int8 twins agree, and which one serves is the bundle's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from config.errors import EncoderError
from inference.encoders.bundle import Bundle
from inference.encoders.device import choose_device
from inference.encoders.inputs import InputSpec
from inference.encoders.registry import Registry
from inference.encoders.runtime import OnnxRuntime, choose, export_onnx, open_runtime, quantise
from inference.networks import build
from tests.encoders.bundles import write_bundle
from tests.networks.faces import planes
from tests.recognition.test_general_encoder import MIXED

FILES = ("weights.safetensors", "model.onnx", "model.int8.onnx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = write_bundle(
        tmp_path_factory.mktemp("bundles"),
        FILES,
        settings={"pretrained": True},
        dimension=1280,
        backend="onnx-int8",
        spec=InputSpec(size=64),
    )
    return Bundle.read(made)


def cosines(a: Any, b: Any) -> Any:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_the_three_backends_agree(bundle: Bundle) -> None:
    pixels = (planes(6, 1, 64, seed=9) * 255).byte().numpy()
    numbers = np.zeros(6, np.int64)
    plain, twin, small = (
        open_runtime(bundle, "cpu", backend)(pixels, numbers) for backend in ("torch", "onnx", "onnx-int8")
    )
    assert plain.shape == twin.shape == small.shape == (6, 1280)
    assert plain.dtype == twin.dtype == small.dtype == np.float32
    np.testing.assert_allclose(plain, twin, atol=1e-4 * np.abs(plain).max())
    assert cosines(plain, small).min() > 0.95
    assert cosines(plain[:5], plain[1:]).max() < 0.9
    assert not np.array_equal(twin, small)


def test_an_encoder_serves_by_what_the_bundle_says(tmp_path: Path) -> None:
    vectors = {}
    for backend in ("torch", "onnx"):
        write_bundle(tmp_path / backend, FILES[:2], backend=backend)
        encoder: Any = Registry([tmp_path / backend], device="cpu").get("tiny")
        assert encoder._runtime.backend == backend
        vectors[backend] = np.stack([found.vector for found in encoder.encode(MIXED)])
    np.testing.assert_allclose(vectors["torch"], vectors["onnx"], atol=1e-4)


def test_on_a_cpu_the_bundle_chooses_and_on_cuda_it_is_pytorch(bundle: Bundle) -> None:
    assert choose(bundle, "cpu") == "onnx-int8"
    assert choose(bundle, "auto") == ("torch" if choose_device("auto").type == "cuda" else "onnx-int8")


def test_what_serves_here_agrees_with_pytorch_on_a_cpu(bundle: Bundle) -> None:
    """Int8 on a CPU; where there is a CUDA device, bf16 on that."""
    pixels, numbers = (planes(6, 1, 64, seed=9) * 255).byte().numpy(), np.zeros(6, np.int64)
    here, on_cpu = open_runtime(bundle, "auto"), open_runtime(bundle, "cpu", "torch")
    assert cosines(here(pixels, numbers), on_cpu(pixels, numbers)).min() > 0.95


class ByModality(torch.nn.Module):
    """A network that looks at the modality."""

    dimension = 4

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Embedding(3, 4)
        self.layer = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, modality: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mean((1, 3, 4))) + self.shift(modality)


def test_a_twin_of_a_network_that_looks_at_the_modality_is_told_it() -> None:
    torch.manual_seed(1)
    network = ByModality().eval()
    twin = OnnxRuntime(export_onnx(network, InputSpec(size=16)), "onnx", "modal")
    pixels, numbers = (planes(3, 1, 16) * 255).byte().numpy(), np.array([2, 0, 1])
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pixels).float() / 255, torch.from_numpy(numbers)).numpy()
    np.testing.assert_allclose(twin(pixels, numbers), wanted, atol=1e-5)
    small = OnnxRuntime(quantise(export_onnx(network, InputSpec(size=16))), "onnx-int8", "modal")
    np.testing.assert_allclose(small(pixels, numbers), wanted, atol=0.05)


def test_a_network_of_matrix_products_gets_no_fixed_scales() -> None:
    torch.manual_seed(1)
    batches = [((planes(3, 1, 16) * 255).byte().numpy(), np.array([2, 0, 1]))]
    kinds = {}
    for name, network, size in (("products", ByModality(), 16), ("convolutions", build("resnet18", {}), 32)):
        given = batches if size == 16 else [((planes(2, 1, size) * 255).byte().numpy(), np.zeros(2, np.int64))]
        model = onnx.load_from_string(quantise(export_onnx(network.eval(), InputSpec(size=size)), given))
        kinds[name] = {node.op_type for node in model.graph.node}
    assert "DynamicQuantizeLinear" in kinds["products"]
    assert "DynamicQuantizeLinear" not in kinds["convolutions"]
    assert "QuantizeLinear" in kinds["convolutions"]


def test_int8_takes_a_quarter_of_the_room(bundle: Bundle) -> None:
    sizes = [(bundle.folder / name).stat().st_size for name in FILES]
    assert sizes[2] < 0.35 * sizes[1]


def test_exporting_leaves_the_network_as_it_was() -> None:
    network = ByModality().train()
    export_onnx(network, InputSpec(size=16))
    assert network.training


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(EncoderError, match="'broken'") as caught:
        OnnxRuntime(b"no model", "onnx", "broken")
    assert caught.value.reason == "BUNDLE_DAMAGED"


def test_a_model_with_another_face_is_refused() -> None:
    model = onnx.load_from_string(export_onnx(ByModality().eval(), InputSpec(size=16)))
    model.graph.input[0].name = "pictures"
    for node in model.graph.node:
        node.input[:] = ["pictures" if name == "images" else name for name in node.input]
    with pytest.raises(EncoderError, match="pictures"):
        OnnxRuntime(model.SerializeToString(), "onnx", "other")
