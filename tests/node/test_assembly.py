from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import AssemblySettings
from dicom_node.assembly import complete_studies
from dicom_node.ledger import Ledger, StudyState
from tests.ledger.builders import STUDY, Clock, ended, received

SETTINGS = AssemblySettings(quiet_seconds=10, stale_seconds=300)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock=clock) as opened:
        yield opened


def complete(ledger: Ledger) -> tuple[str, ...]:
    return complete_studies(ledger, SETTINGS)


def test_a_study_is_complete_when_it_is_quiet_and_its_sender_has_gone(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(9.9)
    assert complete(ledger) == ()
    clock.pass_(0.1)
    assert complete(ledger) == (STUDY,)
    assert complete(ledger) == ()
    assert ledger.counters("study_assembled")[0].value == 1


def test_every_instance_begins_the_quiet_period_again(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(9)
    ledger.ingest([received(2, association="a2"), ended("a2")])
    clock.pass_(9)
    assert complete(ledger) == ()
    clock.pass_(1)
    assert complete(ledger) == (STUDY,)


def test_one_of_several_senders_that_goes_on_holds_the_study(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1, association="a"), received(2, association="b"), ended("a")])
    clock.pass_(100)
    assert complete(ledger) == ()
    ledger.ingest([ended("b")])
    assert complete(ledger) == (STUDY,)


def test_a_sender_that_hangs_holds_only_its_own_study_and_not_for_ever(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1, "1.1", association="hangs"), received(1, "1.2", association="ends"), ended("ends")])
    clock.pass_(100)
    assert complete(ledger) == ("1.2",)
    clock.pass_(200)
    assert complete(ledger) == ("1.1",)


def test_an_association_name_used_again_is_open_again(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1, association="folder"), ended("folder"), received(2, association="folder")])
    clock.pass_(20)
    assert complete(ledger) == ()
    ledger.end_association("folder")
    assert complete(ledger) == (STUDY,)


def test_a_late_instance_makes_a_complete_study_wait_again(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(10)
    complete(ledger)
    ledger.ingest([received(2, association="late"), ended("late")])
    assert ledger.status().studies == {StudyState.ASSEMBLING: 1}
    clock.pass_(10)
    assert complete(ledger) == (STUDY,)


def test_duplicates_do_not_make_it_wait(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(9)
    ledger.ingest([received(1, association="again")])
    clock.pass_(1)
    assert complete(ledger) == (STUDY,)


def test_a_clock_set_back_by_hours_costs_a_quiet_period(ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(-7200)
    assert complete(ledger) == ()
    clock.pass_(10)
    assert complete(ledger) == (STUDY,)


def test_a_restart_forgets_nothing_of_the_wait(tmp_path: Path, ledger: Ledger, clock: Clock) -> None:
    ledger.ingest([received(1), ended()])
    clock.pass_(10)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock=clock) as again:
        assert complete(again) == (STUDY,)
