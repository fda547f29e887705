"""A network, images and a recipe so small that a whole training takes a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from training.learning.recipe import Recipe, recipe_of
from training.manifests.files import write_manifest
from training.manifests.schema import Row

SIZE = 32


class TinyNetwork(nn.Module):
    """The face of :mod:`inference.networks`; ``dropout`` makes a training depend on random numbers."""

    def __init__(self, dimension: int, dropout: float) -> None:
        super().__init__()
        self.dimension, self.channels = dimension, 8
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(), nn.AvgPool2d(2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(128, dimension, bias=False), nn.BatchNorm1d(dimension))

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        maps = self.layers(x.flatten(0, 1) - 0.5).flatten(1)
        slices = maps.reshape(x.shape[0], x.shape[1], 128)
        embedding: Tensor = self.head(self.dropout(slices.mean(1)))
        return embedding

    def local(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(x.flatten(0, 1) - 0.5)
        return maps.reshape(x.shape[0], x.shape[1], 8, 4, 4).mean(1)


def build(name: str, settings: Mapping[str, Any]) -> TinyNetwork:
    return TinyNetwork(int(settings.get("dimension", 8)), float(settings.get("dropout", 0.0)))


RECIPE = f"""
name = "tiny"
version = "1.0"
description = "A tiny encoder"
licence = "Apache-2.0"
intended_use = "Tests"
seed = 5
input = {{ size = {SIZE} }}

[network]
name = "tiny"
settings = {{ dropout = 0.2 }}

[[sources]]
name = "films"
manifest = "films/manifest.csv"

[splits]
train = 0.6
validation = 0.4
test = 0.0

[store]
size = 40
most_failures = 0.2

[sampler]
patients = 4
images = 2

[augment]
scale = [0.6, 1.0]
rotation = 5
noise = 0.02

[[losses]]
name = "cross-entropy"
settings = {{ smoothing = 0.1 }}

[[losses]]
name = "triplet"

[optimiser]
learning_rate = 0.01

[freeze]
batch_norm = true

[length]
steps = 6
checkpoint = 2

[validation]
patients = 6
every = 3
"""


def tiny_recipe(folder: Path, *changes: tuple[str, str]) -> Recipe:
    """:data:`RECIPE`, with some of its text replaced, on the manifest in ``folder``."""
    text = RECIPE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return recipe_of(text.replace("films/manifest.csv", str(folder / "manifest.csv")), "tiny.toml")


def write_films(folder: Path, images: Sequence[int] = (3,) * 16, **columns: str) -> Path:
    """So many alike pictures for each patient, each of its own study, and their manifest."""
    rng = np.random.default_rng(1)
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for patient, count in enumerate(images):
        face = cv2.resize(rng.integers(0, 255, (6, 6), np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC)
        for study in range(count):
            path = f"{patient}-{study}.png"
            noisy = np.clip(face + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(folder / path), noisy)
            rows.append(Row(path, f"p{patient}", f"s{study}", **({"modality": "DX"} | columns)))  # type: ignore[arg-type]
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def quiet(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def weights(path: Path) -> dict[str, Tensor]:
    """The state of a checkpoint."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state
