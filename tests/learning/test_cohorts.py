"""Phantom cohorts of a recipe: made once, and from where they were cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.learning.cohorts import cohort_in
from training.learning.recipe import Cohort


class StoppedError(Exception):
    """Somebody pulled the plug."""


WANTED = Cohort(kinds=("skin",), patients=3, visits=2, seed=31)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.dcm")}


def test_a_cohort_that_was_cut_off_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = cohort_in(tmp_path / "whole", WANTED, 1, lambda done, total: None)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        cohort_in(tmp_path / "cut", WANTED, 1, stop)
    assert not (tmp_path / "cut" / "manifest.csv").exists()
    # The journal's last line was being written.
    with (tmp_path / "cut" / "studies.jsonl").open("ab") as file:
        file.write(b'[{"path": "half')
    told: list[int] = []
    made = cohort_in(tmp_path / "cut", WANTED, 1, lambda done, total: told.append(done))
    assert made.path.read_bytes() == whole.path.read_bytes()
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")
    told.clear()
    cohort_in(tmp_path / "cut", WANTED, 1, lambda done, total: told.append(done))
    assert not told, "it was made again"
