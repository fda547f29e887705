"""A whole training at toy size: persons, pairs, the frozen branch, going on, and the bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import TrainingError
from inference.encoders.bundle import Bundle
from inference.encoders.protocol import Encoder
from inference.networks import build
from tests.skulls import toy
from tests.skulls.conftest import ToyRun
from training.learning.recipe import Sampler
from training.learning.toml_text import to_toml
from training.skulls.album import Album, AlbumPlan, Shown, make_album
from training.skulls.batches import FaceBatches, FrozenFaces, SkullBatches
from training.skulls.branches import CrossTriplets
from training.skulls.recipe import read_recipe, shipped_recipes, with_backbone
from training.skulls.run import plan_of, split_persons, train


def album_of(persons: int, visits: int, folder: Path) -> Album:
    """Flat pictures, each of its own grey."""
    entries = []
    for person in range(persons):
        for visit in range(visits):
            for side, kind in (("skull", "film/PA"), ("face", "photo/FRONTAL"), ("face", "photo/LEFT")):
                name = f"{person}-{visit}-{kind.replace('/', '-')}.npy"
                np.save(folder / name, np.full((1, 40, 40), len(entries) % 256, np.uint8))
                entries.append(Shown(person, visit, side, kind, name))  # type: ignore[arg-type]
    return Album(folder, entries)


def test_nobody_is_in_two_splits(tmp_path: Path) -> None:
    recipe = toy.recipe_in(tmp_path)
    found = split_persons(recipe)
    assert {name: len(persons) for name, persons in found.items()} == {"train": 4, "validation": 2, "test": 2}
    assert sorted(one for persons in found.values() for one in persons) == list(range(1, toy.PATIENTS + 1))


def test_a_skull_never_meets_a_face_of_its_own_visit(tmp_path: Path) -> None:
    album = album_of(5, 3, tmp_path)
    faces = FrozenFaces(album.of("face", range(5)), np.eye(30, dtype=np.float32))
    batches = SkullBatches(album, album.of("skull", range(5)), faces, 4, seed=1)
    seen = set()
    for number in range(40):
        drawn = batches.drawn(number)
        assert len({skull.person for skull, _ in drawn}) == 4
        for skull, place in drawn:
            face = faces.shown[place]
            assert face.person == skull.person
            assert face.visit != skull.visit
            seen.add((skull.visit, face.visit, face.kind))
    assert len(seen) == 3 * 2 * 2
    batch = batches[7]
    assert batch["images"].shape == (4, 1, 3, 40, 40)
    places = [place for _, place in batches.drawn(7)]
    torch.testing.assert_close(batch["faces"], torch.eye(30)[places])


def test_faces_in_a_batch_are_of_different_visits_and_the_same_for_the_same_number(tmp_path: Path) -> None:
    album = album_of(6, 2, tmp_path)
    batches = FaceBatches(album, album.of("face", range(6)), Sampler(patients=3, images=2), seed=2)
    for number in range(10):
        first, again = batches[number], batches[number]
        assert sorted(torch.bincount(first["class"], minlength=6).tolist()) == [0, 0, 0, 2, 2, 2]
        assert all(torch.equal(first[name], again[name]) for name in first)
        # The grey of a picture counts its place in the album: six for a person, three for a visit.
        visits = first["images"][:, 0, 0, 0, 0].long() // 3 % 2
        assert (visits.reshape(3, 2).sum(dim=1) == 1).all()


def test_one_visit_makes_no_pairs(tmp_path: Path) -> None:
    album = album_of(3, 1, tmp_path)
    faces = FrozenFaces(album.of("face", range(3)), np.eye(6, dtype=np.float32))
    with pytest.raises(TrainingError) as caught:
        SkullBatches(album, album.of("skull", range(3)), faces, 2, seed=1)
    assert caught.value.reason == "NO_PAIRS"


def test_the_loss_is_the_hinge_of_skulls_and_faces() -> None:
    torch.manual_seed(1)
    skulls, faces = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    a, b = (torch.nn.functional.normalize(one, dim=1) for one in (skulls, faces))
    d = torch.cdist(a, b)
    hinges = [d[i, i] - d[i, j] + 0.3 for i in range(5) for j in range(5) if i != j]
    above = [one for one in hinges if one > 0]
    loss = CrossTriplets(0.3, "all")(skulls, faces)
    torch.testing.assert_close(loss, torch.stack(above).mean())
    loss.backward()
    assert skulls.grad is not None and bool(skulls.grad.abs().sum() > 0)
    assert float(CrossTriplets(0.2, "all")(torch.eye(5), torch.eye(5))) == 0


def test_hard_triplets_are_those_whose_stranger_is_nearer() -> None:
    torch.manual_seed(2)
    skulls, faces = torch.randn(6, 4), torch.randn(6, 4)
    d = torch.cdist(*(torch.nn.functional.normalize(one, dim=1) for one in (skulls, faces)))
    hard = [d[i, i] - d[i, j] + 0.2 for i in range(6) for j in range(6) if i != j and d[i, j] < d[i, i]]
    torch.testing.assert_close(CrossTriplets(0.2, "hard")(skulls, faces), torch.stack(hard).mean())


def test_a_training_ends_in_a_bundle_that_serves(toy_run: ToyRun) -> None:
    encoder = toy_run.encoder()
    assert isinstance(encoder, Encoder)
    assert (encoder.dimension, encoder.kinds("skull"), encoder.kinds("face")) == (8, ("film",), ("photo",))
    manifest = Bundle.read(toy_run.outcome.bundle).manifest
    assert "4 phantoms" in manifest.trained_on
    assert set(manifest.metrics) == {"validation", "test"}
    value, *_, chance = manifest.metrics["test"]["recall@2"]
    assert 0 <= value <= 1
    assert chance == pytest.approx(2 / 6, abs=1e-3)
    assert not toy_run.outcome.calibrated


def test_the_face_branch_stays_as_the_first_stage_left_it_and_the_skull_branch_does_not(toy_run: ToyRun) -> None:
    stage, face, skull = (
        safetensors.torch.load_file(toy_run.work / name)
        for name in ("face/face.safetensors", "skull-face/face.safetensors", "skull-face/skull.safetensors")
    )
    assert all(torch.equal(stage[name], face[name]) for name in stage)
    assert any(not torch.equal(face[name], skull[name]) for name in face)


def test_called_again_it_trains_nothing_and_makes_the_same_bundle(toy_run: ToyRun, tmp_path: Path, tiny: None) -> None:
    work = tmp_path / "work"
    shutil.copytree(toy_run.work, work)
    told: list[str] = []
    again = train(toy_run.recipe, work, tell=lambda stage, *_: told.append(stage), say=lambda _: None)
    assert not [stage for stage in told if stage.startswith("training")]
    for name in ("skull.safetensors", "face.safetensors"):
        assert (again.bundle / name).read_bytes() == (toy_run.outcome.bundle / name).read_bytes()


class Killed(Exception):
    """What stops a training in a test."""


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(toy_run: ToyRun, tmp_path: Path, tiny: None) -> None:
    work = tmp_path / "work"
    shutil.copytree(toy_run.work, work, ignore=shutil.ignore_patterns("skull", "skull-face"))

    def tell(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("training, skulls", 4):
            raise Killed

    with pytest.raises(Killed):
        train(toy_run.recipe, work, tell=tell, say=lambda _: None)
    assert (work / "skull" / "last.ckpt").is_file()
    again = toy.trained(toy_run.recipe, work)
    first, second = (
        safetensors.torch.load_file(bundle / "skull.safetensors") for bundle in (toy_run.outcome.bundle, again.bundle)
    )
    for name, values in first.items():
        torch.testing.assert_close(values, second[name], rtol=1e-5, atol=1e-6)


def test_an_album_goes_on_behind_a_line_that_was_cut_off(toy_run: ToyRun, tmp_path: Path, tiny: None) -> None:
    plan = plan_of(toy_run.recipe)
    folder = tmp_path / plan.name
    shutil.copytree(toy_run.work / plan.name, folder)
    journal = folder / "pictures.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:10])
    told: list[int] = []
    album = make_album(folder, plan, 1, lambda _, done, total: told.append(done))
    assert told == [len(lines) - 1, len(lines)]
    assert journal.read_bytes() == b"".join(lines)
    assert len(album.shown) == len({one.file for one in album.shown}) == toy.PATIENTS * 2 * 3
    assert len(album.without_repeats().shown) == toy.PATIENTS * 2 * 2
    assert album.pixels(album.shown[0]).shape == (3, 40, 40)


def test_another_plan_has_another_folder_and_distractors_have_no_skull() -> None:
    plan = AlbumPlan(7758, 2, 2, ("film/PA",), ("photo/FRONTAL",), 40, "tiny", distractors=1)
    assert plan.name != AlbumPlan(7758, 2, 2, ("film/PA",), ("photo/FRONTAL",), 41, "tiny", distractors=1).name
    assert [(one.person, one.visit, one.study) for one in plan.tasks() if one.person == 3] == [(3, 0, "face-photo")]


def test_a_folder_of_another_recipe_is_refused(toy_run: ToyRun, tiny: None) -> None:
    other = toy_run.recipe.model_copy(update={"seed": 4})
    with pytest.raises(TrainingError) as caught:
        toy.trained(other, toy_run.work)
    assert caught.value.reason == "RECIPE_CHANGED"


@pytest.mark.parametrize(
    ("old", "new", "reason", "told"),
    [
        ("train = 0.5\nvalidation = 0.25\ntest = 0.25", "train = 1\nvalidation = 0\ntest = 0", "SPLIT_EMPTY", "valid"),
        ("steps = 6", 'steps = 6\nstart = ""\nnetwork = { name = "tiny", settings = { dimension = 4 } }',
         "TWIN_DIMENSIONS", "embedding"),
        ("steps = 6", 'steps = 6\nstart = "gone.safetensors"', "START", "gone"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_named(
    toy_run: ToyRun, tmp_path: Path, tiny: None, old: str, new: str, reason: str, told: str
) -> None:
    work = tmp_path / "work"
    shutil.copytree(toy_run.work, work, ignore=shutil.ignore_patterns("skull", "skull-face", "recipe.json"))
    with pytest.raises(TrainingError, match=told) as caught:
        toy.trained(toy.recipe_in(tmp_path, toy.RECIPE.replace(old, new)), work)
    assert caught.value.reason == reason


def test_too_many_pictures_that_cannot_be_made_end_it_before_it_begins(
    toy_run: ToyRun, tmp_path: Path, tiny: None
) -> None:
    name = plan_of(toy_run.recipe).name
    shutil.copytree(toy_run.work / name, tmp_path / "work" / name)
    journal = tmp_path / "work" / name / "pictures.jsonl"
    lines: list[list[dict[str, Any]]] = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines[::4]:
        line[0] |= {"file": "", "refused": "NO_FACE"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(TrainingError, match="NO_FACE 8") as caught:
        toy.trained(toy_run.recipe, tmp_path / "work")
    assert caught.value.reason == "TOO_MANY_FAILURES"


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_recipe_that_ships_can_be_read(name: str) -> None:
    recipe = read_recipe(Path(name))
    assert recipe.name == "skull-face"
    assert 7740 <= recipe.phantoms.seed < 7760
    assert read_recipe(shipped_recipes()[name]) == recipe


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 3", "seed = 3\ncolour = 1", "colour"),
        ('"film/PA"', '"photo"', "no kind of skull"),
        ("store = 40", "store = 20", "store"),
        ("test = 0.25", "test = 0.5", "add up"),
        ("steps = 4", "steps = 4\nbundle = \"x\"", "either a bundle or a network"),
        ("steps = 6", 'steps = 6\nnetwork = { name = "tiny" }', "twin"),
        ("visits = 2", "visits = 1", "visits"),
        ("seed = 3", "seed = ", "no TOML"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_say_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(TrainingError, match=told) as caught:
        toy.recipe_in(tmp_path, toy.RECIPE.replace(old, new))
    assert caught.value.reason == "RECIPE"


def test_a_recipe_that_is_not_there_is_named_beside_those_that_ship() -> None:
    with pytest.raises(TrainingError, match="light"):
        read_recipe(Path("nowhere.toml"))


def test_weights_to_start_from_lie_beside_the_recipe(tmp_path: Path) -> None:
    text = toy.RECIPE.replace('name = "tiny", settings', 'name = "tiny", start = "own.safetensors", settings')
    found = toy.recipe_in(tmp_path, text).face.network
    assert found is not None and found.start == str(tmp_path / "own.safetensors")


@pytest.mark.parametrize(
    "backbone",
    ["vgg16", "resnet18", "resnet50", "resnet101", "densenet121", "densenet201", "efficientnet-b0", "mobilenet-v2",
     "convnext-tiny", "vit-base", "efficientnet-lite0"],
)  # fmt: skip
def test_every_backbone_of_the_table_can_take_the_place_of_the_recipes(backbone: str) -> None:
    recipe = with_backbone(read_recipe(Path("light")), backbone)
    assert recipe.name == f"skull-face-{backbone}"
    assert recipe.face.network is not None
    settings = recipe.face.network.settings
    assert settings.get("pretrained", False) is (backbone == "efficientnet-lite0")
    with torch.device("meta"):
        network: Any = build(backbone, {key: value for key, value in settings.items() if key != "pretrained"})
    assert network.dimension == (768 if backbone == "vit-base" else 128)


def test_a_bundles_network_is_not_replaced(tmp_path: Path) -> None:
    text = toy.RECIPE.replace('network = { name = "tiny", settings = { dropout = 0.2 } }\nsteps = 4', 'bundle = "b"')
    recipe = toy.recipe_in(tmp_path, text)
    assert recipe.face.bundle == str(tmp_path / "b")
    with pytest.raises(TrainingError, match="bundle"):
        with_backbone(recipe, "vgg16")


def test_the_face_branch_may_come_from_a_bundle(toy_run: ToyRun, tmp_path: Path, tiny: None) -> None:
    """What medreid train made is frozen as it is, and its twin learns."""
    network = build("tiny", {"dimension": 8})
    folder = tmp_path / "faces"
    folder.mkdir()
    weights = safetensors.torch.save(network.state_dict())
    (folder / "weights.safetensors").write_bytes(weights)
    says = {
        "name": "faces", "version": "1", "network": "trained", "dimension": 8, "description": "x", "licence": "x",
        "trained_on": "x", "recipe": "x", "files": {"weights.safetensors": hashlib.sha256(weights).hexdigest()},
        "model": {"name": "tiny", "settings": {"dimension": 8}},
    }  # fmt: skip
    (folder / "bundle.toml").write_text(to_toml(says))
    text = toy.RECIPE.replace(
        'network = { name = "tiny", settings = { dropout = 0.2 } }\nsteps = 4', 'bundle = "faces"\nsteps = 0'
    )
    work = tmp_path / "work"
    name = plan_of(toy_run.recipe).name
    shutil.copytree(toy_run.work / name, work / name)
    bundle = toy.trained(toy.recipe_in(tmp_path, text), work).bundle
    face = safetensors.torch.load_file(bundle / "face.safetensors")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in face.items())
