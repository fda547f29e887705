"""Pairs, networks and recipes so small that a whole training takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.boneprint.recipe import Recipe, changed, recipe_of
from training.manifests.files import write_manifest
from training.manifests.schema import Row

SIZE = 32

ENCODER = {"width": 8, "levels": 2, "local": 4, "grid": 2}
TRANSLATOR = {"width": 8, "levels": 1, "blocks": 1}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "boneprint-explicit": {"size": SIZE, "dimension": 16, "encoder": ENCODER, "translator": TRANSLATOR},
    "boneprint-implicit": {"size": SIZE, "dimension": 16, "width": 16, "multiples": [1, 1], "local": 4, "grid": 2},
    "boneprint-single": {"size": SIZE, "dimension": 16, "encoder": ENCODER, "translator": TRANSLATOR},
}

_RECIPE = f"""
name = "tiny-explicit"
version = "1.0"
description = "A tiny boneprint"
licence = "Apache-2.0"
intended_use = "Tests"
seed = 5
input = {{ size = {SIZE}, fit = "stretch" }}

[source]
manifest = "MANIFEST"
validation = 0.4

[network]
name = "boneprint-explicit"

[augment]
contrast = 0.3
rotation = 10

[translation]
steps = 4
batch = 4
every = 2
checkpoint = 1
width = 8
layers = 1
optimiser = {{ learning_rate = 1e-3 }}

[contrast]

[length]
steps = 4
batch = 6
every = 2
checkpoint = 1
optimiser = {{ learning_rate = 1e-3, clip = 5.0 }}

[export]
weights = "float32"
"""


def explicit(manifest: Path, **values: Any) -> Recipe:
    """The tiny explicit recipe on the pairs of a manifest, with some values in place of its own."""
    recipe = recipe_of(_RECIPE.replace("MANIFEST", str(manifest)), "tiny.toml")
    settings = {"network": {"settings": SETTINGS["boneprint-explicit"]}}
    return changed(changed(recipe, settings), values)


def implicit(manifest: Path, **values: Any) -> Recipe:
    network = {"name": "boneprint-implicit", "settings": SETTINGS["boneprint-implicit"]}
    return _other(explicit(manifest), {"name": "tiny-implicit", "network": network, "diffusion": {}} | values)


def single(manifest: Path, seen: str, loss: str) -> Recipe:
    network = {"name": "boneprint-single", "settings": SETTINGS["boneprint-single"] | {"seen": seen}}
    values: dict[str, Any] = {"name": f"tiny-{seen}-{loss}", "network": network, "single": {"loss": loss}}
    if seen != "both":
        values["translation"] = explicit(manifest).model_dump()["translation"]
    return _other(explicit(manifest), values)


def _other(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The base without the tables of the explicit fusion."""
    left = base.model_dump() | {"translation": None, "contrast": None}
    return Recipe.model_validate(left | dict(values))


def pair(person: int, edge: int = SIZE) -> tuple[Any, Any]:
    """A grey picture (edge, edge) and an RGB one of the same pattern, inverted and tinted."""
    rng = np.random.default_rng((1, person))
    pattern = cv2.resize(rng.integers(0, 255, (5, 5), np.uint8), (edge, edge), interpolation=cv2.INTER_CUBIC)
    tint = np.array([1.0, 0.9, 0.7])
    rendering = np.clip((255 - pattern)[..., None] * tint + rng.normal(0, 6, (edge, edge, 1)), 0, 255)
    return pattern, rendering.astype(np.uint8)


def write_pairs(folder: Path, persons: int = 20) -> Path:
    """Pictures of so many persons and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(persons):
        radiograph, rendering = pair(number)
        known: dict[str, Any] = {"sex": "FM"[number % 2], "age": 30.0 + number}
        for name, picture, modality, view in (("r", radiograph, "DX", "PA"), ("v", rendering, "CT-VR", "BONE")):
            path = f"{number}-{name}.png"
            assert cv2.imwrite(str(folder / path), picture if picture.ndim == 2 else picture[..., ::-1])
            rows.append(Row(path, f"p{number}", f"study-{name}", modality=modality, view=view, **known))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def quiet(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def silent(line: str) -> None:
    """Says nothing."""
