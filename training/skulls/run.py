"""A whole training of a skull encoder: pictures, faces, skulls, bundle. It goes on from wherever it was cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from config.errors import StorageError, TrainingError
from inference import networks
from inference.encoders.bundle import Bundle
from inference.encoders.device import choose_device
from inference.encoders.memory import keep_freed_memory
from inference.encoders.runtime import TorchRuntime, load_network
from inference.encoders.skull_face import BranchTable, weights_file
from inference.encoders.skull_pictures import Side
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.learning.catalogue import Tell
from training.learning.losses import build_losses
from training.learning.recipe import Network
from training.learning.seeds import stream
from training.skulls.album import Album, AlbumPlan, Shown, faces_of, make_album
from training.skulls.batches import FaceBatches, FrozenFaces, SkullBatches
from training.skulls.branches import Branch, Course, CrossTriplets, FaceBranch, SkullBranch
from training.skulls.export import Outcome, Trained, export_bundle
from training.skulls.fitting import Hardware, HeldOut, Say, fit, scaled
from training.skulls.recipe import FaceStage, SkullRecipe, SkullStage
from training.skulls.retrieval import mean_reciprocal_rank, searches_of

_BATCH = 32
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class _Studio:
    """What both stages need."""

    recipe: SkullRecipe
    album: Album
    persons: dict[str, list[int]]
    work: Path
    hardware: Hardware
    tell: Tell
    say: Say

    def held_out(self, side: Side) -> list[Shown]:
        return self.album.of(side, self.persons["validation"])


def train(recipe: SkullRecipe, work: Path, *, hardware: Hardware | None = None, tell: Tell, say: Say) -> Outcome:
    """Trains a recipe in ``work`` and exports ``work/<name>``; called again it goes on, and does nothing twice.

    Raises
    ------
    TrainingError
        ``RECIPE_CHANGED``, ``TOO_MANY_FAILURES``, ``KIND_MISSING``, ``SPLIT_EMPTY``, ``NO_PAIRS``, ``TWIN_DIMENSIONS``,
        ``START``, ``VALIDATION_TOO_SMALL`` or ``NOT_FINITE``, each with its remedy.
    """
    keep_freed_memory()
    chosen = hardware or Hardware()
    _claim(work, recipe)
    persons = split_persons(recipe)
    album = make_album(work / plan_of(recipe).name, plan_of(recipe), chosen.processes, tell)
    _check(album, recipe, say)
    torch.manual_seed(recipe.seed)
    studio = _Studio(recipe, album, persons, work, chosen, tell, say)
    face, table = _face_branch(studio)
    skull = _skull_branch(studio, face, table)
    tables = {"face": table, "skull": table.model_copy(update={"kinds": recipe.kinds["skull"]})}
    if recipe.skull.network is not None:
        own = recipe.skull.network
        tables["skull"] = tables["skull"].model_copy(update={"network": own.name, "settings": _settings(own)})
    trained = Trained({"skull": skull, "face": face}, cast("dict[Side, BranchTable]", tables), persons)
    return export_bundle(recipe, trained, album, work, tell)


def plan_of(recipe: SkullRecipe) -> AlbumPlan:
    """The pictures that a recipe asks for."""
    own, pictures = recipe.phantoms, recipe.pictures
    return AlbumPlan(
        own.seed, own.patients, own.visits, pictures.skulls, pictures.faces, pictures.store, own.nuisance
    )  # fmt: skip


def split_persons(recipe: SkullRecipe) -> dict[str, list[int]]:
    """Who is in which split; nobody is in two.

    Raises
    ------
    TrainingError
        ``SPLIT_EMPTY`` when fewer than two persons are in the splits that training and tests need.
    """
    count = recipe.phantoms.patients
    order = (stream(recipe.seed, "splits").permutation(count) + 1).tolist()
    first = round(count * recipe.splits.train)
    second = first + round(count * recipe.splits.validation)
    found = dict(zip(SPLITS, (order[:first], order[first:second], order[second:]), strict=True))
    for name in SPLITS[:2]:
        if len(found[name]) < 2:
            raise TrainingError(
                f"{len(found[name])} persons are in the split {name}, two are needed: raise phantoms.patients, or its "
                "share in [splits]",
                reason="SPLIT_EMPTY",
            )
    return {name: sorted(persons) for name, persons in found.items()}


def embedded(network: nn.Module, album: Album, shown: Sequence[Shown], size: int, stage: str, tell: Tell) -> FloatArray:
    """float32 (n, D) of unit length: what a network in evaluation mode says of pictures."""
    run = TorchRuntime(network, choose_device("auto"))
    found = []
    for start in range(0, len(shown), _BATCH):
        part = [scaled(album.pixels(one), size) for one in shown[start : start + _BATCH]]
        found.append(run(np.stack(part)[:, None], np.zeros(len(part), np.int64)))
        tell(stage, start + len(part), len(shown))
    vectors = np.concatenate(found)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _claim(work: Path, recipe: SkullRecipe) -> None:
    """Makes the folder this recipe's, and no other's."""
    place, text = work / "recipe.json", recipe.model_dump_json(indent=1)
    try:
        if not place.is_file():
            with whole_file(place) as file:
                file.write(text.encode())
        elif place.read_text(encoding="utf-8") != text:
            raise TrainingError(
                f"{work} holds the training of another recipe (see recipe.json in it): choose another folder",
                reason="RECIPE_CHANGED",
            )
    except OSError as error:
        raise StorageError(f"{work} cannot be written ({error.strerror}); choose another folder") from None


def _check(album: Album, recipe: SkullRecipe, say: Say) -> None:
    failed, total = len(album.refused), len(album.refused) + len(album.shown)
    reasons = ", ".join(f"{name} {count}" for name, count in Counter(one.refused for one in album.refused).items())
    if failed > recipe.pictures.most_failures * total:
        raise TrainingError(
            f"{failed} of {total} pictures cannot be made ({reasons}), more than the share "
            f"{recipe.pictures.most_failures:g} of pictures.most_failures",
            reason="TOO_MANY_FAILURES",
        )
    wanted = {*recipe.pictures.skulls, *recipe.pictures.faces}
    made = {name for one in album.shown for name in (one.kind, one.kind.partition("/")[0])}
    if missing := sorted(wanted - made):
        raise TrainingError(
            f"no phantom has a picture of the kind {missing[0]!r}: leave it out of [pictures]", reason="KIND_MISSING"
        )
    if failed:
        say(f"{failed} of {total} pictures cannot be made: {reasons}")


def _face_branch(studio: _Studio) -> tuple[nn.Module, BranchTable]:
    """The frozen face branch, and what it takes."""
    recipe, stage = studio.recipe, studio.recipe.face
    kinds, size = recipe.kinds["face"], recipe.pictures.size
    if stage.network is None:
        bundle = Bundle.read(Path(stage.bundle))
        model = bundle.manifest.model
        network = load_network(bundle)
        assert model is not None
        own = Network(name=model.name, settings=model.settings)
        return network, BranchTable(network=own.name, settings=_settings(own), size=size, kinds=kinds)
    network = networks.build(stage.network.name, stage.network.settings)
    table = BranchTable(network=stage.network.name, settings=_settings(stage.network), size=size, kinds=kinds)
    if stage.network.start:
        _start(network, Path(stage.network.start), "face.network.start")
    if stage.steps:
        _trained_once(studio, "face", network, lambda: _learn_faces(studio, network, stage))
    return network.eval().requires_grad_(False), table


def _learn_faces(studio: _Studio, network: nn.Module, stage: FaceStage) -> None:
    recipe = studio.recipe
    own = studio.album.of("face", studio.persons["train"])
    batches = FaceBatches(studio.album, own, stage.sampler, recipe.seed)
    losses = build_losses(stage.losses, batches.classes, cast(int, cast(Any, network).dimension))
    held_out = studio.held_out("face")

    def judge(vectors: FloatArray) -> float:
        both = faces_of(held_out, vectors)
        return mean_reciprocal_rank(searches_of(both, both))

    _fit(studio, "face", FaceBranch(network, nn.ModuleList(losses), _course(recipe, stage), judge), batches)


def _skull_branch(studio: _Studio, face: nn.Module, table: BranchTable) -> nn.Module:
    stage = studio.recipe.skull
    own = stage.network or studio.recipe.face.network
    if own is None:  # a bundle's twin
        own = Network(name=table.network, settings=table.settings)
    network = networks.build(own.name, own.settings)
    if cast(Any, network).dimension != cast(Any, face).dimension:
        raise TrainingError(
            f"the face branch has {cast(Any, face).dimension} dimensions, the skull branch "
            f"{cast(Any, network).dimension}: set embedding in skull.network.settings",
            reason="TWIN_DIMENSIONS",
        )
    if stage.start == "face":
        network.load_state_dict(face.state_dict())
    elif stage.start:
        _start(network, Path(stage.start), "skull.start")
    _trained_once(studio, "skull", network, lambda: _learn_skulls(studio, network, face))
    return network.eval()


def _learn_skulls(studio: _Studio, network: nn.Module, face: nn.Module) -> None:
    recipe, album, stage = studio.recipe, studio.album, studio.recipe.skull
    size = recipe.pictures.size

    def gallery(split: str) -> tuple[list[Shown], FloatArray]:
        shown = album.of("face", studio.persons[split])
        return shown, embedded(face, album, shown, size, f"faces, {split}", studio.tell)

    frozen = FrozenFaces(*gallery("train"))
    skulls = album.of("skull", studio.persons["train"])
    batches = SkullBatches(album, skulls, frozen, stage.patients, recipe.seed)
    faces, held_out = faces_of(*gallery("validation")), studio.held_out("skull")

    def judge(vectors: FloatArray) -> float:
        return mean_reciprocal_rank(searches_of(faces_of(held_out, vectors), faces))

    branch = SkullBranch(network, CrossTriplets(stage.margin, stage.triplets), _course(recipe, stage), judge)
    _fit(studio, "skull", branch, batches)


def _fit(studio: _Studio, side: Side, branch: Branch, batches: FaceBatches | SkullBatches) -> None:
    held_out = HeldOut(studio.album, studio.held_out(side), studio.recipe.pictures.size)
    folder, stage = studio.work / side, f"training, {side}s"
    fit(branch, batches, held_out, folder, studio.recipe.length, studio.hardware, stage, studio.tell, studio.say)


def _trained_once(studio: _Studio, side: Side, network: nn.Module, learn: Callable[[], None]) -> None:
    """Learns, and keeps what came of it; or takes what came of it before."""
    done = studio.work / side / weights_file(side)
    if not done.is_file():
        learn()
        with whole_file(done) as file:
            file.write(safetensors.torch.save(network.cpu().state_dict()))
    network.load_state_dict(safetensors.torch.load_file(done))


def _course(recipe: SkullRecipe, stage: FaceStage | SkullStage) -> Course:
    return Course(
        recipe.seed, recipe.pictures.size, stage.steps, stage.augment, stage.optimiser, stage.schedule,
        stage.freeze_batch_norm,
    )  # fmt: skip


def _settings(own: Network) -> dict[str, Any]:
    return {key: value for key, value in own.settings.items() if key != "pretrained"}


def _start(network: nn.Module, path: Path, key: str) -> None:
    """Takes every weight that has the network's name and shape: a head of another size stays as it is."""
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{key}: {path} cannot be read: {error}", reason="START") from None
    own = network.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise TrainingError(f"{key}: {path} fits no part of {type(network).__name__}", reason="START")
    network.load_state_dict(own | fitting)
