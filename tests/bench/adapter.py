"""What the modality adapter costs: time and parameters of ``mami-*`` over ``vit-*``, for the same batch.

Both networks take turns, round after round, the first place in a round changing; the figure is the median of the
rounds' ratios, so that a machine that is busy for a while slows both. Weights are random: time does not depend on them.
On CUDA in bf16, as it serves; on a CPU beside PyTorch the ONNX twins, which serve there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from inference import networks
from inference.encoders.device import choose_device, inference_pass
from inference.encoders.inputs import InputSpec
from inference.encoders.runtime import OnnxRuntime, export_onnx

SIZES = ("tiny", "small", "base")
CPU_BATCHES, CUDA_BATCHES = (1, 4), (1, 128)
ROUNDS, SIZE = 15, 224

Run = Callable[[], object]


def main(arguments: Sequence[str] = ()) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--settings", nargs="*", default=[], metavar="NAME=NUMBER", help="of the adapter, as rank=8")
    chosen = parser.parse_args(arguments)
    settings = {name: int(value) for name, value in (one.split("=") for one in chosen.settings)}
    device, console = choose_device("auto"), Console()
    batches = chosen.batches or (CUDA_BATCHES if device.type == "cuda" else CPU_BATCHES)
    figures = {
        size: measure(size, settings, device, batches, chosen.rounds)
        for size in track(chosen.sizes, f"adapter on {device.type}", console=console)
    }
    show(figures, console)
    return figures


def measure(
    size: str, settings: dict[str, int], device: torch.device, batches: Sequence[int], rounds: int
) -> dict[str, float]:
    plain, adapted = (_network(f"{family}-{size}", own) for family, own in (("vit", {}), ("mami", settings)))
    figures = {"parameters": _parameters(adapted) / _parameters(plain)}
    twins = [] if device.type == "cuda" else [_twin(one) for one in (plain, adapted)]
    plain, adapted = plain.to(device), adapted.to(device)
    for batch in batches:
        x = torch.rand(batch, 1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        pair = [_passing(network, x.to(device), device) for network in (plain, adapted)]
        figures[f"batch {batch}"] = ratio(pair[0], pair[1], rounds)
        if twins:
            given = (x * 255).byte().numpy(), np.zeros(batch, np.int64)
            figures[f"batch {batch}, ONNX"] = ratio(partial(twins[0], *given), partial(twins[1], *given), rounds)
    return figures


def ratio(plain: Run, adapted: Run, rounds: int) -> float:
    """Median of adapted over plain seconds, after two rounds that do not count."""
    found = []
    for number in range(rounds + 2):
        seconds = {}
        for run in (plain, adapted) if number % 2 else (adapted, plain):
            start = time.perf_counter()
            run()
            seconds[run] = time.perf_counter() - start
        found.append(seconds[adapted] / seconds[plain])
    return statistics.median(found[2:])


def _network(name: str, settings: dict[str, int]) -> torch.nn.Module:
    torch.manual_seed(1)
    return networks.build(name, settings).eval()


def _twin(network: torch.nn.Module) -> OnnxRuntime:
    return OnnxRuntime(export_onnx(network, InputSpec(size=SIZE)), "onnx", type(network).__name__)


def _passing(network: torch.nn.Module, x: torch.Tensor, device: torch.device) -> Run:
    def run() -> None:
        with inference_pass(device):
            network(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _parameters(network: torch.nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def show(figures: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title="adapted over plain", title_justify="left")
    table.add_column("network")
    for column in next(iter(figures.values())):
        table.add_column(column, justify="right")
    for size, found in figures.items():
        table.add_row(size, *(f"{value:.3f}" for value in found.values()))
    console.print(table)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
