"""What :mod:`inference.networks` promises of every network, as functions that tests of each call."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import nn

from inference.encoders.inputs import InputSpec
from inference.encoders.runtime import OnnxRuntime, TorchRuntime, export_onnx

SIZE = 32


def planes(images: int = 2, slices: int = 2, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Soft pictures of their own colours: float32 (images, slices, 3, size, size) in [0, 1]."""
    coarse = torch.rand(images * slices, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return fine.reshape(images, slices, 3, size, size)


def settled(network: nn.Module) -> nn.Module:
    """With batch statistics of some images, or fresh networks fade to nothing; in evaluation mode."""
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    for one in norms:
        one.momentum = None  # the plain mean, without what it began with
        one.reset_running_stats()
    with torch.no_grad():
        for seed in range(3):
            network.train()(planes(8, 1, seed=seed))
    return network.eval()


def assert_has_the_face(network: Any) -> None:
    """Shapes, types, the mean over slices, independence of the batch, and gradients everywhere."""
    settled(network)
    x = planes()
    with torch.inference_mode():
        found, local = network(x), network.local(x)
        assert found.shape == (2, network.dimension)
        assert (found.dtype, local.dtype) == (torch.float32, torch.float32)
        assert local.shape[:2] == (2, network.channels)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, network(x, torch.zeros(2, dtype=torch.int64)))
        rounding = 1e-4 * float(found.abs().max())
        torch.testing.assert_close(found[1:], network(x[1:]), rtol=0, atol=rounding)
        torch.testing.assert_close(found, network(x.flip(1)), rtol=0, atol=rounding)
        assert not torch.allclose(found[0], found[1])
    network.train()
    network(planes(4)).square().sum().backward()
    idle = [name for name, one in network.named_parameters() if one.grad is None or not torch.isfinite(one.grad).all()]
    assert idle == []


def assert_its_twin_agrees(network: nn.Module) -> None:
    """ONNX Runtime computes what PyTorch does, for other numbers of images and slices than it was exported with."""
    settled(network)
    torch_runtime = TorchRuntime(network, torch.device("cpu"))
    onnx_runtime = OnnxRuntime(export_onnx(network, InputSpec(size=SIZE)), "onnx", "twin")
    assert onnx_runtime.dimension == torch_runtime.dimension
    for images, slices in ((1, 1), (3, 1), (2, 4)):
        pixels = cast(Any, (planes(images, slices) * 255).byte().numpy())
        a, b = (run(pixels, np.zeros(images, np.int64)) for run in (torch_runtime, onnx_runtime))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()))
