"""The study: galleries with and without distractors, chance beside every figure, and the trap apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from config.errors import CommandError
from tests.skulls.conftest import ToyRun
from training.skulls.recipe import read_recipe, shipped_recipes
from training.skulls.retrieval import Faces
from training.studies import skulls
from training.studies.skulls import SKULLS_SEED, Sizes, judged, trap


def people(count: int, noise: float, seed: int, first: int = 0) -> tuple[Faces, Faces]:
    """Skulls and faces of some persons at two visits: unit vectors that agree but for noise."""
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(first, first + count), 2)
    centres = np.repeat(rng.standard_normal((count, 8)), 2, axis=0)
    sides = []
    for _ in range(2):
        vectors = centres + noise * rng.standard_normal(centres.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sides.append(Faces(persons, np.tile([0, 1], count), vectors.astype(np.float32)))
    return sides[0], sides[1]


def test_distractors_make_the_search_harder_and_chance_smaller() -> None:
    found, faces = people(30, 0.6, 1)
    _, others = people(200, 0.6, 2, first=100)
    rows = judged(found, faces, others, Sizes(ranks=(1, 10), rounds=50))
    own, mixed = rows["own faces"], rows["with 400 distractors"]
    assert (own.searches, own.persons, own.gallery, mixed.gallery) == (60, 30, 30.0, 430.0)
    for name in ("recall@1", "recall@10"):
        a, b = own.figures[name].value, mixed.figures[name].value
        assert a is not None and b is not None and a >= b > mixed.chance[name]
    assert own.chance["recall@10"] == pytest.approx(10 / 30)
    assert mixed.chance["recall@10"] == pytest.approx(10 / 430)


def test_who_guesses_gets_what_chance_gives() -> None:
    found, _ = people(150, 0.0, 3)
    _, faces = people(150, 0.0, 4)
    one = judged(found, faces, faces.chosen(np.zeros(0, np.int64)), Sizes(ranks=(30,), rounds=200))["own faces"]
    for name, figure in one.figures.items():
        assert figure.low is not None and figure.high is not None
        assert figure.low - 0.02 <= one.chance[name] <= figure.high + 0.02


def test_a_person_is_not_searched_for_and_a_distractor_as_well() -> None:
    found, faces = people(3, 0.1, 5)
    with pytest.raises(CommandError) as caught:
        judged(found, faces, faces, Sizes())
    assert caught.value.reason == "SHARED_PERSONS"


def test_the_command_makes_a_table_and_goes_on(
    toy_run: ToyRun, tmp_path: Path, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--encoder", "skull-face", "--bundles", str(toy_run.work), "--out", str(tmp_path), "--persons", "3",
        "--distractors", "2", "--ranks", "1", "2", "--rounds", "20", "--nuisance", "tiny", "--seed", "7899",
        "--seen", str(toy_run.work),
    ]  # fmt: skip
    skulls.main(arguments)
    shown = capsys.readouterr().out
    assert "chance" in shown
    assert "never seen" in shown
    found = json.loads((tmp_path / "skulls.json").read_text())
    rows = found["encoders"]["skull-face (tiny)"]
    assert {name: one["searches"] for name, one in rows.items()} == {"own faces": 12, "with 2 distractors": 12}
    assert rows["with 2 distractors"]["gallery"] == 5
    assert set(found["encoders"]["the published trap"]) == {"trained on (as a split of triplets has it)", "never seen"}
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy"))
    skulls.main(arguments)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")) == before


def test_the_trap_compares_groups_of_one_size(toy_run: ToyRun, tiny: None) -> None:
    rows = trap(toy_run.encoder(), toy_run.work, Sizes(ranks=(1,), rounds=0), lambda *_: None)
    assert [one.persons for one in rows.values()] == [2, 2]


def test_a_folder_without_a_training_is_named(toy_run: ToyRun, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        trap(toy_run.encoder(), tmp_path, Sizes(), lambda *_: None)
    assert caught.value.reason == "NOT_FOUND"


def test_an_encoder_that_compares_no_skulls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ENCODER_KIND"):
        skulls.main(["--encoder", "ct-face", "--out", str(tmp_path)])
    shutil.rmtree(tmp_path)


def test_nobody_is_measured_on_who_was_learned_from() -> None:
    assert 7800 <= SKULLS_SEED < 7900
    assert SKULLS_SEED not in {read_recipe(path).phantoms.seed for path in shipped_recipes().values()}
