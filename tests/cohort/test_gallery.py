"""Contact sheets: one for each kind, what is on them is what was written, and nothing else stays behind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from config.errors import CommandError, StorageError
from training.cohort.dials.fundus import FundusDials
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.gallery import draw_gallery
from training.cohort.visit import Dials

SMALL = Dials(head_ct=HeadCtDials(matrix=(64,), spacing=(5.0, 5.5)), fundus=FundusDials(matrix=(160,), disc_views=0.0))


def _colourful(sheet: np.ndarray) -> float:
    return float(np.mean(np.ptp(sheet.astype(int), axis=2) > 60))


def test_one_sheet_for_each_kind_with_persons_in_rows_and_visits_in_columns(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    kinds = ("fundus", "histology")
    sheets = draw_gallery(tmp_path, 3, 2, 2, kinds, SMALL, progress=lambda *what: told.append(what))
    assert [sheet.name for sheet in sheets] == ["fundus.png", "histology.png"]
    assert sorted(tmp_path.iterdir()) == sorted(sheets)
    assert told == [(n + 1, 8, kinds[n // 4]) for n in range(8)]
    fundus = cv2.imread(str(sheets[0]))
    assert fundus is not None
    assert _colourful(fundus) > 0.2
    wider = draw_gallery(tmp_path / "wide", 3, 2, 3, ["fundus"], SMALL)
    taller = draw_gallery(tmp_path / "tall", 3, 3, 2, ["fundus"], SMALL)
    shapes = [np.array(cv2.imread(str(path)).shape[:2]) for (path,) in (wider, taller)]
    assert shapes[0][1] > fundus.shape[1]
    assert shapes[1][0] > fundus.shape[0]


def test_the_same_seed_gives_the_same_sheet(tmp_path: Path) -> None:
    (first,) = draw_gallery(tmp_path / "a", 4, 1, 1, ["skin"])
    (again,) = draw_gallery(tmp_path / "b", 4, 1, 1, ["skin"])
    (other,) = draw_gallery(tmp_path / "c", 5, 1, 1, ["skin"])
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_a_volume_is_cut_three_ways_in_the_windows_of_its_kind(tmp_path: Path) -> None:
    (sheet,) = draw_gallery(tmp_path, 3, 1, 1, ["head-ct"], SMALL)
    drawn = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)
    assert drawn is not None
    assert drawn.shape[1] > 600  # four cuts side by side
    for shown in np.array_split(drawn[80:, 8:-8], 4, axis=1):
        assert shown.max() > 200
        assert shown.std() > 20


@pytest.mark.parametrize(
    ("persons", "visits", "kinds"), [(0, 1, ["skin"]), (1, 0, ["skin"]), (1, 1, ["x-ray of the soul"]), (1, 1, [])]
)
def test_a_gallery_of_nothing_is_refused(tmp_path: Path, persons: int, visits: int, kinds: list[str]) -> None:
    with pytest.raises(CommandError):
        draw_gallery(tmp_path, 3, persons, visits, kinds)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        draw_gallery(tmp_path / "file" / "sheets", 3, 1, 1, ["skin"])
