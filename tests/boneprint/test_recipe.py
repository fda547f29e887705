"""Recipes of the boneprint: those that ship, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from config.errors import CommandError, TrainingError
from inference import networks
from tests.boneprint.tiny import explicit
from training.boneprint.__main__ import assigned, chosen
from training.boneprint.export import serving_settings
from training.boneprint.recipe import changed, read_recipe, shipped_recipes

# In half precision.
_MOST_BYTES = 25e6


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_a_shipped_recipe_is_of_full_size_and_its_bundle_light(name: str) -> None:
    recipe = read_recipe(Path(name))
    assert recipe.name == name
    assert 0.9 * recipe.source.persons >= 1000
    assert 7720 <= recipe.source.seed < 7740
    assert recipe.augment.flip == 0, "a mirror image puts the heart on the other side"
    with torch.device("meta"):
        network = networks.build(recipe.network.name, serving_settings(recipe))
    assert network.dimension == 256
    assert 2 * sum(parameter.numel() for parameter in network.parameters()) < _MOST_BYTES


def test_both_fusions_see_the_same_pictures_of_the_same_persons() -> None:
    one, other = (read_recipe(Path(name)) for name in ("boneprint-explicit", "boneprint-implicit"))
    assert (one.source, one.input, one.augment, one.seed) == (other.source, other.input, other.augment, other.seed)


def test_both_recipes_ship() -> None:
    assert set(shipped_recipes()) == {"boneprint-explicit", "boneprint-implicit"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"diffusion": {}}, r"no use for the table \[diffusion\]"),
        ({"contrast": None}, r"needs the table \[contrast\]"),
        ({"contrast": {"positives": "random"}}, "positives"),
        ({"source": {"persons": 3}}, "manifest or from a number"),
        ({"length": {"batch": 1}}, "batch"),
        ({"input": {"size": 4}}, "size is 4"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(TrainingError, match=said) as caught:
        explicit(Path("manifest.csv"), **values)
    assert caught.value.reason == "RECIPE"


def test_values_of_the_command_line_take_the_place_of_the_recipes() -> None:
    recipe = chosen(Path("boneprint-implicit"), 60, ["length.steps=7", "network.settings.size=64", 'name="small"'])
    assert (recipe.source.persons, recipe.length.steps, recipe.name) == (60, 7, "small")
    assert recipe.network.settings["size"] == 64
    assert recipe.network.settings["width"] == read_recipe(Path("boneprint-implicit")).network.settings["width"]
    with pytest.raises(CommandError, match="KEY=VALUE"):
        assigned(["length.steps"])


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="boneprint-explicit") as caught:
        read_recipe(tmp_path / "nothing.toml")
    assert caught.value.reason == "RECIPE"


def test_a_manifest_is_the_one_beside_the_recipe(tmp_path: Path) -> None:
    text = (
        shipped_recipes()["boneprint-implicit"]
        .read_text()
        .replace('persons = 1170\nseed = 7720\nrenderings = "mixed"', 'manifest = "films/manifest.csv"')
    )
    (tmp_path / "own.toml").write_text(text)
    recipe = read_recipe(tmp_path / "own.toml")
    assert recipe.source.manifest == str(tmp_path / "films" / "manifest.csv")
    assert changed(recipe, {}) == recipe
