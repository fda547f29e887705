from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.errors import LedgerError
from config.settings import WorkerSettings
from dicom_node.ledger import (
    ConflictKind,
    Counted,
    CursorMove,
    ItemKind,
    Ledger,
    PersonSeen,
    ReceivedIdentity,
    ReceivedObject,
    StudyState,
)
from tests.ledger.builders import ALICE, STUDY, Clock, ended, make_ready, received


def counted(ledger: Ledger, name: str) -> int:
    return sum(counter.value for counter in ledger.counters(name))


def test_instances_become_series_in_the_order_of_arrival(ledger: Ledger) -> None:
    ledger.ingest([received(3), received(1, series=f"{STUDY}.2"), received(2)])
    series = ledger.series(STUDY, lambda sha256: Path("spool") / sha256)
    assert [s.series_uid for s in series] == [f"{STUDY}.1", f"{STUDY}.2"]
    assert [i.attributes["InstanceNumber"] for i in series[0].instances] == [3, 2]
    assert series[0].instances[0].path == Path("spool") / received(3).sha256
    study = ledger.study(STUDY)
    assert study is not None
    assert (study.instances, study.series, study.modalities) == (3, 2, ("CT",))


def test_the_same_bytes_again_change_nothing(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1)])
    before = ledger.study(STUDY)
    clock.pass_(5)
    report = ledger.ingest([received(1, association="a2"), received(1)])
    assert (report.added, report.duplicates, report.studies) == (0, 2, ())
    assert ledger.study(STUDY) == before
    assert counted(ledger, "ingest_duplicate") == 2


def test_the_same_bytes_twice_in_one_batch_count_once(ledger: Ledger) -> None:
    report = ledger.ingest([received(1), received(1)])
    assert (report.added, report.duplicates) == (1, 1)
    assert ledger.object_count() == 1


def test_other_bytes_under_the_same_uid_are_kept_and_shown(ledger: Ledger) -> None:
    first, second = received(1), received(1, content="other")
    ledger.ingest([first])
    assert ledger.ingest([second]).conflicts == 1
    assert ledger.ingest([second]).duplicates == 1
    (conflict,) = ledger.conflicts(STUDY)
    assert conflict.kind is ConflictKind.OTHER_BYTES
    assert (conflict.sha256_in_force, conflict.sha256_other) == (first.sha256, second.sha256)
    assert ledger.object(first.sha256) and ledger.object(second.sha256)
    (series,) = ledger.series(STUDY, Path)
    assert [one.path for one in series.instances] == [Path(first.sha256)]
    (item,) = ledger.worklist(ItemKind.CONFLICT)
    assert (item.reason, item.sha256) == ("OTHER_BYTES", second.sha256)


def test_a_known_uid_in_another_study_is_a_conflict_and_makes_no_study(ledger: Ledger) -> None:
    ledger.ingest([received(1, "1.2.3", uid="9.9"), received(1, "1.2.4", uid="9.9")])
    assert [c.kind for c in ledger.conflicts()] == [ConflictKind.OTHER_STUDY]
    assert ledger.study("1.2.4") is None


def test_a_data_set_that_contradicts_its_command_is_kept_under_its_own_uid(ledger: Ledger) -> None:
    report = ledger.ingest([received(1, command_uid="1.2.3.4")])
    assert (report.added, report.conflicts) == (1, 1)
    assert [c.kind for c in ledger.conflicts()] == [ConflictKind.UID_MISMATCH]
    (series,) = ledger.series(STUDY, Path)
    assert series.instances[0].sop_instance_uid == received(1).sop_instance_uid


def unreadable(sha256: str = "f" * 64) -> ReceivedObject:
    return ReceivedObject(sha256, 10, "1.2", "1.2.3", "1.2", "A", "B", "peer", "a1", 1.0, None, "NOT_DICOM")


def test_an_unreadable_object_is_kept_named_and_blocks_nobody(ledger: Ledger) -> None:
    report = ledger.ingest([unreadable(), received(1)])
    assert (report.added, report.quarantined) == (1, 1)
    (item,) = ledger.worklist(ItemKind.QUARANTINE)
    assert (item.reason, item.sha256) == ("NOT_DICOM", "f" * 64)
    kept = ledger.object("f" * 64)
    assert kept is not None and kept.failure == "NOT_DICOM"
    assert ledger.ingest([unreadable()]).duplicates == 1


def test_an_object_that_can_be_read_at_last_leaves_quarantine(ledger: Ledger) -> None:
    readable = received(1)
    ledger.ingest([unreadable(readable.sha256)])
    assert ledger.ingest([readable]).added == 1
    kept = ledger.object(readable.sha256)
    assert kept is not None and kept.failure == ""
    assert ledger.worklist(ItemKind.QUARANTINE) == ()
    assert ledger.ingest([readable]).duplicates == 1


def test_a_batch_and_its_cursor_move_together_or_not_at_all(ledger: Ledger) -> None:
    ledger.ingest([received(1), Counted("receive_refused", 2)], CursorMove("journal", "", "1:10"))
    with pytest.raises(LedgerError) as raised:
        ledger.ingest([received(2), Counted("receive_refused", 5)], CursorMove("journal", "", "1:20"))
    assert raised.value.reason == "CURSOR_MOVED"
    assert ledger.cursor("journal") == "1:10"
    assert ledger.object_count() == 1
    assert counted(ledger, "receive_refused") == 2


def test_a_late_instance_reopens_a_settled_study(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    claim = ledger.claim("w", worker)
    assert claim is not None
    ledger.settle(claim, StudyState.LINKED)
    assert ledger.ingest([received(1)]).reopened == ()
    assert ledger.ingest([received(2)]).reopened == (STUDY,)
    study = ledger.study(STUDY)
    assert study is not None
    assert (study.state, study.generation, study.settled_at) == (StudyState.ASSEMBLING, 2, None)


def test_a_late_instance_before_any_work_only_waits_again(ledger: Ledger) -> None:
    make_ready(ledger, STUDY)
    assert ledger.ingest([received(2)]).reopened == ()
    study = ledger.study(STUDY)
    assert study is not None
    assert (study.state, study.generation) == (StudyState.ASSEMBLING, 1)


def test_a_late_instance_during_the_work_keeps_the_lease_and_asks_for_more_work(
    ledger: Ledger, worker: WorkerSettings
) -> None:
    make_ready(ledger, STUDY)
    claim = ledger.claim("w", worker)
    assert claim is not None
    ledger.ingest([received(2, association="late"), ended("late")])
    ledger.promote_complete(0, 1e9)
    assert ledger.claim("other", worker) is None
    assert ledger.settle(claim, StudyState.NO_MATCH) is StudyState.READY
    again = ledger.claim("other", worker)
    assert again is not None
    assert (again.generation, again.attempt) == (2, 1)


def test_identities_are_the_distinct_ones(ledger: Ledger) -> None:
    ledger.ingest(
        [
            received(1, PatientID="P1", PatientName="PHANTOM^0001", PatientSex="F"),
            received(2, PatientID="P1", PatientName="PHANTOM^0001", PatientSex="F"),
            received(3, PatientID=["a", "b"], IssuerOfPatientID="SITE", PatientBirthDate=None),
        ]
    )
    assert set(ledger.identities(STUDY)) == {
        ReceivedIdentity("P1", "", "PHANTOM^0001", "", "F"),
        ReceivedIdentity("a\\b", "SITE", "", "", ""),
    }


def test_persons_of_an_identifier_are_counted_once_each(ledger: Ledger) -> None:
    for number, person in enumerate(["p1", "p2", "p1", "p3"]):
        ledger.ingest([received(number, person=PersonSeen(ALICE, person))])
    assert ledger.persons(ALICE) == 3


def test_two_sources_of_the_same_study_do_not_get_in_each_others_way(ledger: Ledger) -> None:
    """An archive may send a study and have it fetched at the same time."""
    objects = [received(n) for n in range(60)] + [received(n, content="other") for n in range(5)]
    together = threading.Barrier(2)

    def ingest(items: list[ReceivedObject]) -> None:
        for start in range(0, len(items), 13):
            together.wait(60)
            ledger.ingest(items[start : start + 13])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(ingest, objects), pool.submit(ingest, objects[::-1])]:
            done.result()
    assert counted(ledger, "ingest_added") == 60
    assert counted(ledger, "ingest_duplicate") == 65
    assert counted(ledger, "ingest_conflict") == 5
    assert len(ledger.conflicts()) == 5
    assert ledger.object_count() == 65


def test_bytes_are_releasable_only_some_time_after_the_study_settled(
    ledger: Ledger, clock: Clock, worker: WorkerSettings
) -> None:
    make_ready(ledger, "1.1", "1.2")
    for state in (StudyState.ENROLLED, StudyState.REVIEW):
        claim = ledger.claim("w", worker)
        assert claim is not None
        ledger.settle(claim, state)
    assert ledger.releasable_objects(60) == ()
    clock.pass_(61)
    (sha256,) = ledger.releasable_objects(60)
    ledger.mark_released((sha256,))
    assert ledger.releasable_objects(60) == ()
    assert ledger.object_count() == 2


def test_batches_of_a_thousand_fit_into_one_statement(ledger: Ledger) -> None:
    report = ledger.ingest([received(n) for n in range(1500)])
    assert report.added == 1500
    assert ledger.ingest([received(n) for n in range(1500)]).duplicates == 1500
