"""A whole comparison of networks, small enough for a test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.errors import TrainingError
from inference.networks import NETWORKS
from tests.learning.tiny import quiet
from tests.studies.halves import recipe, write_pictures
from training.evaluation.appraise import METADATA, PIXELS
from training.learning.recipe import read_recipe
from training.learning.run import Hardware
from training.learning.validation import rule_of
from training.manifests.pairs import comparable_mask, keys_of, mated_mask
from training.studies.networks import ALL, GENERAL, main, make_data, study
from training.studies.paired import Judgement


@dataclass
class Compared:
    """A study of ``right``, and the same study after ``left`` has joined, with the lines of each."""

    folder: Path
    first: Judgement
    second: Judgement
    said: list[list[str]]

    @property
    def out(self) -> Path:
        return self.folder / "out"


def compare(folder: Path, *names: str, said: list[str] | None = None, steps: int = 0) -> Judgement:
    recipes = [str(folder / f"{name}.toml") for name in names]
    lines: list[str] = [] if said is None else said
    found = study(
        read_recipe(folder / "right.toml"), recipes, folder / "out", hardware=Hardware("cpu"), size=0, steps=steps,
        rounds=200, tell=quiet, say=lines.append,
    )  # fmt: skip
    assert set(found) == {ALL}
    return found[ALL]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    folder = tmp_path_factory.mktemp("networks")
    write_pictures(folder / "films")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("left", "right"):
            patch.setitem(NETWORKS, name, "tests.studies.halves:build")
            recipe(folder, name)
        said: list[list[str]] = [[], []]
        first = compare(folder, "right", said=said[0])
        yield Compared(folder, first, compare(folder, "right", "left", said=said[1]), said)


def test_a_network_that_knows_the_person_beats_the_floors_and_one_that_knows_the_day(compared: Compared) -> None:
    methods = compared.second.methods
    rank1 = {name: one.headline()["rank-1"] for name, one in methods.items()}
    assert set(rank1) == {"right", "left", "specialists", GENERAL, PIXELS, METADATA}
    left, pixels = rank1["left"], rank1[PIXELS]
    assert left.low is not None and pixels.high is not None
    assert left.low > pixels.high
    gain = methods["left"].difference["rank-1"]
    assert gain.low is not None and gain.low > 0.3
    assert methods["right"].difference == {}


def test_what_is_trained_is_not_trained_again_when_a_variant_joins(compared: Compared) -> None:
    assert any("training in" in line for line in compared.said[0])
    assert not any(line.startswith("right") for line in compared.said[1])
    assert any(line.startswith("left: training in") for line in compared.said[1])
    assert compared.second.methods["right"].headline() == compared.first.methods["right"].headline()


def test_images_are_decoded_once_for_all(compared: Compared) -> None:
    assert (compared.out / "trained" / "right" / "store").resolve() == (compared.out / "store").resolve()
    # One store for training's spec and one for validation's, not one for each network.
    assert len(list((compared.out / "store").glob("*/planes.u8"))) == 2


def test_one_folder_holds_one_study(compared: Compared) -> None:
    with pytest.raises(TrainingError) as refused:
        compare(compared.folder, "right", steps=4)
    assert refused.value.reason == "RECIPE_CHANGED"


def test_a_training_that_was_cut_off_goes_on(compared: Compared) -> None:
    # As after a kill between the last checkpoint and the bundle.
    shutil.rmtree(compared.out / "trained" / "left" / "left")
    said: list[str] = []
    again = compare(compared.folder, "right", "left", said=said)
    assert any(line.startswith("left: training in") for line in said)
    assert not any("step " in line for line in said)
    assert again.methods["left"].headline() == compared.second.methods["left"].headline()


def test_the_command_leaves_a_table_and_a_plot(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    # Its first variant is the one that is compared with.
    main(["--recipe", str(compared.folder / "right.toml"), "--variants", str(compared.folder / "right.toml"),
          "--out", str(compared.out), "--accelerator", "cpu", "--rounds", "50"])  # fmt: skip
    assert "right" in capsys.readouterr().out
    table = json.loads((compared.out / "table.json").read_text())
    assert table["compared with"] == "right"
    assert set(table["groups"][ALL]["methods"]) == {"right", GENERAL, PIXELS, METADATA}
    assert "<svg" in (compared.out / "table.svg").read_text()


def test_nobody_in_test_is_refused_by_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "films", patients=8, visits=2)
    place = recipe(tmp_path, "right")
    place.write_text(place.read_text().replace("validation = 0.2\ntest = 0.2", "validation = 0.4\ntest = 0.0"))
    with pytest.raises(TrainingError) as refused:
        compare(tmp_path, "right")
    assert refused.value.reason == "SPLIT_EMPTY"


def test_images_without_a_view_are_compared_where_views_must_be_the_same(compared: Compared, tmp_path: Path) -> None:
    """Volumes have neither view nor side, and meet all the same."""
    wanted = read_recipe(compared.folder / "right.toml")
    strict = wanted.model_copy(update={"compare": ("modality", "view", "laterality")})
    rows = list(make_data(strict, tmp_path / "data", 1, quiet).test.rows())
    keys = keys_of(rows)
    mates = comparable_mask(keys, keys, rule_of(strict)) & mated_mask(keys, keys)
    assert mates.any(axis=1).all()
