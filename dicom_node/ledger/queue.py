"""The study's row is the queue: due, leased, settled. Nothing waits only in memory."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from config.errors import LeaseLostError
from config.settings import WorkerSettings
from dicom_node.ledger.models import Association, Study, StudyAssociation
from dicom_node.ledger.records import Claim, ItemKind, StudyState
from dicom_node.ledger.worklist import Worklist

# Clocks of hosts may differ by this many seconds, and a transaction may have waited since it read the time: only what
# lies further in the future than it could have been put there was written by a clock that has since been set back.
CLOCK_TOLERANCE = 60.0

WORKER_DIED = "WORKER_DIED"
QUARANTINED = "study_quarantined"
RETRIED = "study_retried"
# Enough to come later in the order of the queue, too little to be noticed.
_STEP_SECONDS = 0.001


class Queue(Worklist):
    def promote_complete(self, quiet_seconds: float, stale_seconds: float) -> tuple[str, ...]:
        """ASSEMBLING studies that are complete become READY; returns their UIDs.

        Complete is: quiet for ``quiet_seconds`` with every delivering association ended, or quiet for
        ``stale_seconds`` whatever associations do.
        """
        now = self.now()
        assembling = Study.state == StudyState.ASSEMBLING.value
        still_open = exists().where(
            StudyAssociation.study_uid == Study.study_uid,
            StudyAssociation.association == Association.id,
            Association.ended_at.is_(None),
        )
        quiet = (Study.last_instance_at <= now - quiet_seconds) & ~still_open
        with self._write() as session:
            # A clock that was set back must not hold a study for the hours it lost.
            future = update(Study).where(assembling, Study.last_instance_at > now + CLOCK_TOLERANCE)
            session.execute(future.values(last_instance_at=now))
            complete = select(Study.study_uid).where(
                assembling, or_(quiet, Study.last_instance_at <= now - stale_seconds)
            )
            uids = tuple(session.scalars(complete.order_by(Study.study_uid).with_for_update(of=Study)))
            ready = update(Study).where(Study.study_uid.in_(uids))
            session.execute(ready.values(state=StudyState.READY.value, due_at=now))
            return uids

    def step_behind(self, study_uids: Sequence[str]) -> None:
        """Lets READY studies wait until all that became READY with them have been claimed."""
        if not study_uids:
            return
        with self._write() as session:
            waiting = update(Study).where(Study.study_uid.in_(study_uids), Study.state == StudyState.READY.value)
            session.execute(waiting.values(due_at=Study.due_at + _STEP_SECONDS, retry_wait=_STEP_SECONDS))

    def claim(self, owner: str, worker: WorkerSettings) -> Claim | None:
        """Leases the READY study that has been due for longest; None when there is none.

        A study whose workers died ``max_attempts`` times (its lease ran out each time) is quarantined as
        ``WORKER_DIED`` instead.
        """
        while True:
            with self._write() as session:
                study = self._next_due(session)
                if study is None:
                    return None
                if study.attempts < worker.max_attempts:
                    return self._lease(session, study, owner, worker.lease_seconds)
                self._quarantine(study, WORKER_DIED)
                session.flush()

    def claim_study(self, study_uid: str, owner: str, lease_seconds: float) -> Claim | None:
        """Leases one settled or READY study, for a person who acts on it; None while somebody else works on it."""
        now = self.now()
        with self._write() as session:
            study = session.get(Study, study_uid, with_for_update=True, populate_existing=True)
            if study is None or study.state == StudyState.ASSEMBLING.value or _leased(study, now):
                return None
            return self._lease(session, study, owner, lease_seconds)

    def renew(self, claim: Claim) -> Claim:
        """Extends a lease by its own length from now.

        Raises
        ------
        LeaseLostError
            when the lease ran out and was taken, or was given up.
        """
        with self._write() as session:
            study = self._held(session, claim)
            study.lease_until = self.now() + claim.lease_seconds
            session.flush()
            return _claim_of(study, claim.owner)

    def settle(self, claim: Claim, state: StudyState, reason: str = "") -> StudyState:
        """Ends the work on a study in a settled state and gives the lease back.

        Returns the state that the study is in now: ``state``, or ASSEMBLING or READY when instances arrived
        during the work. Then the work is done again with all of them.

        Raises
        ------
        LeaseLostError
            when the lease is no longer ours: what was done must not be recorded.
        """
        if not state.settled:
            raise ValueError(f"{state} is no state to settle in")
        with self._write() as session:
            study = self._held(session, claim)
            if study.generation == claim.generation:
                study.state, study.last_reason, study.settled_at = state.value, reason, self.now()
                study.attempts, study.retry_wait = 0, 0.0
                if state is StudyState.QUARANTINED:
                    self._quarantine(study, reason)
            _free(study)
            session.flush()
            return StudyState(study.state)

    def retry_later(self, claim: Claim, reason: str, worker: WorkerSettings) -> StudyState:
        """Gives a study back after a failure: due again after an exponentially growing wait with jitter.

        After ``max_attempts`` the study is quarantined with ``reason``. Returns the state it is in now.
        """
        with self._write() as session:
            study = self._held(session, claim)
            if study.generation == claim.generation:
                study.last_reason = reason
                if study.attempts >= worker.max_attempts:
                    self._quarantine(study, reason)
                else:
                    study.retry_wait = backoff(study.attempts, worker)
                    study.state, study.due_at = StudyState.READY.value, self.now() + study.retry_wait
                    self.count(RETRIED, reason=reason)
            _free(study)
            session.flush()
            return StudyState(study.state)

    def release(self, claim: Claim) -> None:
        """Gives a study back untouched, as a worker does that is asked to stop; the attempt is not counted."""
        with self._write() as session:
            study = self._held(session, claim)
            if study.generation == claim.generation:
                study.attempts = max(0, study.attempts - 1)
            _free(study)
            session.flush()

    def requeue(self, study_uid: str) -> bool:
        """Puts a settled study back into the queue, as a person does after removing the cause of a failure."""
        now = self.now()
        with self._write() as session:
            study = session.get(Study, study_uid, with_for_update=True, populate_existing=True)
            if study is None or not StudyState(study.state).settled or _leased(study, now):
                return False
            study.state, study.due_at, study.settled_at = StudyState.READY.value, now, None
            study.attempts, study.retry_wait, study.last_reason = 0, 0.0, ""
            study.generation += 1
            session.flush()
            return True

    def _next_due(self, session: Session) -> Study | None:
        now = self.now()
        due = or_(Study.due_at <= now, Study.due_at > now + Study.retry_wait + CLOCK_TOLERANCE)
        free = or_(
            Study.lease_until.is_(None),
            Study.lease_until <= now,
            Study.lease_until > now + Study.lease_seconds + CLOCK_TOLERANCE,
        )
        statement = (
            select(Study).where(Study.state == StudyState.READY.value, due, free).order_by(Study.due_at).limit(1)
        )
        statement = statement.with_for_update(skip_locked=True).execution_options(populate_existing=True)
        return session.scalars(statement).first()

    def _lease(self, session: Session, study: Study, owner: str, lease_seconds: float) -> Claim:
        study.lease_owner, study.lease_token = owner, uuid.uuid4().hex
        study.lease_seconds, study.lease_until = lease_seconds, self.now() + lease_seconds
        study.attempts += 1
        session.flush()
        return _claim_of(study, owner)

    def _held(self, session: Session, claim: Claim) -> Study:
        study = session.get(Study, claim.study_uid, with_for_update=True, populate_existing=True)
        if study is None or study.lease_token != claim.token:
            raise LeaseLostError("the study is no longer leased to this worker; its work is dropped")
        return study

    def _quarantine(self, study: Study, reason: str) -> None:
        study.state, study.last_reason, study.settled_at = StudyState.QUARANTINED.value, reason, self.now()
        _free(study)
        self.count(QUARANTINED, reason=reason)
        self.open_item(ItemKind.QUARANTINE, reason, study_uid=study.study_uid)


def backoff(attempt: int, worker: WorkerSettings) -> float:
    """Seconds until the next try: doubled each time up to the maximum, less a random part of up to a half."""
    longest = min(worker.retry_seconds * 2.0 ** min(attempt - 1, 63), worker.max_retry_seconds)
    # Studies that failed together must not come back together.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


def _leased(study: Study, now: float) -> bool:
    longest = study.lease_seconds + CLOCK_TOLERANCE
    return study.lease_until is not None and now < study.lease_until <= now + longest


def _free(study: Study) -> None:
    study.lease_owner, study.lease_token, study.lease_seconds, study.lease_until = "", "", 0.0, None


def _claim_of(study: Study, owner: str) -> Claim:
    return Claim(
        study_uid=study.study_uid,
        generation=study.generation,
        attempt=study.attempts,
        owner=owner,
        token=study.lease_token,
        lease_seconds=study.lease_seconds,
        until=study.lease_until or 0.0,
    )
