"""A whole training of faces, from volumes to a bundle that takes volumes, so small that it takes seconds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import TrainingError
from inference.encoders.face_network import FaceNetworkEncoder
from inference.encoders.registry import Registry
from inference.imaging.depth_image import Turn
from tests.faces.scans import solid, write_nifti
from tests.imaging.heads import head
from training.cohort.implicit import rotation
from training.faces.groups import GroupBatches
from training.faces.recognition import (
    depth_data,
    depth_spec,
    face_recipe,
    grouped,
    is_face_recipe,
    started_from,
    train_faces,
    train_network,
)
from training.faces.source_domain import SOURCE_SEED, drawn_faces, train_source
from training.learning.catalogue import TRAIN
from training.learning.export import Outcome
from training.learning.folder import Folder
from training.learning.losses import build_losses
from training.learning.prepare import prepare_data
from training.learning.recipe import Loss, Recipe, read_recipe, recipe_of
from training.learning.run import Hardware
from training.manifests.files import read_manifest, write_manifest
from training.manifests.schema import Row

RECIPE = """
name = "small-face"
version = "1.0"
description = "A small encoder of faces"
licence = "Apache-2.0"
intended_use = "Tests"
seed = 7
compare = []
[network]
name = "depth-resnet18"
settings = { embedding = 8, width = 0.0625 }
[input]
size = 32
[[sources]]
name = "heads"
manifest = "manifest.csv"
[splits]
train = 1.0
validation = 0.0
test = 0.0
[store]
size = 40
slices = 4
most_failures = 0.2
[sampler]
patients = 3
images = 2
[augment]
scale = [0.64, 0.64]
[[losses]]
name = "hinge-triplet"
settings = { margin = 0.3 }
[optimiser]
learning_rate = 1e-3
weight_decay = 0.0
[length]
steps = 2
checkpoint = 1
[validation]
patients = 4
every = 1
figure = "eer"
"""
CPU = Hardware("cpu")


def _tell(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def _say(line: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Heads of five persons on two days each, two of them held out; one scan has no face in it."""
    folder = tmp_path_factory.mktemp("heads")
    rows = []
    for person, width in enumerate((62.0, 66.0, 70.0, 74.0, 78.0)):
        for day in (0, 9):
            name = f"{person}-{day}.nii.gz"
            write_nifti(folder / name, head(rotation(0.0, 4.0 * (day > 0), 0.0), width))
            split = "train" if person < 3 else "validation"
            rows.append(Row(name, f"p{person}", f"s{day}", modality="CT", days=day, split=split))
    write_nifti(folder / "table.nii.gz", head(high_z=-100.0))
    rows.append(Row("table.nii.gz", "p0", "s99", modality="CT", days=99, split="train"))
    write_manifest(folder / "manifest.csv", rows)
    return recipe_of(RECIPE.replace("manifest.csv", str(folder / "manifest.csv")), "small.toml")


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, list[str]]:
    out = tmp_path_factory.mktemp("training")
    said: list[str] = []
    found = train_faces(recipe, out, hardware=CPU, tell=_tell, say=said.append)
    assert found is not None
    return out, found, said


def test_a_training_ends_in_a_bundle_that_encodes_volumes(trained: tuple[Path, Outcome, list[str]]) -> None:
    out, found, _ = trained
    assert found.bundle == out / "small-face"
    encoder = Registry((out,), "cpu").get("small-face")
    assert isinstance(encoder, FaceNetworkEncoder) and encoder.dimension == 8
    encoding = encoder.encode([head(width=76.0)])[0]
    assert encoding is not None and np.linalg.norm(encoding.vector) == pytest.approx(1.0, abs=1e-5)
    assert found.serving.parity < 1e-4


def test_the_bundle_says_what_it_is(trained: tuple[Path, Outcome, list[str]]) -> None:
    _, found, _ = trained
    says = tomllib.loads((found.bundle / "bundle.toml").read_text())
    assert says["network"] == "face-network" and says["model"]["modalities"] == ["CT"]
    assert says["input"] == {"size": 32, "views": 1, "image": 40, "threshold": -350.0, "floor": 0.0, "separate": False}
    assert says["trained_on"].startswith("24 depth images of 6 scans of 3 patients: heads")
    assert says["metrics"]["validation"]["patients"] == 2 and says["metrics"]["validation"]["images"] == 4
    assert set(found.figures) == {"validation"}
    assert set(says["files"]) == {path.name for path in found.bundle.iterdir()} - {"bundle.toml"}


def test_held_out_persons_give_one_frontal_image_of_each_scan(trained: tuple[Path, Outcome, list[str]]) -> None:
    out, _, said = trained
    rows = list(read_manifest(out / "faces.csv").rows())
    held_out = [row for row in rows if row.split != TRAIN]
    assert [(row.patient_id, row.view) for row in held_out] == [(f"p{n}", Turn().name) for n in (3, 3, 4, 4)]
    assert len({row.view for row in rows if row.patient_id == "p0"}) > 4, "scans share their poses"
    assert said[0].startswith("NO_DEPTH_IMAGE: 1 scans")


def test_batches_are_groups(trained: tuple[Path, Outcome, list[str]], recipe: Recipe) -> None:
    out, _, _ = trained
    own = face_recipe(recipe, read_manifest(out / "faces.csv"))
    data = grouped(own, prepare_data(own, Folder(out / "network"), (), 1, _tell))
    assert isinstance(data.batches, GroupBatches) and len(data.batches) == data.steps == 2
    patients = [data.train.rows[draw.image].patient_id for draw in data.batches.batch(0)]
    assert sorted(patients) == ["p0", "p0", "p1", "p1", "p2", "p2"]
    longer = own.model_copy(update={"length": own.length.model_copy(update={"steps": 0, "epochs": 3})})
    # Eight images of each patient are four subgroups, and three patients fill a batch.
    assert grouped(longer, data).steps == 12


def test_a_training_goes_on_where_it_was_and_nowhere_else(
    trained: tuple[Path, Outcome, list[str]], recipe: Recipe
) -> None:
    out, _, _ = trained
    journal = (out / "depth" / "scans.jsonl").read_bytes()
    with pytest.raises(TrainingError) as refused:
        train_faces(recipe, out, hardware=CPU, tell=_tell, say=_say)
    assert refused.value.reason == "OUT_IN_USE"
    again = train_faces(recipe, out, resume=True, hardware=CPU, tell=_tell, say=_say)
    assert again is not None and (out / "depth" / "scans.jsonl").read_bytes() == journal


def test_weights_of_the_source_domain_are_what_a_training_starts_from(
    trained: tuple[Path, Outcome, list[str]], recipe: Recipe, tmp_path: Path
) -> None:
    # Of the first six persons of this seed four are trained on, and two are held out.
    source = train_source(
        recipe, tmp_path / "source", persons=6, visits=2, views=2, seed=7713, hardware=CPU, tell=_tell, say=_say
    )
    assert source is not None
    weights = source.bundle / "weights.safetensors"
    still = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"learning_rate": 1e-12})})
    out, _, _ = trained
    found = train_network(
        started_from(still, weights), read_manifest(out / "faces.csv"), tmp_path / "own", CPU, _tell, _say
    )
    assert found is not None
    first, last = (safetensors.torch.load_file(path) for path in (weights, found.bundle / "weights.safetensors"))
    learnt = [name for name in first if name.endswith("weight")]
    assert learnt and all(np.allclose(first[name].numpy(), last[name].numpy(), atol=1e-6) for name in learnt)


def test_too_many_scans_without_a_face_end_a_training(recipe: Recipe, tmp_path: Path) -> None:
    scans = [solid(70.0, "a", split="train"), solid(0.0, "b", split="train")]
    with pytest.raises(TrainingError, match="NO_FACE 1") as refused:
        depth_data(recipe, scans, tmp_path, depth_spec(recipe), processes=1, tell=_tell)
    assert refused.value.reason == "TOO_MANY_FAILURES"


def test_the_loss_is_the_mean_hinge_of_squared_distances() -> None:
    (loss,) = build_losses((Loss(name="hinge-triplet", settings={"margin": 0.3}),), 3, 4)
    embeddings = torch.randn(9, 4, generator=torch.Generator().manual_seed(2))
    classes = torch.arange(9) % 3
    unit = torch.nn.functional.normalize(embeddings)
    squared = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    hinges = [
        squared[a, p] - squared[a, n] + 0.3
        for a in range(9) for p in range(9) for n in range(9)
        if a != p and classes[a] == classes[p] and classes[a] != classes[n]
    ]  # fmt: skip
    active = torch.stack([one for one in hinges if one > 0])
    assert 0 < len(active) < len(hinges)
    assert torch.isclose(loss(embeddings, classes), active.mean(), atol=1e-5)
    apart = torch.eye(4)[classes]
    assert loss(apart, classes) == 0, "what is apart by more than the margin still costs"


def test_recipes_of_faces_are_told_from_others() -> None:
    assert is_face_recipe(read_recipe(Path("face-network")))
    assert not is_face_recipe(read_recipe(Path("smoke")))


def test_nobody_of_the_source_domain_is_trained_on_later() -> None:
    recipe = read_recipe(Path("face-network"))
    seeds = {source.cohort.seed for source in recipe.sources if source.cohort}
    assert SOURCE_SEED not in seeds
    patients = {scan.row.patient_id for scan in drawn_faces(SOURCE_SEED, 3, 2, 2)}
    assert len(patients) == 3
