"""Embeddings that a study keeps: made once, by whoever is missing, from images that may be broken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from config.errors import ImagingError
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader
from tests.learning.tiny import quiet, write_films
from training.manifests.files import read_manifest
from training.studies import embeddings
from training.studies.embeddings import Candidate, embed


class Corner:
    """Encodes the grey value of a corner, refuses every third image that it is shown, and counts them."""

    name, version, dimension = "corner", "1", 2

    def __init__(self) -> None:
        self.seen = 0

    def accepts(self, series: SeriesHeader) -> bool:
        return True

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        self.seen += 1
        if self.seen % 3 == 0:
            raise ImagingError("every third", reason="ENCODER_KIND")
        value = float(images[0].pixels[0, 0])
        vector: FloatArray = np.array([value, 1.0], np.float32) / np.hypot(value, 1.0)
        return [Encoding(self.name, self.version, "", "", vector.astype(np.float32), 1.0)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "BLOCK", 4)


def test_an_encoder_that_joins_later_is_the_only_one_to_be_run(tmp_path: Path) -> None:
    manifest = read_manifest(write_films(tmp_path / "films", (2,) * 5))
    rows, first, second = list(manifest.rows()), Corner(), Corner()
    one = {"a": Candidate("a", lambda: first)}
    before = embed(manifest, rows, one, tmp_path / "kept", quiet)
    assert first.seen == len(rows)
    after = embed(manifest, rows, one | {"b": Candidate("b", lambda: second)}, tmp_path / "kept", quiet)
    assert (first.seen, second.seen) == (len(rows), len(rows))
    assert (after.vectors["a"] == before.vectors["a"]).all()
    assert (after.vectors["b"] == before.vectors["a"]).all()


def test_a_study_that_was_stopped_embeds_only_what_is_missing(tmp_path: Path) -> None:
    manifest = read_manifest(write_films(tmp_path / "films", (2,) * 5))
    rows, first, second = list(manifest.rows()), Corner(), Corner()
    embed(manifest, rows[:8], {"a": Candidate("a", lambda: first)}, tmp_path / "kept", quiet)
    embed(manifest, rows, {"a": Candidate("a", lambda: second)}, tmp_path / "kept", quiet)
    assert second.seen == 2


def test_an_image_that_changed_is_embedded_anew(tmp_path: Path) -> None:
    place = write_films(tmp_path / "films", (2,) * 2)
    manifest, encoder = read_manifest(place), Corner()
    rows, candidates = list(manifest.rows()), {"a": Candidate("a", lambda: encoder)}
    embed(manifest, rows, candidates, tmp_path / "kept", quiet)
    (place.parent / "0-0.png").write_bytes((place.parent / "1-1.png").read_bytes())
    found = embed(manifest, rows, candidates, tmp_path / "kept", quiet)
    assert encoder.seen == 8
    assert (found.pixels[0] == found.pixels[3]).all()


def test_what_cannot_be_read_or_taken_is_all_zeros(tmp_path: Path) -> None:
    place = write_films(tmp_path / "films", (2,) * 4)
    (place.parent / "0-0.png").write_text("no picture")
    for name in ("2-0", "2-1", "3-0", "3-1"):
        (place.parent / f"{name}.png").write_text("a whole block of none")
    manifest, encoder = read_manifest(place), Corner()
    found = embed(manifest, list(manifest.rows()), {"a": Candidate("a", lambda: encoder)}, tmp_path / "kept", quiet)
    assert found.vectors["a"].any(axis=1).tolist() == [False, True, True, False, *[False] * 4]
    assert found.pixels.any(axis=1).tolist() == [False, True, True, True, *[False] * 4]
    assert len(found.metadata) == 8
