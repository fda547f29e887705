"""From a real spool and a real journal into the ledger, with the ingester killed at every step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from config.errors import LedgerError
from config.settings import IdentitySettings
from dicom_node.ingest import Ingester
from dicom_node.journal import Journal, Position
from dicom_node.ledger import ItemKind, Ledger, ReceivedIdentity, StudyState
from dicom_node.part10 import ObjectIdentity, canonical_header
from dicom_node.spool import Source, Spool
from inference.types import PatientKey
from tests.ledger.builders import CT, STUDY
from tests.ledger.files import part10

IDENTITY = IdentitySettings(default_issuer="")
SOURCE = Source("MODALITY", "MEDREID", "127.0.0.1", "a1")


class Receiver:
    """What the receiving process leaves behind: objects in the spool, records in the journal."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder, 0)
        self.journal = Journal(self.spool.journal_folder)

    def store(self, *files: bytes, source: Source = SOURCE) -> None:
        self.note(*(self.spool.put_bytes(file, source).record() for file in files))

    def note(self, *records: Any) -> None:
        for record in records:
            # A group of its own each: readers take groups whole.
            self.journal.append([record])
        self.journal.publish()

    def end(self, association: str = "a1") -> None:
        at = "2024-02-29T12:00:00.000001+00:00"
        self.note({"kind": "association_end", "association": association, "how": "RELEASED", "at": at})


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    opened = Receiver(tmp_path / "spool")
    yield opened
    opened.journal.close()


@pytest.fixture
def ingester(ledger: Ledger, receiver: Receiver) -> Ingester:
    return Ingester(ledger, receiver.spool, IDENTITY, batch=3)


def test_everything_received_is_in_the_ledger_once(ledger: Ledger, receiver: Receiver, ingester: Ingester) -> None:
    assert ingester.run_once() is None
    receiver.store(*(part10(n) for n in range(7)))
    receiver.note({"kind": "count", "name": "receive_refused", "n": 4})
    receiver.end()
    assert ingester.drain() == 7
    assert ingester.drain() == 0
    record = ledger.study(STUDY)
    assert record is not None and record.instances == 7
    assert ledger.promote_complete(0, 1e9) == (STUDY,)
    (series,) = ledger.series(STUDY, receiver.spool.path)
    assert all(instance.path.is_file() for instance in series.instances)
    assert {c.name: c.value for c in ledger.counters()} == {"ingest_added": 7, "receive_refused": 4}
    assert ledger.identities(STUDY) == (ReceivedIdentity("P1", "", "PHANTOM^0001", "", ""),)
    assert ledger.persons(PatientKey("", "P1")) == 1
    stored = ledger.object(series.instances[0].path.stem)
    assert stored is not None and (stored.calling_ae, stored.association) == ("MODALITY", "a1")


def test_what_is_no_dicom_object_is_quarantined_beside_the_others(
    ledger: Ledger, receiver: Receiver, ingester: Ingester
) -> None:
    identity = ObjectIdentity(CT, "1.2.3", ExplicitVRLittleEndian)
    receiver.store(canonical_header(identity) + b"\xff" * 100, part10(1))
    assert ingester.drain() == 1
    (item,) = ledger.worklist(ItemKind.QUARANTINE)
    known = ledger.object(item.sha256)
    assert known is not None and known.failure == item.reason != ""
    assert ingester.retry(item.sha256).duplicates == 1
    assert ingester.retry("0" * 64).added == 0


def test_an_object_whose_file_comes_back_is_indexed_on_retry(
    ledger: Ledger, receiver: Receiver, ingester: Ingester
) -> None:
    stored = receiver.spool.put_bytes(part10(1), SOURCE)
    receiver.note(stored.record())
    path = receiver.spool.path(stored.sha256)
    path.rename(path.with_suffix(".away"))
    assert ingester.drain() == 0
    assert [item.reason for item in ledger.worklist()] == ["UNREADABLE_FILE"]
    path.with_suffix(".away").rename(path)
    assert ingester.retry(stored.sha256).added == 1
    assert ledger.worklist() == ()


def test_undecodable_text_never_keeps_an_image_out(ledger: Ledger, receiver: Receiver, ingester: Ingester) -> None:
    content = part10(1, PatientName="PHANTOM^XXXX", SpecificCharacterSet="ISO_IR 192")
    receiver.store(content.replace(b"PHANTOM^XXXX", b"PHANTOM^\xff\xfe\x00\xc3"))
    assert ingester.drain() == 1
    (identity,) = ledger.identities(STUDY)
    assert identity.name.startswith("PHANTOM^")


@pytest.mark.parametrize("patient_id", ["../../etc/passwd", "x" * 300, "'; DROP TABLE studies; --", "a\\b"])
def test_hostile_identifiers_are_only_text(
    ledger: Ledger, receiver: Receiver, ingester: Ingester, patient_id: str
) -> None:
    with warnings.catch_warnings():
        # pydicom warns of values that the standard forbids; those are what is sent here.
        warnings.simplefilter("ignore")
        receiver.store(part10(1, PatientID=patient_id))
    assert ingester.drain() == 1
    (identity,) = ledger.identities(STUDY)
    assert identity.patient_id == patient_id


def test_a_record_of_another_version_holds_nothing_up(ledger: Ledger, receiver: Receiver, ingester: Ingester) -> None:
    receiver.note({"kind": "poem"}, {"kind": "instance", "sha256": "0" * 64}, {"kind": "count", "name": "x"})
    receiver.store(part10(1))
    assert ingester.drain() == 1
    assert ledger.counters("journal_unknown_record")[0].value == 3


def test_fetched_objects_need_no_journal_but_an_end(ledger: Ledger, receiver: Receiver, ingester: Ingester) -> None:
    stored = [receiver.spool.put_bytes(part10(n), Source(association="fetch:1")) for n in range(2)]
    assert ingester.add(stored).added == 2
    assert ledger.promote_complete(0, 1e9) == ()
    ledger.end_association("fetch:1")
    assert ledger.promote_complete(0, 1e9) == (STUDY,)


def test_a_second_ingester_is_refused(ledger: Ledger, receiver: Receiver, ingester: Ingester) -> None:
    receiver.store(*(part10(n) for n in range(3)))
    ingester.drain()
    receiver.store(part10(4))
    stale = Ingester(ledger, receiver.spool, IDENTITY)
    stale._ledger = StaleCursor(ledger)  # type: ignore[assignment]
    with pytest.raises(LedgerError) as raised:
        stale.run_once()
    assert raised.value.reason == "CURSOR_MOVED"
    assert ingester.drain() == 1


class StaleCursor:
    """A ledger as an ingester saw it that slept while another one worked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def cursor(self, name: str) -> str:
        return ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


CHILD = """
import sys
from pathlib import Path
from config.settings import IdentitySettings
from dicom_node.ingest import Ingester
from dicom_node.ledger import Ledger
from dicom_node.spool import Spool
with Ledger.open(sys.argv[1]) as ledger:
    Ingester(ledger, Spool(Path(sys.argv[2]), 0), IdentitySettings(default_issuer=""), batch=4).drain()
"""


def test_kill_at_every_step_loses_nothing_and_repeats_nothing(ledger_url: str, receiver: Receiver) -> None:
    receiver.store(*(part10(n, study) for study in ("1.2.1", "1.2.2") for n in range(5)))
    receiver.store(part10(1, "1.2.1"), part10(1, "1.2.1", PatientID="P2"))
    receiver.note({"kind": "count", "name": "receive_refused", "n": 7})
    receiver.end()
    command = [sys.executable, "-c", CHILD, ledger_url, str(receiver.spool.folder)]
    # A batch is four records: the first kills leave nothing behind, the later ones a batch or two.
    for point in ("headers_read:1", "before_commit:1", "committed:1", "before_commit:2"):
        child = subprocess.run(command, env=dict(os.environ, MEDREID_CRASH_POINT=f"ingest.{point}"))
        assert child.returncode == -signal.SIGKILL
    subprocess.run(command, check=True)
    with Ledger.open(ledger_url) as ledger:
        assert {c.name: c.value for c in ledger.counters()} == {
            "ingest_added": 10,
            "ingest_conflict": 1,
            "ingest_duplicate": 1,
            "receive_refused": 7,
        }
        assert ledger.object_count() == 11
        assert ledger.status().studies == {StudyState.ASSEMBLING: 2}
        assert set(ledger.promote_complete(0, 1e9)) == {"1.2.1", "1.2.2"}
        assert Position.parse(ledger.cursor("journal")) == receiver.journal.position
