"""Recipes of skull encoders: a TOML file in which an unknown key is an error.

Of ImageNet's weights only those of EfficientNet-Lite0 come with an installed package (``settings = {pretrained =
true}``); every other backbone starts from chance, or from a file of safetensors with its own names (``start``).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from config.errors import TrainingError
from inference.encoders.skull_pictures import KINDS, Side
from training.learning.recipe import Augment, Loss, Name, Network, Optimiser, Sampler, Schedule, Share, Splits

__all__ = ["SkullRecipe", "kind_and_view", "read_recipe", "shipped_recipes", "with_backbone"]

_LARGEST_FILE = 1 << 18
Triplets = Literal["all", "semihard", "hard"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Phantoms(_Table):
    """Who is trained on: phantom persons of a seed, with so many visits each."""

    patients: PositiveInt
    visits: int = Field(default=2, ge=2)
    seed: int = Field(ge=0)
    nuisance: str = "default"


class Pictures(_Table):
    """What of them. Kinds are those of :mod:`inference.encoders.skull_pictures`; behind a slash, the one view that is
    taken (``film/PA``, ``film/LL``, ``photo/FRONTAL``, ``photo/RIGHT``, ``photo/LEFT``).

    ``size`` is what the networks see, ``store`` what is kept, so that crops can vary. More than the share
    ``most_failures`` of pictures that cannot be made ends the training before it begins.
    """

    skulls: tuple[str, ...] = Field(min_length=1)
    faces: tuple[str, ...] = Field(min_length=1)
    size: int = Field(ge=16, le=1024)
    store: int = Field(ge=16, le=1024)
    most_failures: Share = 0.1

    @model_validator(mode="after")
    def _known(self) -> Self:
        sides: tuple[tuple[Side, tuple[str, ...]], ...] = (("skull", self.skulls), ("face", self.faces))
        for side, kinds in sides:
            for kind in kinds:
                if kind_and_view(kind)[0] not in KINDS[side]:
                    raise ValueError(f"{kind!r} is no kind of {side}; kinds are {', '.join(KINDS[side])}")
        if self.store < self.size:
            raise ValueError("store is at least size")
        return self


class FaceStage(_Table):
    """The face branch, trained on faces alone to tell patients apart, then frozen.

    ``bundle`` is the folder of a trained bundle that takes its place (a path relative to the recipe); ``steps`` of 0
    freezes the branch as it starts, as the literature does with ImageNet's weights.
    """

    bundle: str = ""
    network: Network | None = None
    steps: int = Field(default=0, ge=0)
    sampler: Sampler = Sampler(patients=16, images=2)
    losses: tuple[Loss, ...] = (Loss(name="multi-similarity"),)
    augment: Augment = Augment()
    optimiser: Optimiser = Optimiser(learning_rate=1e-4)
    schedule: Schedule = Schedule()
    freeze_batch_norm: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.bundle) == (self.network is not None):
            raise ValueError("the face branch has either a bundle or a network")
        if self.bundle and self.steps:
            raise ValueError("a bundle's face branch is frozen: steps is 0")
        if self.network is not None and self.network.discriminant:
            raise ValueError("discriminant is for the recipes of medreid train")
        return self


class SkullStage(_Table):
    """The skull branch, trained towards the frozen faces by the hinge triplet loss max(0, d(s, f+) - d(s, f-) + margin)
    of unit vectors (F. Schroff et al., "FaceNet", CVPR 2015).

    network
        None for the face branch's twin.
    start
        ``face``: the weights that the face branch ended with; else a file of safetensors, or nothing: as its network
        starts by itself.
    patients
        persons in a batch, each with one skull, and the face of another visit.
    triplets
        which of a batch's triplets count: ``all``, only ``semihard`` ones, or only ``hard`` ones.
    """

    network: Network | None = None
    start: str = "face"
    steps: PositiveInt
    patients: int = Field(default=32, ge=2)
    margin: float = Field(default=0.2, gt=0, le=2)
    triplets: Triplets = "all"
    augment: Augment = Augment()
    optimiser: Optimiser = Optimiser(learning_rate=1e-4)
    schedule: Schedule = Schedule()
    freeze_batch_norm: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.network is not None and self.start == "face":
            raise ValueError("only a twin can start from the face branch: leave network out, or set start")
        if self.network is not None and (self.network.discriminant or self.network.start):
            raise ValueError("the skull branch's weights are named by skull.start alone")
        return self


class Length(_Table):
    """Every ``every`` steps a test on the held-out persons, every ``checkpoint`` steps a place to go on from;
    ``patience`` tests without a better one end a stage."""

    every: PositiveInt = 100
    checkpoint: PositiveInt = 50
    patience: PositiveInt = 10
    precision: Literal["32", "bf16-mixed"] = "32"


class SkullRecipe(_Table):
    """A whole recipe. ``splits`` are shares of persons: nobody is in two of them, whatever triplets are drawn."""

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")
    description: str
    licence: str
    intended_use: str
    seed: int = Field(ge=0, lt=2**31)
    phantoms: Phantoms
    pictures: Pictures
    splits: Splits
    face: FaceStage
    skull: SkullStage
    length: Length = Length()
    weights: Literal["float32", "float16"] = "float16"
    ranks: tuple[PositiveInt, ...] = (1, 5, 10, 30)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.splits.train + self.splits.validation + self.splits.test - 1) > 1e-6:
            raise ValueError("the shares of the splits add up to 1")
        return self

    @property
    def kinds(self) -> dict[Side, tuple[str, ...]]:
        """What the bundle's branches will take: the kinds without their views."""
        named: dict[Side, tuple[str, ...]] = {"skull": self.pictures.skulls, "face": self.pictures.faces}
        return {side: tuple(dict.fromkeys(kind_and_view(one)[0] for one in kinds)) for side, kinds in named.items()}


def kind_and_view(name: str) -> tuple[str, str]:
    """``film/PA`` as (film, PA); the view is empty where none is named."""
    kind, _, view = name.partition("/")
    return kind, view


def with_backbone(recipe: SkullRecipe, backbone: str) -> SkullRecipe:
    """The recipe with another network in both branches, by its name in :data:`inference.networks.NETWORKS`: one row of
    a table by backbone. The bundle is called after both.

    Raises
    ------
    TrainingError
        ``RECIPE`` when the recipe's face branch comes from a bundle.
    """
    own = recipe.face.network
    if own is None:
        raise TrainingError(
            "the face branch comes from a bundle, whose network is what it is: write a recipe with face.network",
            reason="RECIPE",
        )
    settings: dict[str, Any] = {"embedding": own.settings["embedding"]} if "embedding" in own.settings else {}
    if backbone.startswith("vit-"):
        # A transformer's read-out has its own width, and its table of positions one size.
        settings = {"size": recipe.pictures.size}
    if backbone == "efficientnet-lite0":
        settings["pretrained"] = True
    face = recipe.face.model_copy(update={"network": Network(name=backbone, settings=settings)})
    skull = recipe.skull.model_copy(update={"network": None, "start": "face"})
    return recipe.model_copy(update={"name": f"{recipe.name}-{backbone}", "face": face, "skull": skull})


def read_recipe(path: Path) -> SkullRecipe:
    """A recipe from a file, or one that ships by its bare name (``light``); its paths become ones that hold anywhere.

    Raises
    ------
    TrainingError
        ``RECIPE``, naming every key that is missing, unknown or cannot be used.
    """
    shipped = shipped_recipes()
    file = shipped[str(path)] if str(path) in shipped and not path.is_file() else path
    try:
        with file.open("rb") as opened:
            text = opened.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise TrainingError(f"recipe {file.name}: it is too large for a recipe", reason="RECIPE")
        recipe = SkullRecipe.model_validate(tomllib.loads(text.decode()))
    except OSError as error:
        raise TrainingError(
            f"recipe {path}: {error.strerror}; give a file, or a recipe that ships: {', '.join(shipped)}",
            reason="RECIPE",
        ) from None
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in error.errors()
        )
        raise TrainingError(f"recipe {file.name}: {faults}", reason="RECIPE") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"recipe {file.name}: it is no TOML: {error}", reason="RECIPE") from None
    return _anchored(recipe, file.parent)


def _anchored(recipe: SkullRecipe, folder: Path) -> SkullRecipe:
    """With the paths of other files relative to the recipe's folder."""
    face, skull = recipe.face, recipe.skull
    changes: dict[str, Any] = {}
    if face.bundle:
        changes["face"] = face.model_copy(update={"bundle": str(folder / face.bundle)})
    elif face.network is not None and face.network.start:
        network = face.network.model_copy(update={"start": str(folder / face.network.start)})
        changes["face"] = face.model_copy(update={"network": network})
    if skull.start not in ("", "face"):
        changes["skull"] = skull.model_copy(update={"start": str(folder / skull.start)})
    return recipe.model_copy(update=changes)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with MedReID, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}
