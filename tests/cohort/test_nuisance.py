"""Dials by name and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import CommandError
from training.cohort.nuisance import NUISANCES, dials_of, to_toml
from training.cohort.visit import Dials


@pytest.mark.parametrize("name", NUISANCES)
def test_a_set_of_dials_survives_its_own_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "dials.toml"
    file.write_text(to_toml(dials_of(name)))
    assert dials_of("default", file) == dials_of(name)


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "dials.toml"
    file.write_text("coupled = true\n[head_ct]\ntilt_sd = 0.5\n")
    changed = dials_of("default", file)
    assert changed.coupled and changed.head_ct.tilt_sd == 0.5
    assert changed.head_ct.shift_sd == Dials().head_ct.shift_sd
    assert changed.chest_film == Dials().chest_film


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[head_ct]\ntilt = 1.0\n", "head_ct.tilt"),
        ("[head_ct]\ntilt_sd = 'much'\n", "head_ct.tilt_sd"),
        ("coupled = 7\n", "coupled"),
        ("coupled =\n", "TOML"),
    ],
)
def test_a_wrong_dial_is_named(text: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "dials.toml"
    file.write_text(text)
    with pytest.raises(CommandError, match=named):
        dials_of("default", file)


def test_a_set_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="unseen"):
        dials_of("wild")
    with pytest.raises(CommandError, match="nothing"):
        dials_of("default", tmp_path / "nothing.toml")
