"""Counters that survive restarts, and cursors: both move in the transaction of what they describe."""

from __future__ import annotations

import json

from sqlalchemy import select

from config.errors import LedgerError
from dicom_node.ledger.core import Core, Transaction
from dicom_node.ledger.database import add_to, insert_new
from dicom_node.ledger.models import Counter, Cursor
from dicom_node.ledger.records import CounterValue, CursorMove
from dicom_node.ledger.types import canonical_json


class Counters(Core):
    def count(self, name: str, n: int = 1, **labels: str) -> None:
        """Adds ``n`` to a counter. Labels are names from code or configuration, never received values."""
        with self._write():
            self._pending.counts[name, canonical_json(labels)] += n

    def counters(self, name: str | None = None) -> tuple[CounterValue, ...]:
        statement = select(Counter).order_by(Counter.name, Counter.labels)
        if name is not None:
            statement = statement.where(Counter.name == name)
        with self._read() as session:
            return tuple(
                CounterValue(row.name, json.loads(row.labels), row.value) for row in session.scalars(statement)
            )

    def cursor(self, name: str) -> str:
        """The stored position; empty text when there is none yet."""
        with self._read() as session:
            return session.scalar(select(Cursor.value).where(Cursor.name == name)) or ""

    def move_cursor(self, move: CursorMove) -> None:
        """
        Raises
        ------
        LedgerError
            when the cursor is not where ``move`` begins: another process reads the same source.
        """
        with self._write() as session:
            insert_new(session, Cursor, [{"name": move.name, "value": ""}])
            row = session.get(Cursor, move.name, with_for_update=True, populate_existing=True)
            if row is None or row.value != move.old:
                raise LedgerError(
                    f"cursor {move.name} was moved by another process; only one may read it", reason="CURSOR_MOVED"
                )
            row.value = move.new
            session.flush()

    @property
    def _pending(self) -> Transaction:
        current = self._current
        assert current is not None
        return current

    def _finish(self, opened: Transaction) -> None:
        # Sorted: two transactions that touch the same counters must lock them in the same order.
        for (name, labels), n in sorted(opened.counts.items()):
            add_to(opened.session, Counter, {"name": name, "labels": labels, "value": n}, ("name", "labels"), "value")
        super()._finish(opened)
