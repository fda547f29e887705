"""The rows of the paper's tables as recipes: what the fusions are compared with, and what they are without a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.boneprint.recipe import SINGLE, Recipe, changed

# In the paper's order: the fusions, then everything else.
FUSIONS = ("explicit", "implicit")
# Name -> (side that pictures are compared on, loss).
BASELINES: Mapping[str, tuple[str, str]] = {
    "triplet": ("both", "triplet"),
    "arcface": ("both", "arcface"),
    "arcface, radiographs": ("radiograph", "arcface"),
    "arcface, renderings": ("rendering", "arcface"),
}
WEIGHTS = ((0, 1), (1, 0), (1, 1), (1, 3), (1, 5))
POSITIVES = ("translated", "half-translated", "augmented", "served")


def methods(explicit: Recipe, implicit: Recipe) -> dict[str, Recipe]:
    """Every method of the comparison by name, on the same pairs: a baseline's encoder is the explicit fusion's.

    The angular margin's is the mobile network whatever the explicit fusion has, as in the paper.
    """
    found = {"explicit": explicit, "implicit": implicit}
    return found | {name: _baseline(explicit, name, *how) for name, how in BASELINES.items()}


def ablations(explicit: Recipe) -> dict[str, Recipe]:
    """The explicit fusion with other weights, reconstruction to contrast, and with other positives."""
    found: dict[str, dict[str, Any]] = {
        f"weights {reconstruction}:{contrast}": {"reconstruction": float(reconstruction), "contrast": float(contrast)}
        for reconstruction, contrast in WEIGHTS
    }
    found |= {f"positives {positives}": {"positives": positives} for positives in POSITIVES}
    return {name: _named(explicit, name, {"contrast": values}) for name, values in found.items()}


def _named(base: Recipe, name: str, values: Mapping[str, Any]) -> Recipe:
    """The base with some values; the base itself, which is trained already, where they are its own."""
    recipe = changed(base, values)
    if recipe == base:
        return base
    return changed(recipe, {"name": f"{base.name}-{_slug(name)}", "description": f"{base.description}: {name}"})


def _baseline(explicit: Recipe, name: str, seen: str, loss: str) -> Recipe:
    own = explicit.network.settings
    settings = {key: own[key] for key in ("size", "dimension", "encoder", "pretrained") if key in own} | {"seen": seen}
    if seen != "both" and "translator" in own:
        settings["translator"] = own["translator"]
    if loss == "arcface":
        settings["encoder"] = own.get("encoder", {}) | {"backbone": "efficientnet-lite0"}
    values = explicit.model_dump() | {
        "name": f"{explicit.name}-{_slug(name)}",
        "description": f"A baseline of the neural boneprint: {name}",
        "network": {"name": SINGLE, "settings": settings},
        "contrast": None,
        "translation": explicit.translation if seen != "both" else None,
        "single": {"loss": loss},
    }
    return Recipe.model_validate(values)


def _slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").replace(":", "-")
