"""Variants of a recipe: each differs in what its name says, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import CommandError, TrainingError
from inference import networks
from training.learning.recipe import Recipe, read_recipe, recipe_of
from training.studies.variants import BASE, VARIANTS, resized, shortened, specialist, varied, with_persons


@pytest.fixture
def base() -> Recipe:
    return read_recipe(Path("mami-tiny"))


@pytest.mark.parametrize("name", VARIANTS)
def test_only_network_and_alignment_of_a_variant_differ(base: Recipe, name: str) -> None:
    words = {"name", "description", "network", "alignment"}
    assert varied(base, name).model_dump(exclude=words) == base.model_dump(exclude=words)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe_whose_network_can_be_built(base: Recipe, name: str) -> None:
    recipe = recipe_of_dump(varied(resized(base, 32), name))
    settings = recipe.network.settings | {"depth": 1}
    assert networks.build(recipe.network.name, settings).dimension == 192


def recipe_of_dump(recipe: Recipe) -> Recipe:
    return Recipe.model_validate(recipe.model_dump())


def test_what_the_recipe_is_already_is_one_training(base: Recipe) -> None:
    named = {name: varied(base, name).name for name in VARIANTS}
    assert {name for name, own in named.items() if own == BASE} == {"alignment", "codes-32", "rank-16", "reading-sum"}
    assert {own for name, own in named.items() if own != BASE} == {name for name, own in named.items() if own != BASE}


def test_the_ladder_takes_away_alignment_then_the_adapter(base: Recipe) -> None:
    assert varied(base, "alignment").alignment is not None
    adapter = varied(base, "adapter")
    assert (adapter.alignment, adapter.network) == (None, base.network)
    plain = varied(base, "plain")
    assert (plain.alignment, plain.network.name) == (None, "vit-tiny")
    assert plain.network.settings == {"size": 112}


def test_a_recipe_without_adapter_has_nothing_to_vary() -> None:
    with pytest.raises(CommandError, match="no adapter to vary") as refused:
        varied(read_recipe(Path("cxr")), "codes-8")
    assert refused.value.reason == "VARIANT"


def test_an_unknown_variant_is_answered_with_those_that_there_are(base: Recipe) -> None:
    with pytest.raises(CommandError, match=r"codes-128.*fundus"):
        varied(base, "codes-64000")


def test_a_specialist_keeps_its_recipe_and_takes_the_studys_images_of_its_modality(base: Recipe) -> None:
    modalities = [("DX",), ("OP",), ("CT",), ("MR",), ("XC",), ("SM",)]
    found = specialist("fundus", base.sources, modalities, 0)
    own = read_recipe(Path("fundus"))
    assert [source.name for source in found.sources] == ["fundus"]
    assert found.model_dump(exclude={"sources"}) == own.model_dump(exclude={"sources"})


def test_a_specialist_without_images_is_refused(base: Recipe) -> None:
    with pytest.raises(CommandError, match=r"MR.*no image"):
        specialist("mr", base.sources[:1], [("DX",)], 0)


def test_length_size_and_persons_change_what_depends_on_them(base: Recipe) -> None:
    small = with_persons(shortened(resized(base, 64), 20), 7)
    assert (small.input["size"], small.network.settings["size"], small.store.size) == (64, 64, 73)
    assert (small.length.steps, small.length.checkpoint, small.validation.every) == (20, 20, 2)
    assert [source.cohort.patients for source in small.sources if source.cohort] == [7] * len(small.sources)


def test_a_size_that_no_input_can_have_is_refused(base: Recipe) -> None:
    with pytest.raises(TrainingError, match="changed"):
        resized(base, 100_000)


def test_a_recipe_of_a_file_can_be_a_specialist(base: Recipe, tmp_path: Path) -> None:
    from tests.learning.tiny import RECIPE

    (tmp_path / "own.toml").write_text(RECIPE)
    found = specialist(str(tmp_path / "own.toml"), base.sources[:2], [("DX",), ("OP",)], 0)
    assert [source.modalities for source in found.sources] == [("DX",), ("OP",)]
    assert found.name == recipe_of(RECIPE, "own.toml").name


@pytest.mark.parametrize(("said", "kept"), [("CR", ("CR",)), ("DX", ("DX",)), ("", ())])
def test_a_specialist_of_radiographs_takes_them_however_they_are_called(
    base: Recipe, said: str, kept: tuple[str, ...]
) -> None:
    found = specialist("cxr", base.sources[:2], [(said,), ("OP",)], 0)
    assert [source.modalities for source in found.sources] == [kept]
