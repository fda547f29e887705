from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from config.errors import ConfigError, LedgerError
from dicom_node.ledger import GalleryChanges, Ledger
from dicom_node.ledger.crypto import Seal, read_key
from inference.gallery.protocol import GalleryEntry
from inference.types import PatientIdentity
from tests.ledger.builders import ALICE, BOB, STUDY, encoding, make_ready, unit_vector

KEY = bytes(range(32))


def enrolled(ledger: Ledger, encoder: str = "general", version: str = "1", batch: int = 1000) -> list[GalleryEntry]:
    return [entry for page in ledger.embeddings_of(encoder, version, batch) for entry in page]


def test_an_embedding_comes_back_as_it_was(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ledger.put_patient(PatientIdentity(ALICE, "PHANTOM^0001", "19700101", "F"))
    (number,) = ledger.store_embeddings(STUDY, [encoding()], ALICE)
    (entry,) = enrolled(ledger)
    assert (entry.embedding_id, entry.patient, entry.study_uid) == (number, ALICE, STUDY)
    assert (entry.modality, entry.view, entry.laterality) == ("CT", "AP", "L")
    assert (entry.sex, entry.birth_date) == ("F", "19700101")
    assert entry.vector.dtype == np.float32
    np.testing.assert_array_equal(entry.vector, unit_vector(0))
    (stored,) = ledger.encodings_of_study(STUDY)
    assert stored.quality == 0.75 and stored.template == b"template 0"


def test_only_assigned_embeddings_of_that_very_version_are_in_a_gallery(ledger: Ledger) -> None:
    make_ready(ledger, "1.1", "1.2")
    ledger.store_embeddings("1.1", [encoding("1.1"), encoding("1.1", version="2")], ALICE)
    ledger.store_embeddings("1.2", [encoding("1.2")])
    assert [entry.study_uid for entry in enrolled(ledger)] == ["1.1"]
    assert [record.patient for record in ledger.embeddings_of_study("1.2")] == [None]


def test_storing_again_replaces_and_never_reuses_a_number(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    first = ledger.store_embeddings(STUDY, [encoding(seed=1), encoding(seed=2)], ALICE)
    second = ledger.store_embeddings(STUDY, [encoding(seed=3)], ALICE)
    assert not set(first) & set(second)
    assert [entry.embedding_id for entry in enrolled(ledger)] == list(second)


def test_a_gallery_is_read_in_pages(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ids = ledger.store_embeddings(STUDY, [encoding(seed=n) for n in range(10)], ALICE)
    assert [len(page) for page in ledger.embeddings_of("general", "1", 4)] == [4, 4, 2]
    assert [entry.embedding_id for entry in enrolled(ledger, batch=5)] == list(ids)


def test_assigning_moves_a_study_to_another_patient_and_away_again(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ledger.store_embeddings(STUDY, [encoding(seed=1), encoding(seed=2)])
    assert ledger.assign_embeddings(STUDY, BOB) == 2
    assert {entry.patient for entry in enrolled(ledger)} == {BOB}
    assert ledger.assign_embeddings(STUDY, None) == 2
    assert enrolled(ledger) == []


def test_forgetting_leaves_nothing_of_a_patient(ledger: Ledger) -> None:
    make_ready(ledger, "1.1", "1.2")
    ledger.put_patient(PatientIdentity(ALICE, "PHANTOM^0001"))
    ledger.store_embeddings("1.1", [encoding("1.1", 1), encoding("1.1", 2)], ALICE)
    ledger.store_embeddings("1.2", [encoding("1.2")], BOB)
    assert ledger.forget(ALICE) == 2
    assert ledger.patient(ALICE) is None
    assert ledger.embeddings_of_study("1.1") == ()
    assert [entry.patient for entry in enrolled(ledger)] == [BOB]
    assert ledger.forget(ALICE) == 0


def follow(ledger: Ledger, gallery: dict[int, GalleryEntry], since: int, limit: int = 1000) -> int:
    """What a gallery in another process does to keep up."""
    while True:
        changes = ledger.gallery_changes("general", "1", since, limit)
        for number in changes.removed:
            gallery.pop(number, None)
        gallery.update({entry.embedding_id: entry for entry in changes.entries})
        since = changes.revision
        if changes.complete:
            return since


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_a_gallery_elsewhere_keeps_up_with_every_change(ledger: Ledger, limit: int) -> None:
    make_ready(ledger, "1.1", "1.2", "1.3")
    gallery: dict[int, GalleryEntry] = {}
    since = 0
    for change in (
        lambda: ledger.store_embeddings("1.1", [encoding("1.1", n) for n in range(3)], ALICE),
        lambda: ledger.store_embeddings("1.2", [encoding("1.2")]),
        lambda: ledger.store_embeddings("1.3", [encoding("1.3", encoder="ct-face")], BOB),
        lambda: ledger.assign_embeddings("1.2", BOB),
        lambda: ledger.store_embeddings("1.1", [encoding("1.1", 9)], ALICE),
        lambda: ledger.assign_embeddings("1.2", None),
        lambda: ledger.forget(ALICE),
    ):
        change()
        since = follow(ledger, gallery, since, limit)
        assert sorted(gallery) == [entry.embedding_id for entry in enrolled(ledger)]
        assert {e.patient for e in gallery.values()} == {e.patient for e in enrolled(ledger)}
    late: dict[int, GalleryEntry] = {}
    follow(ledger, late, 0, limit)
    assert sorted(late) == sorted(gallery)


def test_nothing_new_is_no_change(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    ledger.store_embeddings(STUDY, [encoding()], ALICE)
    revision = ledger.embedding_revision()
    assert ledger.gallery_changes("general", "1", revision) == GalleryChanges(revision, (), (), complete=True)


def test_with_a_key_neither_vectors_nor_templates_are_readable_at_rest(ledger_url: str) -> None:
    with Ledger.open(ledger_url, key=KEY) as ledger:
        make_ready(ledger, STUDY)
        ledger.store_embeddings(STUDY, [encoding()], ALICE)
        np.testing.assert_array_equal(enrolled(ledger)[0].vector, unit_vector(0))
        assert ledger.status().unsealed_embeddings == 0
        with ledger._read() as session:
            vector, template = session.execute(text("SELECT vector, template FROM embeddings")).one()
    assert unit_vector(0).tobytes() not in bytes(vector)
    assert b"template" not in bytes(template)


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_another_key_opens_nothing_and_names_the_right_one(ledger_url: str, key: bytes | None) -> None:
    with Ledger.open(ledger_url, key=KEY) as ledger:
        make_ready(ledger, STUDY)
        ledger.store_embeddings(STUDY, [encoding()], ALICE)
    with Ledger.open(ledger_url, key=key) as ledger, pytest.raises(LedgerError, match=Seal(KEY).key_id) as raised:
        enrolled(ledger)
    assert raised.value.reason == "EMBEDDING_KEY"


def test_embeddings_from_before_the_key_stay_readable(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        make_ready(ledger, "1.1", "1.2")
        ledger.store_embeddings("1.1", [encoding("1.1")], ALICE)
    with Ledger.open(ledger_url, key=KEY) as ledger:
        ledger.store_embeddings("1.2", [encoding("1.2")], BOB)
        assert len(enrolled(ledger)) == 2
        assert ledger.status().unsealed_embeddings == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 2) WHERE id = 1",
        "UPDATE embeddings SET vector = template WHERE id = 1",
        "UPDATE embeddings SET version = '2' WHERE id = 1",
        "UPDATE embeddings SET encoder = 'ct-face' WHERE id = 1",
    ],
)
def test_a_sealed_vector_moved_or_relabelled_does_not_open(ledger_url: str, tampering: str) -> None:
    with Ledger.open(ledger_url, key=KEY) as ledger:
        make_ready(ledger, STUDY)
        ledger.store_embeddings(STUDY, [encoding(seed=1), encoding(seed=2)], ALICE)
        with ledger._write() as session:
            session.execute(text(tampering))
        with pytest.raises(LedgerError) as raised:
            ledger.encodings_of_study(STUDY)
    assert raised.value.reason == "EMBEDDING_DAMAGED"


def test_the_key_file_is_64_hexadecimal_digits(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY.hex() + "\n")
    assert read_key(str(path)) == KEY
    assert read_key("") is None
    for wrong in ("", "00", KEY.hex() + "00", "zz" * 32):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match="embedding_key_file"):
            read_key(str(path))
    with pytest.raises(ConfigError, match="embedding_key_file"):
        read_key(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="32"):
        Seal(b"short")
