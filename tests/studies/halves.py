"""Pictures whose left half is the person, faintly, and whose right half is the day, loudly; networks that see one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor, nn

from tests.learning.tiny import RECIPE
from training.manifests.files import write_manifest
from training.manifests.schema import Row

PLACES = 6


class HalfNetwork(nn.Module):
    """The face of :mod:`inference.networks`: coarse grey values of one half, through a head that starts as identity."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left, self.dimension, self.channels = left, 3 * PLACES**2 // 6, 3
        self.head = nn.Linear(self.dimension, self.dimension, bias=False)
        nn.init.eye_(self.head.weight)

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        coarse = self.local(x).mean(1).flatten(1)
        embedding: Tensor = self.head(coarse - coarse.mean(1, keepdim=True))
        return embedding

    def local(self, x: Tensor) -> Tensor:
        slices = x.mean(1)
        half = slices[..., :16] if self.left else slices[..., 16:]
        return nn.functional.avg_pool2d(half[..., 1:31, 2:14], (5, 4))


def build(name: str, settings: Mapping[str, Any]) -> HalfNetwork:
    return HalfNetwork(name == "left")


def recipe(folder: Path, network: str, manifest: str = "films/manifest.csv") -> Path:
    """A recipe file for one of the networks, of the network's name."""
    text = RECIPE.replace('"tiny"', f'"{network}"').replace("settings = { dropout = 0.2 }", "")
    text = text.replace("films/manifest.csv", manifest).replace("learning_rate = 0.01", "learning_rate = 1e-5")
    text = text.replace("validation = 0.4\ntest = 0.0", "validation = 0.2\ntest = 0.2").replace("rotation = 5\n", "")
    text = text.replace("scale = [0.6, 1.0]\n", "").replace("patients = 6", "patients = 3")
    path = folder / f"{network}.toml"
    path.write_text(text.replace("steps = 6", "steps = 2").replace("every = 3", "every = 2"))
    return path


def write_pictures(folder: Path, patients: int = 40, visits: int = 3) -> Path:
    """Their manifest: DX of every patient, each of its own study."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    rows = []
    for patient in range(patients):
        face = _pattern(rng, 18)
        for visit in range(visits):
            picture = 128 + np.concatenate([face, _pattern(rng, 60)], axis=1) + rng.normal(0, 2, (32, 32))
            path = f"{patient}-{visit}.png"
            assert cv2.imwrite(str(folder / path), np.clip(picture, 0, 255).astype(np.uint8))
            rows.append(Row(path, f"p{patient}", f"s{visit}", modality="DX", days=100 * visit))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def _pattern(rng: np.random.Generator, contrast: float) -> np.ndarray:
    coarse = rng.normal(0, contrast, (PLACES, PLACES // 2)).astype(np.float32)
    return cv2.resize(coarse, (16, 32), interpolation=cv2.INTER_NEAREST)


def quiet(line: str) -> None:
    """Says nothing."""
