"""The FAISS twin: the contract, and its file, which may be missing, torn, foreign or stale but never wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from config.errors import GalleryError
from inference.gallery.cache import CacheUnusableError
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry, GalleryFilter
from tests.recognition.gallery_contract import DIMENSION, ENCODER, VERSION, GalleryContract, entry, patient, unit

ENTRIES = [
    entry(5, 1, (1, 0, 0, 0), modality="DX", view="FRONTAL", sex="F", birth_date="19500101"),
    entry(9, 2, (0, 1, 0, 0), modality="CT", laterality="L"),
    entry(2, 1, (1, 1, 0, 0)),
]


class TestFaissGallery(GalleryContract):
    def make(self) -> FaissGallery:
        return FaissGallery(ENCODER, VERSION, DIMENSION)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gallery = FaissGallery(ENCODER, VERSION, DIMENSION)
    gallery.enrol(ENTRIES)
    gallery.save(tmp_path / "probe.gallery", "mark 1")
    return tmp_path / "probe.gallery"


def reopened(path: Path, watermark: str = "mark 1", version: str = VERSION) -> tuple[FaissGallery, bool]:
    """The gallery, and whether it had to be rebuilt."""
    asked = []

    def rebuild() -> list[GalleryEntry]:
        asked.append(True)
        return ENTRIES[:1]

    return FaissGallery.open(path, ENCODER, version, DIMENSION, rebuild, watermark), bool(asked)


def test_a_saved_gallery_answers_as_before(path: Path) -> None:
    gallery, rebuilt = reopened(path)
    assert (len(gallery), rebuilt) == (3, False)
    (found,) = gallery.search(
        unit((1, 0, 0, 0))[None], 5, GalleryFilter(modality="DX", birth_year_between=(1950, 1950))
    )
    assert [(c.patient, c.embedding_id) for c in found.candidates] == [(patient(1), 5)]
    gallery.enrol([entry(9, 3, (0, 0, 1, 0))])
    assert len(gallery) == 3


def test_the_file_is_private(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_what_is_forgotten_is_not_in_the_file(path: Path) -> None:
    gallery, _ = reopened(path)
    assert patient(1).id.encode() in path.read_bytes()
    gallery.forget(patient(1))
    gallery.save(path, "mark 2")
    assert patient(1).id.encode() not in path.read_bytes()


@pytest.mark.parametrize("cut", [0, 5, 25, 200, -1], ids=lambda cut: f"cut at {cut}")
def test_a_torn_file_is_rebuilt(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    gallery, rebuilt = reopened(path)
    assert (len(gallery), rebuilt) == (1, True)
    assert reopened(path)[1] is False, "the rebuilt gallery must have been saved"


def test_a_flipped_bit_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert reopened(path)[1]


@pytest.mark.parametrize(
    "content", [b"", b"MEDREID GALLERY 1\n", b"MEDREID GALLERY 1\n[]\n", b"MEDREID GALLERY 1\n{}\n", b"\x00" * 99]
)
def test_a_foreign_file_is_rebuilt(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert reopened(path)[1]


def test_a_missing_a_stale_and_another_versions_file_are_rebuilt(path: Path, tmp_path: Path) -> None:
    assert reopened(path, watermark="mark 2")[1]
    assert reopened(path, watermark="mark 2", version="2.0")[1]
    assert reopened(tmp_path / "nothing" / "there")[1]


def test_a_header_that_claims_too_much_takes_no_memory(path: Path) -> None:
    content = path.read_bytes().replace(b'"count": 3', b'"count": 999999999999')
    path.write_bytes(content)
    with pytest.raises(CacheUnusableError, match="torn"):
        FaissGallery.load(path, ENCODER, VERSION, DIMENSION, "mark 1")


def test_a_failed_save_leaves_the_former_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    gallery, _ = reopened(path)
    gallery.enrol([entry(77, 7)])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inference.gallery.cache.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        gallery.save(path, "mark 1")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_single_entries_can_be_taken_away(path: Path) -> None:
    gallery, _ = reopened(path)
    assert gallery.remove([5, 77]) == 1
    assert gallery.remove([]) == 0
    (found,) = gallery.search(unit((1, 0, 0, 0))[None], 5)
    assert [c.embedding_id for c in found.candidates] == [2, 9]


def test_a_list_of_no_patients_is_refused() -> None:
    with pytest.raises(GalleryError, match="at least one"):
        FaissGallery(ENCODER, VERSION, DIMENSION).search(unit((1, 0, 0, 0))[None], 0)


def test_exact_among_thousands() -> None:
    rng = np.random.default_rng(11)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = rng.integers(0, 400, 3000)
    gallery = FaissGallery(ENCODER, VERSION, 64)
    gallery.enrol([GalleryEntry(n, patient(int(owners[n])), f"1.{n}", vectors[n]) for n in range(3000)])
    gallery.forget(patient(3))
    probes = vectors[:20] + rng.normal(0, 0.05, (20, 64)).astype(np.float32)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    for probe, found in zip(probes, gallery.search(probes.astype(np.float32), 20), strict=True):
        scores = vectors @ probe
        best = sorted(((scores[owners == p].max(), p) for p in np.unique(owners) if p != 3), reverse=True)[:20]
        assert [c.patient for c in found.candidates] == [patient(int(p)) for _, p in best]


def test_search_and_enrolment_from_several_threads() -> None:
    gallery, failures = FaissGallery(ENCODER, VERSION, DIMENSION), []

    def work(part: int) -> None:
        try:
            for n in range(60):
                gallery.enrol([entry(1000 * part + n, n, (1, n, part, 0))])
                (found,) = gallery.search(unit((1, 0, 0, 0))[None], 10)
                assert len({c.patient for c in found.candidates}) == len(found.candidates)
        except Exception as error:  # noqa: BLE001  carried to the thread that asserts
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(gallery) == 240
