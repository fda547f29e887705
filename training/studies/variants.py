"""Recipes that differ from one base recipe in one named thing: the rows of a comparison of networks.

The base recipe is all of it: an adapted transformer (``mami-*``) aligned to teachers. What a row leaves out, or sets
otherwise, is its name; the figures that such rows have in the literature are MaMI's ablations (arXiv 2503.08173).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.errors import CommandError, TrainingError
from training.cohort.kinds import kinds_of
from training.learning.recipe import Recipe, Source, read_recipe, shipped_recipes

# What a variant leaves of the network's settings where it has no adapter.
_SHAPE = ("size", "patch", "depth")
_ADAPTED, _PLAIN = "mami-", "vit-"
_EDGE_OF_STORE = 8 / 7
# Radiographs, however they were captured: a recipe for DX takes them all.
_FAMILIES = {"CR": "DX", "RG": "DX"}


def _as_it_is(recipe: Recipe) -> Recipe:
    return recipe


def _plain(recipe: Recipe) -> Recipe:
    name, settings = recipe.network.name, recipe.network.settings
    kept = {key: settings[key] for key in _SHAPE if key in settings}
    plain = recipe.network.model_copy(update={"name": name.replace(_ADAPTED, _PLAIN), "settings": kept})
    return _unaligned(recipe.model_copy(update={"network": plain}))


def _unaligned(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"alignment": None})


def _with(**settings: Any) -> Callable[[Recipe], Recipe]:
    def change(recipe: Recipe) -> Recipe:
        network = recipe.network.model_copy(update={"settings": recipe.network.settings | settings})
        return recipe.model_copy(update={"network": network})

    return change


# By name: what is done to the base recipe, and what that is for people.
VARIANTS: Mapping[str, tuple[Callable[[Recipe], Recipe], str]] = {
    "plain": (_plain, "Vision Transformer without adapter and without alignment"),
    "adapter": (_unaligned, "with the adapter, without alignment"),
    "alignment": (_as_it_is, "with the adapter and alignment: the recipe as it is"),
    "discrete": (_with(discrete=True), "one code for each modality label in place of what the pixels say"),
    "no-codebook": (_with(codebook=False), "the context itself in place of what it reads from the codebook"),
    "codes-8": (_with(codes=8), "codebook of 8"),
    "codes-32": (_with(codes=32), "codebook of 32"),
    "codes-128": (_with(codes=128), "codebook of 128"),
    "rank-8": (_with(rank=8), "factors of rank 8"),
    "rank-16": (_with(rank=16), "factors of rank 16"),
    "rank-32": (_with(rank=32), "factors of rank 32"),
    "reading-sum": (_with(reading="sum"), "codebook read as a weighted sum"),
    "reading-concat": (_with(reading="concat"), "codebook read as a gated concatenation"),
}
BASE = "base"


def varied(base: Recipe, name: str) -> Recipe:
    """The base recipe with the difference ``name``; its own name says so, or ``base`` where there is no difference.

    Raises
    ------
    CommandError
        ``VARIANT`` when there is no such variant, or the base recipe has nothing that it could differ in.
    """
    if name not in VARIANTS:
        known = ", ".join((*VARIANTS, *shipped_recipes()))
        raise CommandError(f"there is no variant {name!r}; variants and recipes are: {known}", reason="VARIANT")
    if name != "alignment" and not base.network.name.startswith(_ADAPTED):
        raise CommandError(
            f"variant {name}: the base recipe's network is {base.network.name}, which has no adapter to vary; take a "
            "recipe of a mami-* network",
            reason="VARIANT",
        )
    if name in ("adapter", "alignment") and base.alignment is None:
        raise CommandError(
            f"variant {name}: the base recipe has no [alignment] to leave out or to keep; add it", reason="VARIANT"
        )
    change, text = VARIANTS[name]
    recipe = change(base)
    if _means(recipe) == _means(base):
        return base.model_copy(update={"name": BASE})
    return recipe.model_copy(update={"name": name, "description": f"{base.description}: {text}"})


def _means(recipe: Recipe) -> Mapping[str, Any]:
    """What a recipe trains: all but its words, with the adapter's settings written out."""
    found = recipe.model_dump(exclude={"name", "description"})
    if recipe.network.name.startswith(_ADAPTED):
        from dataclasses import asdict

        from inference.networks.compa import AdapterSettings

        own = {key: value for key, value in recipe.network.settings.items() if key not in _SHAPE}
        try:
            found["network"]["settings"] |= asdict(AdapterSettings(**own))
        except (TypeError, ValueError) as error:
            raise CommandError(f"the base recipe's network.settings: {error}", reason="VARIANT") from None
    return found


def specialist(name: str, sources: Sequence[Source], modalities: Sequence[Sequence[str]], size: int) -> Recipe:
    """The recipe ``name`` (one that ships, or a file) on those of ``sources`` that have images of its modalities.

    ``modalities`` are those of each source's images, "" where a row does not say. ``size`` is the edge of its input, 0
    for its own.

    Raises
    ------
    CommandError
        ``VARIANT`` when no source has images for it.
    TrainingError
        ``RECIPE`` when it cannot be read.
    """
    own = read_recipe(Path(name))
    wanted = _modalities_of(own)
    chosen = []
    for source, found in zip(sources, modalities, strict=True):
        if "" in found:
            # A manifest that does not say: its images are what the recipe is given them for.
            chosen.append(source)
        elif taken := [one for one in found if not wanted or family(one) in wanted]:
            chosen.append(source.model_copy(update={"modalities": tuple(taken)}))
    if not chosen or own.task != "identity":
        raise CommandError(
            f"recipe {name}: it is for {', '.join(sorted(wanted)) or own.task}, of which the base recipe's sources "
            "have no image; leave it out",
            reason="VARIANT",
        )
    return resized(own.model_copy(update={"sources": tuple(chosen)}), size)


def family(modality: str) -> str:
    """The modality that images of this one are compared under."""
    return _FAMILIES.get(modality, modality)


def _modalities_of(recipe: Recipe) -> set[str]:
    """The modalities that a recipe names; none where it takes whatever a manifest has."""
    found: set[str] = set()
    for source in recipe.sources:
        found |= {family(one) for one in source.modalities}
        if source.cohort is not None:
            found |= {kind.modality for kind in kinds_of(source.cohort.kinds)}
    return found


def resized(recipe: Recipe, size: int) -> Recipe:
    """The recipe with an input of another edge in pixels, and a store in proportion; as it is for a size of 0."""
    if not size:
        return recipe
    settings = recipe.network.settings
    if recipe.network.name.startswith((_ADAPTED, _PLAIN)) or "size" in settings:
        settings = settings | {"size": size}
    network = recipe.network.model_copy(update={"settings": settings})
    store = recipe.store.model_copy(update={"size": round(size * _EDGE_OF_STORE)})
    return _sound(
        recipe.model_copy(update={"network": network, "input": recipe.input | {"size": size}, "store": store})
    )


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with so many steps, tested ten times or as often as it was; as it is for 0 steps."""
    if not steps:
        return recipe
    length = recipe.length.model_copy(
        update={"steps": steps, "epochs": 0, "checkpoint": min(recipe.length.checkpoint, steps)}
    )
    every = min(recipe.validation.every, max(1, steps // 10))
    warmup = min(recipe.schedule.warmup, steps // 10)
    return _sound(
        recipe.model_copy(
            update={
                "length": length,
                "validation": recipe.validation.model_copy(update={"every": every}),
                "schedule": recipe.schedule.model_copy(update={"warmup": warmup}),
            }
        )
    )


def with_persons(recipe: Recipe, persons: int) -> Recipe:
    """The recipe with phantom cohorts of so many patients each; as it is for 0."""
    if not persons:
        return recipe
    sources = [
        source
        if source.cohort is None
        else source.model_copy(update={"cohort": source.cohort.model_copy(update={"patients": persons})})
        for source in recipe.sources
    ]
    return recipe.model_copy(update={"sources": tuple(sources)})


def _sound(recipe: Recipe) -> Recipe:
    try:
        return Recipe.model_validate(recipe.model_dump())
    except ValidationError as error:
        faults = "; ".join(item["msg"] for item in error.errors())
        raise TrainingError(f"recipe {recipe.name}, changed: {faults}", reason="RECIPE") from None
