"""Galleries in several processes say what the ledger says, whatever became of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dicom_node.galleries import Galleries
from dicom_node.ledger import Ledger
from inference.types import PatientKey
from tests.ledger.builders import encoding, received, unit_vector

ALICE, BOB = PatientKey("H", "1"), PatientKey("H", "2")


@dataclass
class EightNumbers:
    """All that a gallery asks of an encoder."""

    name: str = "general"
    version: str = "1"
    dimension: int = 8

    def accepts(self, series: Any) -> bool:
        return True

    def encode(self, images: Any) -> list[None]:
        return [None for _ in images]


ENCODER = EightNumbers()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}") as opened:
        opened.ingest([received(1, "1.2.1"), received(2, "1.2.2")])
        yield opened


def best(galleries: Galleries, seed: int) -> PatientKey | None:
    (found,) = galleries.of(ENCODER).search(unit_vector(seed)[None], 1)
    return found.candidates[0].patient if found.candidates else None


def test_what_one_process_changes_the_other_finds(ledger: Ledger, tmp_path: Path) -> None:
    here, there = Galleries(ledger, tmp_path / "here"), Galleries(ledger, tmp_path / "there")
    assert best(here, 1) is None
    ledger.store_embeddings("1.2.1", [encoding("1.2.1", 1)], ALICE)
    assert best(here, 1) == best(there, 1) == ALICE
    ledger.assign_embeddings("1.2.1", BOB)
    assert best(here, 1) == best(there, 1) == BOB
    ledger.assign_embeddings("1.2.1", None)
    assert best(here, 1) is best(there, 1) is None
    ledger.store_embeddings("1.2.2", [encoding("1.2.2", 2)], BOB)
    ledger.forget(BOB)
    assert best(here, 2) is best(there, 2) is None


def test_a_torn_or_missing_file_is_rebuilt_from_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    ledger.store_embeddings("1.2.1", [encoding("1.2.1", 1)], ALICE)
    first = Galleries(ledger, tmp_path / "gallery")
    assert best(first, 1) == ALICE
    first.save()
    (file,) = (tmp_path / "gallery").iterdir()
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        assert best(Galleries(ledger, tmp_path / "gallery"), 1) == ALICE
    file.unlink()
    assert best(Galleries(ledger, tmp_path / "gallery"), 1) == ALICE


def test_a_file_from_before_a_change_is_not_believed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.store_embeddings("1.2.1", [encoding("1.2.1", 1)], ALICE)
    Galleries(ledger, tmp_path / "gallery").of(ENCODER)
    ledger.assign_embeddings("1.2.1", BOB)
    assert best(Galleries(ledger, tmp_path / "gallery"), 1) == BOB


def test_sealed_embeddings_are_never_written_in_clear(tmp_path: Path) -> None:
    key = bytes(range(32))
    with Ledger.open(f"sqlite:///{tmp_path / 'sealed.sqlite3'}", key=key) as ledger:
        ledger.ingest([received(1, "1.2.1")])
        ledger.store_embeddings("1.2.1", [encoding("1.2.1", 1)], ALICE)
        galleries = Galleries(ledger, None)
        assert best(galleries, 1) == ALICE
        galleries.save()
    clear = unit_vector(1).tobytes()
    assert not any(clear in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
