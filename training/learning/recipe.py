"""Recipes: what is trained on what, and how. A TOML file in which an unknown key is an error.

Numbers that follow from the data (patients, classes) never stand in a recipe; everything else does, so that a recipe,
its data and its seed are a training that can be repeated.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from config.errors import EncoderError, TrainingError
from inference.encoders.inputs import InputSpec

__all__ = [
    "Augment",
    "Loss",
    "Recipe",
    "Sampler",
    "Source",
    "Splits",
    "read_recipe",
    "recipe_of",
    "shipped_recipes",
    "with_manifests",
]

_LARGEST_FILE = 1 << 18
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Table):
    """``name`` and ``settings`` go to :func:`inference.networks.build`.

    ``start`` is a file of safetensors beside the recipe: every weight of its name and shape is taken before the first
    step. ``discriminant`` then fits the network's linear head in closed form, on so many augmented views of each image.
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    start: str = ""
    discriminant: int = Field(default=0, ge=0)


class Cohort(_Table):
    """A phantom cohort, made once below the output folder (:class:`training.cohort.CohortPlan`)."""

    kinds: tuple[str, ...] = Field(min_length=1)
    patients: PositiveInt
    visits: PositiveInt | tuple[PositiveInt, PositiveInt] = (2, 3)
    seed: int = Field(ge=0)
    nuisance: str = "default"
    distractors: int = Field(default=0, ge=0)


class Source(_Table):
    """Where images come from: a manifest (a path relative to the recipe) or a phantom cohort.

    ``modalities`` keeps rows of these Modalities only (empty: all). A batch holds images of one source and modality;
    ``weight`` says how often it is this one's turn, in proportion to its patients. ``label`` is the class of all its
    images where the task is ``kind``.
    """

    name: Name
    manifest: str = ""
    outside: bool = False
    cohort: Cohort | None = None
    modalities: tuple[str, ...] = ()
    weight: float = Field(default=1.0, gt=0)
    label: str = ""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.manifest) == (self.cohort is not None):
            raise ValueError("a source has either a manifest or a cohort")
        return self


class Splits(_Table):
    """Shares of the patients where a manifest has no split of its own, which goes before them.

    ``validation`` decides when to stop and fits the calibration; ``test`` is looked at once, at the end.
    """

    train: Share
    validation: Share
    test: Share


class Store(_Table):
    """How decoded training images are kept: with more edge, border and slices than the network takes.

    ``crop`` replaces the input's, so that random crops can reach beyond it; ``slices`` likewise for volumes. More than
    the share ``most_failures`` of images that cannot be used ends the training before it begins.
    """

    size: PositiveInt
    crop: float = Field(default=0.0, ge=0, lt=0.4)
    slices: PositiveInt = 1
    most_failures: Share


class Sampler(_Table):
    """A batch: ``images`` each of ``patients``, and ``singles`` patients of one image, for cross-entropy alone."""

    patients: int = Field(ge=2)
    images: int = Field(ge=2)
    singles: int = Field(default=0, ge=0)

    @property
    def batch(self) -> int:
        return self.patients * self.images + self.singles


class Augment(_Table):
    """What is done to training images, each by chance; 0 switches a step off.

    scale
        (least, most) area of the random crop as a share of the stored image; ``aspect`` its largest stretch.
    rotation, translation
        at most so many degrees, and so large a share of the edge.
    brightness, contrast, gamma
        at most so much added, and such exponents of 2 as factor and power.
    noise, blur
        largest standard deviation, of grey in [0, 1] and of a Gaussian in pixels.
    cutout, border
        largest share of the edge that a grey rectangle, and a frame along the edge, cover.
    resolution
        the image is reduced to as little as this share of its edge and enlarged again; 1 is off.
    chance
        of each of blur, noise, cutout, border and resolution.
    flip
        chance of a mirror image. It destroys laterality (the heart's side, left and right eye): an ablation only.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = Field(default=1.0, ge=1, le=2)
    rotation: float = Field(default=0.0, ge=0, le=180)
    translation: float = Field(default=0.0, ge=0, le=0.5)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=2)
    gamma: float = Field(default=0.0, ge=0, le=2)
    noise: float = Field(default=0.0, ge=0, le=1)
    blur: float = Field(default=0.0, ge=0, le=8)
    cutout: float = Field(default=0.0, ge=0, lt=1)
    border: float = Field(default=0.0, ge=0, lt=0.5)
    resolution: float = Field(default=1.0, gt=0, le=1)
    chance: float = Field(default=0.5, ge=0, le=1)
    flip: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("scale is (least, most) with 0 < least <= most <= 1")
        return self


class Loss(_Table):
    """A loss of :data:`training.learning.losses.LOSSES` by name; ``settings`` are the loss's own.

    ``memory`` keeps so many earlier embeddings to compare with (X. Wang et al., "Cross-batch memory for embedding
    learning", CVPR 2020); 0 is none.
    """

    name: str
    weight: float = Field(default=1.0, gt=0)
    memory: int = Field(default=0, ge=0)
    settings: dict[str, Any] = Field(default_factory=dict)


class Alignment(_Table):
    """Difference alignment (:mod:`training.learning.alignment`) to a teacher by name for images of each modality."""

    weight: float = Field(gt=0)
    teachers: dict[str, str] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)


class Optimiser(_Table):
    """``head_learning_rate`` is for the network's head and the losses' own weights, 0 for the same as all others.

    ``layer_decay`` multiplies the learning rate from each block to the one below it; ``clip`` bounds the norm of the
    gradient, 0 is no bound.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    clip: float = Field(default=0.0, ge=0)


class Schedule(_Table):
    """``warmup`` steps up from nothing, then down to the share ``last`` of the learning rate, or on at a constant."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup: int = Field(default=0, ge=0)
    last: Share = 0.0


class Freeze(_Table):
    """``head_steps`` steps train only the head and the losses; ``batch_norm`` keeps its statistics as they came."""

    head_steps: int = Field(default=0, ge=0)
    batch_norm: bool = False


class Length(_Table):
    """How long: optimiser steps, or epochs (as many batches as show every patient once).

    With neither, the head that ``network.discriminant`` fits in closed form is all that is trained.
    ``accumulate`` batches make a step; every ``checkpoint`` steps the training can go on from there.
    """

    steps: int = Field(default=0, ge=0)
    epochs: int = Field(default=0, ge=0)
    accumulate: PositiveInt = 1
    checkpoint: PositiveInt = 100
    precision: Literal["32", "bf16-mixed"] = "32"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps and self.epochs:
            raise ValueError("a length is given in steps or in epochs")
        return self


class Validation(_Table):
    """Every ``every`` steps an open-set test on ``patients`` held-out patients with mates and as many without.

    The weights with the best ``figure`` are kept; ``patience`` tests without a better one end the training.
    """

    patients: PositiveInt
    every: PositiveInt
    figure: Literal["rank-1", "map", "eer", "fnir", "accuracy"] = "rank-1"
    patience: PositiveInt = 10


class Export(_Table):
    """``weights`` as stored in the bundle: float16 is half the bytes, and the figures are those of what is stored.

    ``int8`` tries an int8 twin too; a faster form serves if it loses at most ``most_loss`` of rank-1 (or accuracy).
    """

    weights: Literal["float32", "float16"] = "float32"
    calibrate: bool = True
    int8: bool = False
    most_loss: Share = 0.01


class Recipe(_Table):
    """A whole recipe. ``task`` is ``identity`` (classes are patients) or ``kind`` (classes are the sources' labels).

    ``compare`` is what images share to be compared when the encoder serves: only such images have to be alike, so that
    they alone meet in a batch and in a test, and a patient is one class for each such set. Without ``modality`` a
    radiograph is searched for among CT.
    """

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")
    description: str
    licence: str
    intended_use: str
    task: Literal["identity", "kind"] = "identity"
    seed: int = Field(ge=0, lt=2**31)
    network: Network
    input: dict[str, Any]
    sources: tuple[Source, ...] = Field(min_length=1)
    compare: tuple[Literal["modality", "view", "laterality"], ...] = ("modality",)
    splits: Splits
    store: Store
    sampler: Sampler
    augment: Augment = Augment()
    losses: tuple[Loss, ...] = Field(min_length=1)
    alignment: Alignment | None = None
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    freeze: Freeze = Freeze()
    length: Length
    validation: Validation
    export: Export = Export()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("sources have one name each")
        if abs(self.splits.train + self.splits.validation + self.splits.test - 1) > 1e-6:
            raise ValueError("the shares of the splits add up to 1")
        if not (self.length.steps or self.length.epochs or self.network.discriminant):
            raise ValueError("a length of 0 trains nothing: give steps or epochs, or network.discriminant")
        kind = self.task == "kind"
        if kind and not all(source.label for source in self.sources):
            raise ValueError("where the task is kind, every source has a label")
        if kind != (self.validation.figure == "accuracy"):
            raise ValueError("accuracy is the figure of the task kind, and of no other")
        if kind and [loss.name for loss in self.losses] != ["cross-entropy"]:
            raise ValueError("the task kind has one loss, cross-entropy")
        if self.alignment is not None and "modality" not in self.compare:
            raise ValueError("alignment needs batches of one modality: add modality to compare")
        self.input_spec()
        return self

    @property
    def mixed(self) -> bool:
        """Whether images of several modalities meet in a batch."""
        return self.task == "kind" or "modality" not in self.compare

    def input_spec(self) -> InputSpec:
        """What the network sees when it serves."""
        try:
            return InputSpec.from_mapping(self.input)
        except EncoderError as error:
            raise ValueError(str(error)) from None


def recipe_of(text: str, name: str) -> Recipe:
    """A recipe from TOML text; ``name`` is the file's, for messages.

    Raises
    ------
    TrainingError
        ``RECIPE``, naming every key that is missing, unknown or cannot be used.
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"recipe {name}: it is no TOML: {error}", reason="RECIPE") from None
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in error.errors()
        )
        raise TrainingError(f"recipe {name}: {faults}", reason="RECIPE") from None


def read_recipe(path: Path) -> Recipe:
    """A recipe from a file, or one that ships by its bare name (``cxr``); manifests become paths that hold anywhere.

    Raises
    ------
    TrainingError
        ``RECIPE`` when the file cannot be read, or what :func:`recipe_of` raises.
    """
    shipped = shipped_recipes()
    file = shipped[str(path)] if str(path) in shipped and not path.is_file() else path
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise TrainingError(f"recipe {file.name}: it is too large for a recipe", reason="RECIPE")
        recipe = recipe_of(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(shipped)
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TrainingError(
            f"recipe {path}: {problem}; give a file, or a recipe that ships: {known}", reason="RECIPE"
        ) from None
    sources = [
        source.model_copy(update={"manifest": str(file.parent / source.manifest)}) if source.manifest else source
        for source in recipe.sources
    ]
    network = recipe.network
    if network.start:
        network = network.model_copy(update={"start": str(file.parent / network.start)})
    return recipe.model_copy(update={"sources": tuple(sources), "network": network})


def with_manifests(recipe: Recipe, manifests: Sequence[Path], *, outside: bool = False) -> Recipe:
    """The recipe with one source for each manifest in place of its own; without manifests, the recipe as it is.

    Raises
    ------
    TrainingError
        ``RECIPE`` where the task is ``kind``: what class a manifest's images are of, only a recipe can say.
    """
    if not manifests:
        return recipe
    if recipe.task == "kind":
        raise TrainingError("a classifier's sources need labels: write them in a recipe of your own", reason="RECIPE")
    sources = tuple(
        Source(name=f"manifest-{number}", manifest=str(path), outside=outside)
        for number, path in enumerate(manifests, start=1)
    )
    return recipe.model_copy(update={"sources": sources})


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with MedReID, by name."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
