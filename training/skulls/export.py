"""The end of a training: one bundle with two branches, measured on persons that were held out, or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import nn

from config.errors import CalibrationError
from inference.calibration import Calibration, fit_calibration, to_json
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.registry import Registry
from inference.encoders.skull_face import NETWORK, SIDES, BranchTable, SkullFaceEncoder, weights_file
from inference.encoders.skull_pictures import Side
from training.learning.catalogue import Tell
from training.learning.provenance import commit
from training.learning.toml_text import to_toml
from training.skulls.album import Album, faces_of
from training.skulls.fitting import scaled
from training.skulls.recipe import SkullRecipe
from training.skulls.retrieval import Faces, Retrieval, measured, searches_of

CALIBRATION_FILE = "calibration.json"
# Whoever is killed while exporting leaves a folder of this name, which the next export clears away.
_UNFINISHED = ".bundle-"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Trained:
    """Both networks, what each takes, and who is in which split."""

    networks: Mapping[Side, nn.Module]
    tables: Mapping[Side, BranchTable]
    persons: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The bundle's folder, its figures by split, and whether there were persons enough to calibrate it."""

    bundle: Path
    figures: Mapping[str, Retrieval]
    calibrated: bool


def export_bundle(recipe: SkullRecipe, trained: Trained, album: Album, work: Path, tell: Tell) -> Outcome:
    """Makes ``work/<name>`` in a folder of its own and moves it to its place when all of it is there."""
    target = work / recipe.name
    for unfinished in work.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=work) as temporary:
        draft = Path(temporary) / recipe.name
        outcome = _finished(recipe, trained, album, draft, tell)
        if target.exists():
            target.rename(Path(temporary) / "before")
        draft.rename(target)
    return replace(outcome, bundle=target)


def _finished(recipe: SkullRecipe, trained: Trained, album: Album, draft: Path, tell: Tell) -> Outcome:
    draft.mkdir()
    says = _described(recipe, trained, album)
    for side in SIDES:
        _put(draft, says, weights_file(side), _weights(trained.networks[side], recipe))
    _write(draft, says)
    encoder = Registry((draft.parent,)).get(recipe.name)
    assert isinstance(encoder, SkullFaceEncoder)
    figures = {}
    for split in ("validation", "test"):
        skulls, faces = sides_of(encoder, album, trained.persons[split], f"figures, {split}", tell)
        searches = searches_of(skulls, faces)
        if searches:
            figures[split] = measured(searches, recipe.ranks, seed=recipe.seed)
        if split == "validation":
            calibration = _calibration(recipe, skulls, faces)
    says["metrics"] = {split: _metrics(found) for split, found in figures.items()}
    if calibration is not None:
        _put(draft, says, CALIBRATION_FILE, to_json(calibration).encode())
        says["calibration"] = CALIBRATION_FILE
    _write(draft, says)
    return Outcome(draft, figures, calibration is not None)


def sides_of(
    encoder: SkullFaceEncoder, album: Album, persons: Sequence[int], stage: str, tell: Tell
) -> tuple[Faces, Faces]:
    """Skulls and faces of some persons through the encoder as it serves."""
    found: list[Faces] = []
    for side in SIDES:
        shown = album.of(side, persons)
        vectors = [np.zeros((0, encoder.dimension), np.float32)]
        for start in range(0, len(shown), _BATCH):
            part = shown[start : start + _BATCH]
            vectors.append(encoder.embed([scaled(album.pixels(one), encoder.size(side)) for one in part], side))
            tell(f"{stage}, {side}s", start + len(part), len(shown))
        found.append(faces_of(shown, np.concatenate(vectors)))
    return found[0], found[1]


def _calibration(recipe: SkullRecipe, skulls: Faces, faces: Faces) -> Calibration | None:
    """What cosines are worth, from the best of each person's faces for each skull; None where persons are too few."""
    scores = skulls.vectors @ faces.vectors.T
    own = skulls.persons[:, None] == faces.persons[None, :]
    scores[own & (skulls.visits[:, None] == faces.visits[None, :])] = -np.inf
    people = np.unique(faces.persons)
    best = np.stack([scores[:, faces.persons == one].max(axis=1) for one in people], axis=1)
    mates = skulls.persons[:, None] == people[None, :]
    there = np.isfinite(best)
    try:
        return fit_calibration(
            best[mates & there],
            best[~mates & there],
            encoder=recipe.name,
            version=recipe.version,
            # Not the scope of a site, whoever the people were: nothing may be linked on it.
            scope="phantom",
            fitted_on=f"{len(people)} phantoms held out from training, seed {recipe.phantoms.seed}",
            patients=len(people),
        )
    except CalibrationError as error:
        if error.reason != "CALIBRATION_TOO_LITTLE_DATA":
            raise
        return None


def _described(recipe: SkullRecipe, trained: Trained, album: Album) -> dict[str, Any]:
    train = trained.persons["train"]
    counts = {side: len(album.of(side, train)) for side in SIDES}
    own = recipe.phantoms
    return {
        "name": recipe.name,
        "version": recipe.version,
        "network": NETWORK,
        "dimension": int(trained.networks["skull"].dimension),  # type: ignore[arg-type]
        "description": recipe.description,
        "licence": recipe.licence,
        "intended_use": recipe.intended_use,
        "trained_on": (
            f"{counts['skull']} pictures of skulls and {counts['face']} of faces of {len(train)} phantoms, "
            f"seed {own.seed}, dials {own.nuisance}"
        ),
        "recipe": f"python -m training.skulls train, recipe {recipe.name}",
        "input": {side: trained.tables[side].model_dump(mode="json") for side in SIDES},
        "files": {},
        "training": {
            "seed": recipe.seed,
            "persons": {split: len(persons) for split, persons in trained.persons.items()},
            "refused_pictures": len(album.refused),
            "recipe_digest": hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
            "commit": commit(),
            "release": version("medreid"),
            "torch": version("torch"),
        },
    }


def _metrics(found: Retrieval) -> dict[str, Any]:
    """Each figure as [value, low, high, chance]."""
    known = {
        name: [round(number, 4) for number in (one.value, one.low, one.high) if number is not None]
        + [round(found.chance[name], 4)]
        for name, one in found.figures.items()
        if one.value is not None
    }
    return {"searches": found.searches, "persons": found.persons, "gallery": round(found.gallery, 1)} | known


def _weights(network: nn.Module, recipe: SkullRecipe) -> bytes:
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if recipe.weights == "float16":
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    return safetensors.torch.save(state)


def _put(draft: Path, says: dict[str, Any], name: str, content: bytes) -> None:
    (draft / name).write_bytes(content)
    says["files"][name] = hashlib.sha256(content).hexdigest()


def _write(draft: Path, says: Mapping[str, Any]) -> None:
    (draft / BUNDLE_FILE).write_text(to_toml(says), encoding="utf-8")
    Bundle.read(draft)
