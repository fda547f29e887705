"""Whatever happens in whatever order, the queue keeps its promises; on SQLite, because thousands of steps are tried."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from config.errors import LeaseLostError
from config.settings import load_settings
from dicom_node.ledger import Claim, Ledger, StudyState
from tests.ledger.builders import Clock, ended, received

WORKER = load_settings(environment={}, home=Path("unused")).worker
SETTLED = [state for state in StudyState if state.settled]
STUDIES = ["1.1", "1.2", "1.3"]


class QueueMachine(RuleBasedStateMachine):
    """A model that knows who holds which study until when, beside the ledger that must agree."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.ledger = Ledger.open(f"sqlite:///{self.folder.name}/ledger.sqlite3", clock=self.clock)
        self.sent: dict[str, int] = {}
        self.holder: dict[str, Claim] = {}
        self.last_heard: dict[str, float] = {}

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def state(self, study: str) -> StudyState:
        record = self.ledger.study(study)
        assert record is not None
        return record.state

    @rule(study=st.sampled_from(STUDIES), ends=st.booleans())
    def arrive(self, study: str, ends: bool) -> None:
        before = self.ledger.study(study)
        number = self.sent[study] = self.sent.get(study, 0) + 1
        name = f"{study} {number}"
        self.ledger.ingest([received(number, study, association=name), *([ended(name)] if ends else [])])
        self.last_heard[study] = self.clock.now
        after = self.ledger.study(study)
        assert after is not None and after.state is StudyState.ASSEMBLING and after.instances == number
        if before is not None:
            worked_on = before.state.settled or before.lease_until is not None
            assert after.generation == before.generation + worked_on

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def arrive_again(self, data: st.DataObject) -> None:
        study = data.draw(st.sampled_from(sorted(self.sent)))
        before = self.ledger.study(study)
        self.ledger.ingest([received(1, study)])
        assert self.ledger.study(study) == before

    @rule()
    def complete(self) -> None:
        for study in self.ledger.promote_complete(10, 300):
            assert self.clock.now - self.last_heard[study] >= 10

    @rule(seconds=st.sampled_from([1.0, 11.0, 130.0, 301.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @rule(target=claims)
    def claim(self) -> Claim | None:
        claim = self.ledger.claim("w", WORKER)
        if claim is not None:
            held = self.holder.get(claim.study_uid)
            assert held is None or held.until <= self.clock.now, "claimed twice"
            self.holder[claim.study_uid] = claim
        return claim

    @rule(claim=claims)
    def renew(self, claim: Claim | None) -> None:
        if claim is None:
            return
        try:
            renewed = self.ledger.renew(claim)
        except LeaseLostError:
            assert self.holder.get(claim.study_uid) != claim
        else:
            assert self.holder[claim.study_uid].token == claim.token
            self.holder[claim.study_uid] = renewed

    @rule(claim=consumes(claims), state=st.sampled_from(SETTLED))
    def settle(self, claim: Claim | None, state: StudyState) -> None:
        if claim is None:
            return
        before = self.ledger.study(claim.study_uid)
        assert before is not None
        try:
            found = self.ledger.settle(claim, state)
        except LeaseLostError:
            assert self.not_held(claim)
            return
        assert found is (state if before.generation == claim.generation else before.state)
        del self.holder[claim.study_uid]

    @rule(claim=consumes(claims))
    def fail(self, claim: Claim | None) -> None:
        if claim is None:
            return
        try:
            found = self.ledger.retry_later(claim, "FAILED", WORKER)
        except LeaseLostError:
            assert self.not_held(claim)
            return
        assert found in (StudyState.READY, StudyState.ASSEMBLING, StudyState.QUARANTINED)
        del self.holder[claim.study_uid]

    def not_held(self, claim: Claim) -> bool:
        held = self.holder.get(claim.study_uid)
        if held is not None and held.token == claim.token:
            # Its worker was believed dead often enough for the study to be quarantined.
            return self.state(claim.study_uid) is not StudyState.READY or held.until <= self.clock.now
        return True

    @invariant()
    def everything_sent_is_there_once(self) -> None:
        assert self.ledger.object_count() == sum(self.sent.values())

    @invariant()
    def only_unsettled_studies_are_leased(self) -> None:
        for study in self.sent:
            record = self.ledger.study(study)
            assert record is not None
            assert not (record.state.settled and record.lease_until is not None)
            assert record.attempts <= WORKER.max_attempts


QueueMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestQueue = QueueMachine.TestCase
