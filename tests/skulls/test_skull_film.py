"""Bone alone on films of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from config.errors import ImagingError
from inference.imaging.skull_film import bone_only
from tests.skulls.heads import Film, films


def shares(film: Film) -> tuple[float, float, float]:
    """How bright soft tissue is beside bone before and after, and the share of bone that is kept."""
    found = bone_only(film.pixels)
    assert found.shape == film.pixels.shape
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    full = np.percentile(film.bone, 99)
    bone, soft = film.bone > 0.1 * full, (film.bone <= 1e-6) & (film.pixels > 0.1)
    before, after = (float(one[soft].mean() / one[bone].mean()) for one in (film.pixels, found))
    return before, after, float((found[film.bone > 0.25 * full] > 0.02).mean())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_bone_is_kept_and_soft_tissue_goes(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for film in films(number, monkeypatch):
        before, after, kept = shares(film)
        assert before > 0.25
        assert after < 0.05, (film.view, before, after)
        assert kept > 0.8, (film.view, kept)


def test_what_is_left_follows_the_bone_more_closely_than_the_film_did(monkeypatch: pytest.MonkeyPatch) -> None:
    for film in films(3, monkeypatch):
        before, after = (np.corrcoef(one.ravel(), film.bone.ravel())[0, 1] for one in
                         (film.pixels, bone_only(film.pixels)))  # fmt: skip
        assert after > before


def test_weight_that_is_gained_under_the_skin_changes_less_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (thin, _), (fat, _) = (films(5, monkeypatch, weight=kilos, noise=1e-4) for kilos in (-2.0, 6.0))
    rows = min(len(thin.pixels), len(fat.pixels))
    a, b = thin.pixels[:rows], fat.pixels[:rows]
    soft = (thin.bone[:rows] <= 1e-6) & (fat.bone[:rows] <= 1e-6)
    before = float(np.abs(a - b)[soft].mean())
    after = float(np.abs(bone_only(thin.pixels)[:rows] - bone_only(fat.pixels)[:rows])[soft].mean())
    assert after < 0.5 * before


def test_a_side_marker_is_no_bone(monkeypatch: pytest.MonkeyPatch) -> None:
    frontal = films(1, monkeypatch)[0].pixels.copy()
    frontal[4:16, 4:12] = 1.0
    assert bone_only(frontal)[4:16, 4:12].max() == 0


def test_a_film_exposed_so_hard_that_only_bone_is_left_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    film = films(2, monkeypatch)[1]
    bare = np.clip(film.bone / np.percentile(film.bone, 99.5), 0, 1) ** 1.5
    found = bone_only(bare.astype(np.float32))
    assert (found[film.bone > 0.25 * np.percentile(film.bone, 99)] > 0.02).mean() > 0.7


@pytest.mark.parametrize("film", [np.zeros((64, 64), np.float32), np.eye(64, dtype=np.float32)])
def test_a_film_without_a_head_is_refused(film: np.ndarray) -> None:
    with pytest.raises(ImagingError) as caught:
        bone_only(film)
    assert caught.value.reason == "NO_SURFACE"
