"""The end of a training: a bundle that is whole, checked and measured, or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import nn

from inference import networks
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.device import choose_device, inference_pass
from inference.encoders.runtime import WEIGHTS_FILE, load_network
from inference.networks.boneprint_parts import Boneprint
from inference.networks.boneprint_sides import SIDES, Side
from inference.types import FloatArray
from training.boneprint.data import Persons
from training.boneprint.pairs import PairStore
from training.boneprint.recipe import IMPLICIT, Recipe
from training.boneprint.searching import both_directions, chance
from training.evaluation.metrics import person_bootstrap
from training.learning.provenance import commit, device_name
from training.learning.toml_text import to_toml

# What a bundle of a boneprint calls its network, so that the node knows how to serve it.
NETWORK = "boneprint"
_UNFINISHED = ".bundle-"
_RANKS = (1, 10, 50)
_BATCH = 16


def export_bundle(recipe: Recipe, network: nn.Module, persons: Persons, folder: Path) -> Path:
    """Makes ``folder/<name>`` in a folder of its own and moves it to its place when all of it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    target = folder / recipe.name
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as temporary:
        draft = Path(temporary) / recipe.name
        draft.mkdir()
        _write(recipe, network, persons, draft)
        if target.exists():
            target.rename(Path(temporary) / "before")
        draft.rename(target)
    return target


def opened(bundle: Path) -> Boneprint:
    """A bundle's network with its weights, in evaluation mode; raises what :func:`load_network` does."""
    return cast(Boneprint, load_network(Bundle.read(bundle)))


def encoded(network: Boneprint, store: PairStore, persons: Sequence[int], side: Side, hide: float = 0.0) -> FloatArray:
    """Embeddings float32 (N, D) of one side of those persons; ``hide`` is a share of each picture that is blacked out.

    What is hidden is a square, drawn by the person's place in the store.
    """
    device = choose_device("auto")
    network = network.to(device).eval()
    found = []
    for start in range(0, len(persons), _BATCH):
        places = persons[start : start + _BATCH]
        pictures = np.stack([_hidden(store.pictures(int(one), side), int(one), hide) for one in places])
        with inference_pass(device):
            batch = torch.from_numpy(pictures).to(device).float() / 255
            found.append(network.encode(batch, side).float().cpu().numpy())
    return np.concatenate(found)


def _hidden(picture: Any, place: int, share: float) -> Any:
    if not share:
        return picture
    size = picture.shape[-1]
    edge = round(size * share**0.5)
    top, left = np.random.default_rng((place, edge)).integers(0, size - edge + 1, 2)
    hidden = picture.copy()
    hidden[:, top : top + edge, left : left + edge] = 0
    return hidden


def _write(recipe: Recipe, network: nn.Module, persons: Persons, folder: Path) -> None:
    settings = serving_settings(recipe)
    serving = networks.build(recipe.network.name, settings)
    own = network.state_dict()
    state = {name: own[name].detach().cpu().contiguous() for name in serving.state_dict()}
    if recipe.export.weights == "float16":
        state = {name: one.half() if one.is_floating_point() else one for name, one in state.items()}
    weights = safetensors.torch.save(state)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    says = _says(recipe, settings, persons, cast(Boneprint, serving).dimension)
    says["files"] = {WEIGHTS_FILE: hashlib.sha256(weights).hexdigest()}
    _save(folder, says)
    # Figures are of what was stored, as whoever loads it will see it.
    says["metrics"] = _measured(opened(folder), persons)
    _save(folder, says)


def serving_settings(recipe: Recipe) -> dict[str, Any]:
    """The network's settings as a bundle has them: without what only training needs."""
    settings = {key: value for key, value in recipe.network.settings.items() if key != "pretrained"}
    return settings | ({"draws": False} if recipe.network.name == IMPLICIT else {})


def _says(recipe: Recipe, settings: dict[str, Any], persons: Persons, dimension: int) -> dict[str, Any]:
    own = recipe.source
    whose = f"phantoms of seed {own.seed}, dials {own.nuisance}, renderings {own.renderings}"
    if own.manifest:
        whose = f"manifest {Path(own.manifest).name}"
    return {
        "name": recipe.name,
        "version": recipe.version,
        "network": NETWORK,
        "dimension": dimension,
        "description": recipe.description,
        "licence": recipe.licence,
        "intended_use": recipe.intended_use,
        "trained_on": f"{len(persons.trained)} pairs of a radiograph and a rendering of one person each: {whose}",
        "recipe": f"python -m training.boneprint train --recipe {recipe.name}",
        "input": recipe.input_spec().to_mapping(),
        "model": {"name": recipe.network.name, "modalities": ["DX", "CT-VR"], "settings": settings},
        "training": {
            "seed": recipe.seed,
            "steps": recipe.length.steps,
            "persons": len(persons.trained),
            "validation_persons": len(persons.held_out),
            "refused_persons": len(persons.store) - len(persons.store.usable),
            "data_digest": persons.digest,
            "recipe_digest": hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
            "commit": commit(),
            "torch": torch.__version__,
            "device": device_name(str(choose_device("auto"))),
        },
    }


def _measured(network: Boneprint, persons: Persons) -> dict[str, Any]:
    """Figures of the validation's persons, who decided when to stop: value, low, high, and what chance would give."""
    vectors = {side: encoded(network, persons.store, persons.held_out.tolist(), side) for side in SIDES}
    table: dict[str, Any] = {}
    for side, found in both_directions(vectors).items():
        rows: dict[str, Any] = {"bank": found.bank}
        for rank in _RANKS:
            hits = found.hits(rank)
            low, high = person_bootstrap(np.arange(len(hits)), hits)
            rows[f"rank-{rank}"] = [round(float(value), 4) for value in (hits.mean(), low, high)]
            rows[f"chance-{rank}"] = round(chance(rank, found.bank), 4)
        table[f"validation, queries are {side}s"] = rows
    table["about"] = (
        "value, then 95 % interval over persons; validation persons decided when to stop, so that these figures are "
        "no measure of strangers: training.studies.boneprint has one"
    )
    return table


def _save(folder: Path, says: dict[str, Any]) -> None:
    (folder / BUNDLE_FILE).write_text(to_toml(says), encoding="utf-8")
    Bundle.read(folder)
