"""A network, phantoms and a recipe so small that a whole training takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.networks import NETWORKS
from training.cohort import nuisance
from training.cohort.dials.face_photo import FacePhotoDials
from training.cohort.dials.skull_film import SkullFilmDials
from training.cohort.visit import Dials
from training.skulls.export import Outcome
from training.skulls.recipe import SkullRecipe, read_recipe
from training.skulls.run import train

TINY = Dials(
    skull_film=SkullFilmDials(matrix=(96, 128), voxel=4.0, table=(("straight", 1.0),), gamma=(1.0, 1.0), mirrored=0.0),
    face_photo=FacePhotoDials(views=("FRONTAL", "FRONTAL"), matrix=64),
)
PATIENTS = 8
RECIPE = f"""
name = "skull-face"
version = "0.1"
description = "A toy"
licence = "Apache-2.0"
intended_use = "Tests"
seed = 3
ranks = [1, 2]
weights = "float32"

[phantoms]
patients = {PATIENTS}
visits = 2
seed = 7758
nuisance = "tiny"

[pictures]
skulls = ["film/PA"]
faces = ["photo/FRONTAL"]
size = 32
store = 40

[splits]
train = 0.5
validation = 0.25
test = 0.25

[face]
network = {{ name = "tiny", settings = {{ dropout = 0.2 }} }}
steps = 4
sampler = {{ patients = 4, images = 2 }}
augment = {{ scale = [0.8, 1.0] }}
optimiser = {{ learning_rate = 0.01 }}

[skull]
steps = 6
patients = 4
augment = {{ scale = [0.8, 1.0] }}
optimiser = {{ learning_rate = 0.01 }}

[length]
every = 2
checkpoint = 1
"""


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the toy network and the toy phantoms known by name."""
    monkeypatch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
    monkeypatch.setattr(nuisance, "NUISANCES", {**nuisance.NUISANCES, "tiny": lambda: TINY})


def recipe_in(folder: Path, text: str = RECIPE) -> SkullRecipe:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.toml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "toy.toml")


def trained(recipe: SkullRecipe, work: Path) -> Outcome:
    return train(recipe, work, tell=lambda *_: None, say=lambda _: None)
