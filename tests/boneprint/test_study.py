"""The study: every figure beside chance, nobody both trained on and searched for, and what it says of the order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inference.networks.boneprint_sides import SIDES
from tests.boneprint.test_pairs import filled
from tests.boneprint.tiny import explicit, implicit
from training.boneprint.figures import CHANCE, chance_row, order, rate, row
from training.boneprint.recipe import Recipe, read_recipe
from training.boneprint.searching import Searches
from training.boneprint.variants import ablations, methods
from training.learning.toml_text import to_toml
from training.studies.boneprint import BONEPRINT_SEED, DISTRACTOR_SEED, FLOOR, Method, main, sentences, tables


def searches(ranks: list[int], bank: int = 100) -> Searches:
    return Searches(np.array(ranks), bank)


def test_figures_have_intervals_over_persons_and_chance_beside_them() -> None:
    found = row(searches([1, 2, 30, 60] * 20))
    assert found["rank-1"].value == 0.25
    assert found["rank-1"].low is not None
    assert found["rank-1"].low < 0.25 < (found["rank-1"].high or 0)
    assert found["PRR(1 %)"].value == 0.25
    drawn = chance_row(100)
    assert set(drawn) == set(found)
    assert [drawn[name].value for name in ("rank-1", "rank-50", "PRR(5 %)")] == [0.01, 0.5, 0.05]
    nobody = rate(np.zeros(30))
    assert (nobody.low, nobody.high) == (0.0, 0.1), "what was never seen may still happen: the rule of three"


@pytest.mark.parametrize(
    ("explicit_hits", "implicit_hits", "verdict"), [(90, 50, "holds"), (50, 90, "reversed"), (52, 50, "open")]
)
def test_the_order_holds_only_where_intervals_leave_no_doubt(
    explicit_hits: int, implicit_hits: int, verdict: str
) -> None:
    def hitting(count: int) -> Searches:
        return searches([1] * count + [50] * (100 - count))

    found = {"explicit": hitting(explicit_hits), "implicit": hitting(implicit_hits), "triplet": hitting(5)}
    verdictless = order(found | {"pixels": hitting(2)}, 1)
    assert verdictless.verdict == verdict
    assert verdictless.steps[1].worse == "triplet", "the best of the others"
    assert {"holds": "holds", "reversed": "does not hold", "open": "not decided"}[verdict] in verdictless.sentence()


def test_rows_are_recipes_on_the_same_pairs_with_the_same_translators() -> None:
    one, other = (read_recipe(Path(name)) for name in ("boneprint-explicit", "boneprint-implicit"))
    rows = methods(one, other) | ablations(one)
    for recipe in rows.values():
        assert (recipe.source, recipe.input, recipe.augment, recipe.seed) == (
            one.source, one.input, one.augment, one.seed,
        )  # fmt: skip
        assert recipe.translation in (None, one.translation)
    assert rows["weights 1:3"] == rows["positives translated"] == one, "trained once"
    assert len({recipe.name for recipe in rows.values()}) == len(rows) - 2
    assert rows["arcface"].network.settings["encoder"]["backbone"] == "efficientnet-lite0"
    assert {recipe.source.seed for recipe in rows.values()}.isdisjoint({BONEPRINT_SEED, DISTRACTOR_SEED})
    assert 7800 <= BONEPRINT_SEED < DISTRACTOR_SEED < 7900


def made(seed: int, noise: float, people: int) -> Method:
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((people, 8))
    vectors = {side: (own + noise * rng.standard_normal(own.shape)).astype(np.float32) for side in SIDES}
    hidden = {share: vectors["rendering"] + rng.standard_normal(own.shape).astype(np.float32) for share in (0.1, 0.15)}
    return Method(vectors, hidden, rng.standard_normal((40, 8)).astype(np.float32))


def test_tables_have_every_method_and_chance(tmp_path: Path) -> None:
    people = filled(tmp_path, 12)
    count = len(people.usable)
    found = {"explicit": made(1, 0.1, count), "implicit": made(2, 0.4, count), "triplet": made(3, 3.0, count)}
    found[FLOOR] = Method(made(4, 5.0, count).vectors, {}, None)
    all_of = tables(found, people, (20, 40))
    assert len(all_of) == 2 + 2 + 2 + 2
    for rows in all_of.values():
        assert CHANCE in rows
        assert all(set(figures) == set(rows[CHANCE]) for figures in rows.values())
    assert FLOOR in all_of["renderings among radiographs"]
    among = [all_of[f"among {others} further radiographs"]["triplet"]["rank-10"].value or 0 for others in (20, 40)]
    assert among[0] >= among[1]
    assert all_of["among 40 further radiographs"][CHANCE]["rank-1"].value == pytest.approx(1 / (40 + count))
    strata = all_of["explicit, by sex and age"]
    assert set(strata) == {f"sex F ({count})", f"age 40-59 ({count})", CHANCE}
    said = sentences(found)
    assert sum("published order" in line for line in said) == 6
    assert any("times chance" in line for line in said)


def _written(folder: Path, recipe: Recipe) -> Path:
    path = folder / f"{recipe.name}.toml"
    path.write_text(to_toml(recipe.model_dump()), encoding="utf-8")
    return path


def test_from_recipes_to_tables(tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipes = _written(tmp_path, explicit(manifest)), _written(tmp_path, implicit(manifest))
    arguments = ["--work", str(tmp_path / "work"), "--explicit", str(recipes[0]), "--implicit", str(recipes[1])]
    arguments += ["--test", "3", "--distractors", "2", "--methods", "explicit", "implicit", "triplet"]
    arguments += ["--accelerator", "cpu", "--set", "length.steps=2", "--set", "translation.steps=2"]
    main(arguments)
    shown = capsys.readouterr().out
    assert "published order" in shown
    kept = json.loads((tmp_path / "work" / "boneprint.json").read_text())
    first = kept["tables"]["renderings among radiographs"]
    assert set(first) == {"explicit", "implicit", "triplet", FLOOR, CHANCE}
    assert first[CHANCE]["rank-1"]["value"] == pytest.approx(1 / 3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "embeddings").iterdir()}
    main(arguments)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "embeddings").iterdir()} == before
    assert json.loads((tmp_path / "work" / "boneprint.json").read_text()) == kept


def test_recipes_that_see_other_pictures_are_not_compared(tmp_path: Path, manifest: Path) -> None:
    recipes = _written(tmp_path, explicit(manifest)), _written(tmp_path, implicit(manifest, input={"size": 64}))
    arguments = ["--work", str(tmp_path / "work"), "--explicit", str(recipes[0]), "--implicit", str(recipes[1])]
    with pytest.raises(SystemExit, match="INPUT_DIFFERS"):
        main(arguments)
    with pytest.raises(SystemExit, match="boosting"):
        main([*arguments, "--methods", "boosting"])
