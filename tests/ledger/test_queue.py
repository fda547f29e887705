from __future__ import annotations

import pytest

from config.errors import LeaseLostError
from config.settings import WorkerSettings
from dicom_node.ledger import Claim, ItemKind, Ledger, StudyState
from dicom_node.ledger.queue import WORKER_DIED, backoff
from tests.ledger.builders import STUDY, Clock, make_ready, received


def claimed(ledger: Ledger, worker: WorkerSettings, owner: str = "w") -> Claim:
    claim = ledger.claim(owner, worker)
    assert claim is not None
    return claim


def state_of(ledger: Ledger, study: str = STUDY) -> StudyState:
    record = ledger.study(study)
    assert record is not None
    return record.state


def test_nothing_is_claimed_from_an_empty_queue(ledger: Ledger, worker: WorkerSettings) -> None:
    assert ledger.claim("w", worker) is None


def test_a_study_is_leased_to_one_worker_at_a_time(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    claim = claimed(ledger, worker)
    assert (claim.study_uid, claim.generation, claim.attempt) == (STUDY, 1, 1)
    assert ledger.claim("other", worker) is None


def test_the_study_that_was_due_first_comes_first(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    for study in ("1.3", "1.1", "1.2"):
        make_ready(ledger, study)
        clock.pass_(1)
    assert [claimed(ledger, worker).study_uid for _ in range(3)] == ["1.3", "1.1", "1.2"]


def test_an_expired_lease_is_taken_and_its_former_holder_is_told(
    ledger: Ledger, clock: Clock, worker: WorkerSettings
) -> None:
    make_ready(ledger, STUDY)
    dead = claimed(ledger, worker)
    clock.pass_(worker.lease_seconds + 1)
    alive = claimed(ledger, worker, "other")
    assert alive.attempt == 2
    for use in (
        lambda: ledger.renew(dead),
        lambda: ledger.settle(dead, StudyState.LINKED),
        lambda: ledger.retry_later(dead, "X", worker),
        lambda: ledger.release(dead),
    ):
        with pytest.raises(LeaseLostError):
            use()
    assert ledger.settle(alive, StudyState.NO_MATCH) is StudyState.NO_MATCH


def test_work_recorded_with_a_lost_lease_is_dropped_whole(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    dead = claimed(ledger, worker)
    clock.pass_(worker.lease_seconds + 1)
    claimed(ledger, worker, "other")
    with pytest.raises(LeaseLostError), ledger.transaction():
        ledger.count("linked")
        ledger.append_audit("w", "LINK", STUDY, {})
        ledger.settle(dead, StudyState.LINKED)
    assert ledger.counters("linked") == ()
    assert ledger.audit_head().seq == 0


def test_a_late_worker_may_settle_while_nobody_else_took_over(
    ledger: Ledger, clock: Clock, worker: WorkerSettings
) -> None:
    make_ready(ledger, STUDY)
    slow = claimed(ledger, worker)
    clock.pass_(worker.lease_seconds + 1)
    assert ledger.settle(slow, StudyState.NO_MATCH) is StudyState.NO_MATCH


def test_renewing_moves_the_end_of_the_lease(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    claim = claimed(ledger, worker)
    clock.pass_(worker.lease_seconds - 1)
    renewed = ledger.renew(claim)
    assert renewed.until == pytest.approx(clock.now + worker.lease_seconds)
    clock.pass_(worker.lease_seconds - 1)
    assert ledger.claim("other", worker) is None
    assert ledger.settle(claim, StudyState.ENROLLED) is StudyState.ENROLLED


def test_failures_wait_longer_each_time_and_end_in_quarantine(
    ledger: Ledger, clock: Clock, worker: WorkerSettings
) -> None:
    make_ready(ledger, STUDY)
    waits = []
    for _ in range(worker.max_attempts - 1):
        claim = claimed(ledger, worker)
        assert ledger.retry_later(claim, "ARCHIVE_UNAVAILABLE", worker) is StudyState.READY
        assert ledger.claim("w", worker) is None
        record = ledger.study(STUDY)
        assert record is not None
        waits.append(record.due_at - clock.now)
        clock.pass_(waits[-1])
    longest = [worker.retry_seconds * 2**n for n in range(len(waits))]
    assert all(most / 2 <= wait <= most + 1e-3 for wait, most in zip(waits, longest, strict=True))
    last = claimed(ledger, worker)
    assert ledger.retry_later(last, "ARCHIVE_UNAVAILABLE", worker) is StudyState.QUARANTINED
    (item,) = ledger.worklist(ItemKind.QUARANTINE)
    assert (item.reason, item.study_uid) == ("ARCHIVE_UNAVAILABLE", STUDY)
    assert ledger.claim("w", worker) is None


def test_the_wait_is_bounded(worker: WorkerSettings) -> None:
    assert all(backoff(attempt, worker) <= worker.max_retry_seconds for attempt in (1, 10, 100, 10_000))


def test_a_study_that_kills_its_workers_is_quarantined(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    for _ in range(worker.max_attempts):
        claimed(ledger, worker)
        clock.pass_(worker.lease_seconds + 1)
    assert ledger.claim("w", worker) is None
    assert state_of(ledger) is StudyState.QUARANTINED
    (item,) = ledger.worklist(ItemKind.QUARANTINE)
    assert item.reason == WORKER_DIED


def test_a_released_study_is_due_at_once_and_lost_no_attempt(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    ledger.release(claimed(ledger, worker))
    assert claimed(ledger, worker).attempt == 1


def test_a_quarantined_study_can_be_put_back(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    ledger.settle(claimed(ledger, worker), StudyState.QUARANTINED, "IMAGING")
    assert [item.reason for item in ledger.worklist()] == ["IMAGING"]
    assert ledger.requeue(STUDY)
    assert not ledger.requeue(STUDY)
    assert not ledger.requeue("1.2.3.unknown")
    assert claimed(ledger, worker).attempt == 1


def test_a_person_leases_a_settled_study_and_nobody_else_can(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    ledger.settle(claimed(ledger, worker), StudyState.REVIEW)
    mine = ledger.claim_study(STUDY, "user:a", 60)
    assert mine is not None
    assert ledger.claim_study(STUDY, "user:b", 60) is None
    assert not ledger.requeue(STUDY)
    assert ledger.claim("w", worker) is None
    assert ledger.settle(mine, StudyState.LINKED) is StudyState.LINKED


def test_a_person_who_gives_up_leaves_the_study_as_it_was(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    ledger.settle(claimed(ledger, worker), StudyState.REVIEW)
    mine = ledger.claim_study(STUDY, "user:a", 60)
    assert mine is not None
    ledger.release(mine)
    assert state_of(ledger) is StudyState.REVIEW
    assert ledger.claim_study(STUDY, "user:b", 60) is not None


def test_an_assembling_study_is_nobodys_to_claim(ledger: Ledger) -> None:
    ledger.ingest([received(1)])
    assert ledger.claim_study(STUDY, "user:a", 60) is None
    assert ledger.claim_study("1.2.3.unknown", "user:a", 60) is None


def test_only_settled_states_settle(ledger: Ledger, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    with pytest.raises(ValueError, match="READY"):
        ledger.settle(claimed(ledger, worker), StudyState.READY)


def test_a_clock_set_back_holds_neither_lease_nor_wait(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, "1.1", "1.2")
    claimed(ledger, worker)
    ledger.retry_later(claimed(ledger, worker), "X", worker)
    clock.pass_(-86_400)
    assert {claimed(ledger, worker).study_uid for _ in range(2)} == {"1.1", "1.2"}


def test_a_clock_that_lags_a_little_takes_no_lease_away(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, STUDY)
    claimed(ledger, worker)
    clock.pass_(-1)
    assert ledger.claim("other", worker) is None


def test_status_counts_what_waits(ledger: Ledger, clock: Clock, worker: WorkerSettings) -> None:
    make_ready(ledger, "1.1", "1.2")
    claimed(ledger, worker)
    clock.pass_(7)
    status = ledger.status()
    assert status.studies == {StudyState.READY: 2}
    assert status.leased == 1
    assert status.oldest_ready_age == pytest.approx(7)
    assert status.objects == 2
