"""Serving: images per second of a network at batch 1 and 16, by PyTorch, ONNX Runtime and ONNX Runtime in int8.

The networks have random weights: time does not depend on them, and accuracy is measured where a bundle is trained. All
backends of a network run in turn, round after round, so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from inference import networks
from inference.encoders.device import choose_device
from inference.encoders.inputs import InputSpec
from inference.encoders.runtime import OnnxRuntime, Runtime, TorchRuntime, export_onnx, quantise

NETWORKS = ("efficientnet-lite0", "resnet18", "resnet50", "hybrid")
BATCHES = (1, 16)
ROUNDS, SIZE = 5, 224


def main(arguments: Sequence[str] = ()) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=networks.names())
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--size", type=int, default=SIZE)
    chosen = parser.parse_args(arguments)
    console = Console()
    figures = {
        name: measure(runtimes(name, chosen.size), chosen.size, chosen.rounds)
        for name in track(chosen.networks, "serving", console=console)
    }
    show(figures, console)
    return figures


def runtimes(name: str, size: int) -> dict[str, Runtime]:
    """The backends of a network; bf16 on CUDA beside them where there is a device."""
    torch.manual_seed(1)
    network = networks.build(name, {}).eval()
    model = export_onnx(network, InputSpec(size=size))
    found: dict[str, Runtime] = {
        "PyTorch": TorchRuntime(network, torch.device("cpu")),
        "ONNX Runtime": OnnxRuntime(model, "onnx", name),
        "int8": OnnxRuntime(quantise(model, [(_images(4, size), np.zeros(4, np.int64))]), "onnx-int8", name),
    }
    if choose_device("auto").type == "cuda":
        found["CUDA bf16"] = TorchRuntime(networks.build(name, {}), torch.device("cuda"))
    return found


def measure(backends: Mapping[str, Runtime], size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of each backend and batch: the median of the rounds, after one that does not count."""
    figures: dict[str, dict[str, float]] = {name: {} for name in backends}
    for batch in BATCHES:
        images, numbers = _images(batch, size), np.zeros(batch, np.int64)
        seconds: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(rounds + 1):
            for name, run in backends.items():
                start = time.perf_counter()
                run(images, numbers)
                seconds[name].append(time.perf_counter() - start)
        for name, taken in seconds.items():
            figures[name][f"batch {batch}"] = batch / statistics.median(taken[1:])
    return figures


def show(figures: Mapping[str, Mapping[str, Mapping[str, float]]], console: Console) -> None:
    table = Table(title="images per second", title_justify="left")
    for column in ("network", "backend", *(f"batch {batch}" for batch in BATCHES)):
        table.add_column(column, justify="left" if column in ("network", "backend") else "right")
    for name, backends in figures.items():
        for backend, found in backends.items():
            table.add_row(name, backend, *(f"{value:.1f}" for value in found.values()))
    console.print(table)


def _images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 3, size, size), np.uint8)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
