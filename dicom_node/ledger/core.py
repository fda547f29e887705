"""Transactions that span several calls, and what every part of the ledger builds on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from config.errors import LedgerError
from dicom_node.ledger.crypto import Seal
from dicom_node.ledger.database import WRITES, named_errors

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class AuditNote:
    """An audit row that waits for its transaction to end."""

    actor: str
    action: str
    subject: str
    payload: str


@dataclass(slots=True)
class Transaction:
    session: Session
    writes: bool
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[AuditNote] = field(default_factory=list)


class Core:
    """A database, a clock, and at most one open transaction per thread."""

    def __init__(self, engine: Engine, seal: Seal, clock: Clock = time.time) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{WRITES: True})
        self._seal = seal
        self._clock = clock
        self._local = threading.local()

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> float:
        """Seconds since the epoch (UTC)."""
        return self._clock()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes all calls inside it one transaction: all of them happen, or none.

        Counts and audit rows are written last, whatever the order of the calls, so that transactions
        wait for each other only at their ends and never in a circle.
        """
        with self._write():
            yield

    @contextmanager
    def _write(self) -> Iterator[Session]:
        current = self._current
        if current is not None:
            if not current.writes:
                raise LedgerError("a change was asked for inside a read", reason="LEDGER_FAILED")
            yield current.session
            return
        with self._begin(self._writer, writes=True) as opened:
            yield opened.session
            self._finish(opened)

    @contextmanager
    def _read(self) -> Iterator[Session]:
        current = self._current
        if current is not None:
            # What the transaction has changed so far must be seen by what it asks.
            yield current.session
            return
        with self._begin(self._engine, writes=False) as opened:
            yield opened.session

    @contextmanager
    def _begin(self, engine: Engine, *, writes: bool) -> Iterator[Transaction]:
        with named_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
            # Begins now, not with the first statement: the time that a writer reads must not be older than its lock.
            session.connection()
            opened = Transaction(session, writes)
            self._local.current = opened
            try:
                yield opened
            finally:
                self._local.current = None

    @property
    def _current(self) -> Transaction | None:
        current: Transaction | None = getattr(self._local, "current", None)
        return current

    def _finish(self, opened: Transaction) -> None:
        """Writes what was kept for the end; the parts that keep something extend it."""
