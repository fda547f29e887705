"""Bundles of small networks with weights drawn by a seed, written as an export writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from inference import networks
from inference.encoders.inputs import InputSpec
from inference.encoders.runtime import export_onnx, quantise
from tests.networks.faces import planes, settled

SPEC = InputSpec(size=32, crop=0.1, slices=3)
NETWORK, SETTINGS = "efficientnet-lite0", {"embedding": 16}


def write_bundle(
    folder: Path,
    files: Sequence[str] = ("weights.safetensors",),
    *,
    name: str = "tiny",
    network: str = "trained",
    model: str = NETWORK,
    settings: Mapping[str, Any] = SETTINGS,
    dimension: int = 16,
    modalities: Sequence[str] = ("DX", "MR", "OP"),
    backend: str = "torch",
    spec: InputSpec = SPEC,
    change: Callable[[Any], None] = lambda network: None,
) -> Path:
    """Writes ``folder/name`` and returns it; ``change`` has the last word on the weights."""
    torch.manual_seed(5)
    net = networks.build(model, settings)
    net = net.eval() if settings.get("pretrained") else settled(net)
    change(net)
    made = folder / name
    made.mkdir(parents=True)
    if "weights.safetensors" in files:
        safetensors.torch.save_file(net.state_dict(), made / "weights.safetensors")
    if "model.onnx" in files:
        (made / "model.onnx").write_bytes(export_onnx(net, spec))
    if "model.int8.onnx" in files:
        pixels = (planes(8, 1, spec.size) * 255).byte().numpy()
        small = quantise(export_onnx(net, spec), [(pixels, np.zeros(8, np.int64))])
        (made / "model.int8.onnx").write_bytes(small)
    hashes = [f'"{file}" = "{hashlib.sha256((made / file).read_bytes()).hexdigest()}"' for file in files]
    (made / "bundle.toml").write_text(
        "\n".join(
            [
                f'name = "{name}"\nversion = "1.0"\nnetwork = "{network}"\ndimension = {dimension}',
                'description = "made by a test"\nlicence = "none"\ntrained_on = "nothing"\nrecipe = "none"',
                "[input]",
                *(f"{key} = {_toml(value)}" for key, value in spec.to_mapping().items()),
                f'[model]\nname = "{model}"\nmodalities = {_toml(list(modalities))}',
                "[model.settings]",
                *(f"{key} = {_toml(value)}" for key, value in settings.items()),
                f'[serving]\nbackend = "{backend}"',
                "[files]",
                *hashes,
                "",
            ]
        )
    )
    return made


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
