"""Recipes of the neural boneprint: a TOML file in which an unknown key is an error.

They are of another kind than :mod:`training.learning.recipe`'s: what is trained on are pairs, one radiograph and one
rendering of a person, and the explicit fusion is trained in two stages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from config.errors import EncoderError, TrainingError
from inference.encoders.inputs import InputSpec
from training.boneprint.making import Renderings
from training.learning.recipe import Augment, Name, Optimiser, Schedule, Share

__all__ = ["Contrast", "Diffusion", "Length", "PairAugment", "Positives", "Recipe", "Translation", "read_recipe"]

_LARGEST_FILE = 1 << 18
EXPLICIT, IMPLICIT, SINGLE = "boneprint-explicit", "boneprint-implicit", "boneprint-single"
Positives = Literal["translated", "half-translated", "augmented", "served"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Any = TypeVar("_Any")


def _some(table: _Any, *weights: float) -> _Any:
    if not any(weights):
        raise ValueError("one of the losses needs a weight above 0")
    return table


class Network(_Table):
    """``name`` and ``settings`` go to :func:`inference.networks.build`."""

    name: Literal["boneprint-explicit", "boneprint-implicit", "boneprint-single"]
    settings: dict[str, Any] = Field(default_factory=dict)


class Source(_Table):
    """Whose pairs: ``persons`` phantoms of a ``seed`` under the dials ``nuisance``, or those of a ``manifest``.

    Phantoms' ``renderings`` are a workstation's (``capture``), the node's own of a CT (``ct``), or every second one of
    either (``mixed``). A manifest's pair is a patient's first radiograph and first rendering of another study (see
    :func:`training.boneprint.making.manifest_jobs`). The share ``validation`` of the patients decides when to stop.
    """

    persons: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    nuisance: str = "default"
    renderings: Renderings = "capture"
    manifest: str = ""
    validation: Share = 0.1

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.manifest) == bool(self.persons):
            raise ValueError("pairs come from a manifest or from a number of phantom persons")
        return self


class PairAugment(Augment):
    """What :class:`training.learning.recipe.Augment` says, and what the paper does besides.

    turned
        chance that a picture is rotated at all (by at most ``rotation``).
    inversion
        chance that black and white change places.
    """

    turned: Share = 0.3
    inversion: Share = 0.2


class Optimising(_Table):
    """How long and how fast: ``steps`` of ``batch`` persons; every ``checkpoint`` steps it can go on from there.

    Every ``every`` steps the validation's persons are looked at; ``patience`` looks without a better figure end it.
    """

    steps: PositiveInt
    batch: int = Field(ge=2)
    checkpoint: PositiveInt = 200
    every: PositiveInt
    patience: PositiveInt = 10
    precision: Literal["32", "bf16-mixed"] = "32"
    optimiser: Optimiser
    schedule: Schedule = Schedule()


class Length(Optimising):
    """The training of what is compared."""


class Translation(Optimising):
    """The training of both translators.

    pixel, adversary, latent
        weights of the squared difference from the real picture of the other side, of the patch adversaries' least
        squares, and of how differently the two translators' latents are distributed.
    width, layers
        channels and layers of each adversary (MONAI's PatchDiscriminator).
    """

    pixel: float = Field(default=100.0, ge=0)
    adversary: float = Field(default=1.0, ge=0)
    latent: float = Field(default=1.0, ge=0)
    width: PositiveInt = 64
    layers: PositiveInt = 3


class Contrast(_Table):
    """The explicit fusion's losses: ``reconstruction`` to ``contrast`` is 1 : 3 in the paper.

    ``positives`` says what is to be like a person's real pair (x rendering, y radiograph, T translated): ``translated``
    (T(y), T(x)), the paper's best; ``half-translated`` (T(y), y); ``augmented``, the real pair seen otherwise. With
    ``served`` (T(y), y) is to be like (x, T(x)), which is what is compared when it serves: not in the paper.
    """

    contrast: float = Field(default=3.0, ge=0)
    reconstruction: float = Field(default=1.0, ge=0)
    positives: Positives = "translated"
    temperature: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _learns(self) -> Self:
        return _some(self, self.contrast, self.reconstruction)


class Diffusion(_Table):
    """The implicit fusion's losses: weights of the noise's and of the contrast's.

    ``features`` of the contrast are those of the ``clean`` picture at the step at which it serves, or those of the
    ``noisy`` one that the noise is predicted of.
    """

    noise: float = Field(default=1.0, ge=0)
    contrast: float = Field(default=1.0, ge=0)
    features: Literal["clean", "noisy"] = "clean"
    temperature: float = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _learns(self) -> Self:
        return _some(self, self.noise, self.contrast)


class Single(_Table):
    """A baseline's one loss of :data:`training.learning.losses.LOSSES` by name; persons are its classes."""

    loss: str = "triplet"
    settings: dict[str, Any] = Field(default_factory=dict)


class Export(_Table):
    """``weights`` as stored in the bundle; figures are those of what is stored."""

    weights: Literal["float32", "float16"] = "float16"


class Recipe(_Table):
    """A whole recipe; which of ``translation``, ``contrast``, ``diffusion`` and ``single`` it has, its network says."""

    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")
    description: str
    licence: str
    intended_use: str
    seed: int = Field(ge=0, lt=2**31)
    network: Network
    input: dict[str, Any]
    source: Source
    augment: PairAugment = PairAugment()
    length: Length
    translation: Translation | None = None
    contrast: Contrast | None = None
    diffusion: Diffusion | None = None
    single: Single | None = None
    export: Export = Export()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        name = self.network.name
        translates = name == EXPLICIT or (name == SINGLE and self.network.settings.get("seen", "both") != "both")
        wanted = {
            "translation": translates,
            "contrast": name == EXPLICIT,
            "diffusion": name == IMPLICIT,
            "single": name == SINGLE,
        }
        for table, there in wanted.items():
            if (getattr(self, table) is not None) is not there:
                raise ValueError(f"the network {name} {'needs' if there else 'has no use for'} the table [{table}]")
        self.input_spec()
        return self

    def input_spec(self) -> InputSpec:
        """How pictures of either side become the network's input, in training as when it serves."""
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
    """A recipe from a file, or one that ships by its bare name; a manifest becomes a path that holds anywhere.

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
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TrainingError(
            f"recipe {path}: {problem}; give a file, or a recipe that ships: {', '.join(shipped)}", reason="RECIPE"
        ) from None
    if recipe.source.manifest:
        source = recipe.source.model_copy(update={"manifest": str(file.parent / recipe.source.manifest)})
        recipe = recipe.model_copy(update={"source": source})
    return recipe


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some values in place of its own: nested mappings go into tables, everything is checked again.

    Raises
    ------
    TrainingError
        ``RECIPE`` for what cannot be used.
    """
    try:
        return Recipe.model_validate(_merged(recipe.model_dump(), values))
    except ValidationError as error:
        raise TrainingError(f"recipe {recipe.name}, changed: {error}", reason="RECIPE") from None


def _merged(own: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(own)
    for name, value in values.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return merged


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with MedReID, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}
