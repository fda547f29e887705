"""The end of a small training: a bundle that is whole, or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.runtime import WEIGHTS_FILE
from training.learning.provenance import commit
from training.learning.toml_text import to_toml

_UNFINISHED = ".bundle-"
LICENCE = "Apache-2.0, as MedReID"


@dataclass(frozen=True, slots=True)
class About:
    """What a bundle says of itself, for people."""

    name: str
    version: str
    description: str
    trained_on: str
    recipe: str
    intended_use: str


def write_bundle(
    folder: Path,
    about: About,
    network: nn.Module,
    model: tuple[str, Mapping[str, Any]],
    dimension: int,
    given: Mapping[str, Any],
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Path:
    """Makes ``folder/<name>`` beside its place, and moves it there when it is whole.

    ``model`` is the name and the settings that :func:`inference.networks.build` takes, ``given`` the bundle's [input].
    """
    target = folder / about.name
    for unfinished in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as temporary:
        draft = Path(temporary) / about.name
        draft.mkdir()
        weights = safetensors.torch.save({name: part.contiguous() for name, part in network.state_dict().items()})
        (draft / WEIGHTS_FILE).write_bytes(weights)
        says = {
            "name": about.name,
            "version": about.version,
            "network": model[0],
            "dimension": dimension,
            "description": about.description,
            "licence": LICENCE,
            "intended_use": about.intended_use,
            "trained_on": about.trained_on,
            "recipe": about.recipe,
            "input": dict(given),
            "model": {"name": model[0], "modalities": [], "settings": dict(model[1])},
            "metrics": dict(metrics),
            "training": {**training, "commit": commit(), "release": version("medreid"), "torch": version("torch")},
            "files": {WEIGHTS_FILE: hashlib.sha256(weights).hexdigest()},
        }
        (draft / BUNDLE_FILE).write_text(to_toml(says), encoding="utf-8")
        Bundle.read(draft)
        if target.exists():
            target.rename(Path(temporary) / "before")
        draft.rename(target)
    return target
