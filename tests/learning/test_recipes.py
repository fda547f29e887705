"""Recipes: those that ship can be built, and a wrong one is named before anything happens."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import TrainingError
from inference import networks
from tests.learning.tiny import RECIPE, tiny_recipe
from training.cohort import KINDS
from training.learning.losses import build_losses
from training.learning.recipe import read_recipe, recipe_of, shipped_recipes, with_manifests
from training.recipes.phantoms import CALIBRATION_SEED, DECISIONS_SEED, FACE_SEED, GENERAL_SEED
from training.recipes.reconstruction import RECONSTRUCTION_SEED
from training.recipes.verifiers import VERIFIER_SEED
from training.studies.crossmodal import CROSSMODAL_SEED
from training.studies.history import HISTORY_SEED
from training.studies.nuisances import NUISANCE_SEED
from training.studies.verification import VERIFICATION_SEED

SHIPPED = tuple(shipped_recipes())


def test_all_recipes_ship() -> None:
    light = {"cxr", "fundus", "ct", "mr", "face-network", "classifier", "smoke"}
    assert light | {"mami-tiny", "mami-small", "mami-base"} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_can_be_built(name: str) -> None:
    recipe = read_recipe(Path(name))
    assert recipe.name == {"classifier": "modality"}.get(name, name)
    own = {key: value for key, value in recipe.network.settings.items() if key != "pretrained"}
    if "settings" in own:
        own["settings"] = {}
    with torch.device("meta"):
        network = networks.build(recipe.network.name, own)
    losses = build_losses(recipe.losses, 5, int(network.dimension))  # type: ignore[arg-type]
    assert len(losses) == len(recipe.losses)
    assert recipe.store.size > recipe.input_spec().size, "crops have no room"
    assert recipe.augment.flip == 0 or recipe.task == "kind", "a mirror turns a left eye into a right one"
    assert all(set(source.cohort.kinds) <= set(KINDS) for source in recipe.sources if source.cohort)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_discriminant_has_enough_patients(name: str) -> None:
    recipe = read_recipe(Path(name))
    cohorts = [source.cohort for source in recipe.sources if source.cohort is not None]
    trained = recipe.splits.train * sum(cohort.patients for cohort in cohorts)
    # A patient with two eyes in view is two classes.
    classes = trained * (2 if "laterality" in recipe.compare else 1)
    assert not recipe.network.discriminant or classes > 1.05 * recipe.network.settings["embedding"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_table_of_a_shipped_recipe_is_explained(name: str) -> None:
    lines = shipped_recipes()[name].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("#") for line in lines) >= 5


def test_nobody_is_in_the_cohorts_of_a_recipe_and_of_a_study_or_a_calibration() -> None:
    trained = {
        source.cohort.seed
        for name in SHIPPED
        for source in read_recipe(Path(name)).sources
        if source.cohort is not None
    }
    others = [
        *(GENERAL_SEED, FACE_SEED, CALIBRATION_SEED, DECISIONS_SEED, VERIFIER_SEED, RECONSTRUCTION_SEED),
        *(VERIFICATION_SEED, VERIFICATION_SEED + 1, NUISANCE_SEED, HISTORY_SEED, CROSSMODAL_SEED),
    ]
    assert len({*trained, *others}) == len(trained) + len(others)


@pytest.mark.parametrize("name", SHIPPED)
def test_nobody_is_in_two_sources_of_a_recipe_under_one_modality(name: str) -> None:
    """Or head and chest of a person would be one class, which no encoder should bring together."""
    recipe = read_recipe(Path(name))
    cohorts = [source.cohort for source in recipe.sources if source.cohort is not None]
    met = [(one.seed, KINDS[kind].modality) for one in cohorts for kind in one.kinds]
    assert recipe.task == "kind" or len(met) == len(set(met))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(tomllib.loads(RECIPE))), st.from_regex(r"[a-z]{8,12}", fullmatch=True))
def test_a_key_that_is_missing_or_unknown_is_named(key: str, other: str) -> None:
    text = RECIPE.replace(f"\n{key} =", f"\n{other} =").replace(f"[{key}]", f"[{other}]")
    with pytest.raises(TrainingError) as caught:
        recipe_of(text, "own.toml")
    assert caught.value.reason == "RECIPE"
    assert "own.toml" in str(caught.value)
    assert other in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train = 0.6", "train = 0.7", "add up to 1"),
        ("size = 32", "size = 4", "size is 4"),
        ("steps = 6", "steps = 6\nepochs = 2", "steps or in epochs"),
        ("scale = [0.6, 1.0]", "scale = [1.0, 0.6]", "least"),
        ("seed = 5", 'seed = 5\ntask = "kind"', "label"),
        ("every = 3", 'every = 3\nfigure = "accuracy"', "task kind"),
        ("patients = 4", "patients = 1", "greater than or equal to 2"),
        ("steps = 6", "steps = ", "no TOML"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said) as caught:
        tiny_recipe(Path("films"), (old, new))
    assert caught.value.reason == "RECIPE"


def test_paths_are_those_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        RECIPE.replace('name = "tiny"\nsettings', 'name = "tiny"\nstart = "w"\nsettings')
    )
    recipe = read_recipe(tmp_path / "own.toml")
    assert recipe.sources[0].manifest == str(tmp_path / "films" / "manifest.csv")
    assert recipe.network.start == str(tmp_path / "w")


def test_manifests_take_the_place_of_sources(tmp_path: Path) -> None:
    recipe = with_manifests(read_recipe(Path("cxr")), [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [source.manifest for source in recipe.sources] == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    with pytest.raises(TrainingError, match="label"):
        with_manifests(read_recipe(Path("classifier")), [tmp_path / "a.csv"])


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cxr") as caught:
        read_recipe(tmp_path / "nothing.toml")
    assert caught.value.reason == "RECIPE"
