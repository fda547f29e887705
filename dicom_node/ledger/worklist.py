"""The worklist: what a person is asked to look at, why, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from config.errors import LedgerError
from dicom_node.ledger.chain import Audit
from dicom_node.ledger.database import insert_new
from dicom_node.ledger.models import WorkItem
from dicom_node.ledger.records import ItemKind, WorklistItem


class Worklist(Audit):
    def open_item(
        self,
        kind: ItemKind,
        reason: str,
        *,
        study_uid: str = "",
        sha256: str = "",
        decision_id: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Puts something on the worklist; an open item of the same kind, reason and subject is updated instead.

        ``reason`` is a stable upper-case name; ``detail`` is JSON. Returns the item's number.
        """
        values = {"decision_id": decision_id, "detail": dict(detail or {})}
        with self._write() as session:
            subject = {"kind": kind.value, "reason": reason, "study_uid": study_uid, "sha256": sha256}
            fresh = {"opened_at": self.now(), "closed_by": "", "resolution": ""}
            insert_new(session, WorkItem, [subject | values | fresh])
            same = select(WorkItem).filter_by(**subject).where(WorkItem.closed_at.is_(None))
            row = session.scalars(same).one()
            row.decision_id, row.detail = decision_id, values["detail"]
            session.flush()
            return row.id

    def close_items(
        self,
        by: str,
        resolution: str,
        *,
        item_id: int | None = None,
        study_uid: str | None = None,
        kind: ItemKind | None = None,
    ) -> int:
        """Closes one item, or the open items of a study (of one kind); returns how many.

        Raises
        ------
        LedgerError
            when neither an item nor a study is named.
        """
        if item_id is None and not study_uid:
            raise LedgerError("an item or a study must be named to close worklist items", reason="LEDGER_FAILED")
        with self._write() as session:
            return _close(session, self.now(), by, resolution, item_id, study_uid, kind)

    def worklist(
        self,
        kind: ItemKind | None = None,
        *,
        study_uid: str | None = None,
        sha256: str | None = None,
        closed: bool = False,
        limit: int = 1000,
    ) -> tuple[WorklistItem, ...]:
        """Open items (or closed ones), oldest first."""
        statement = select(WorkItem).order_by(WorkItem.opened_at, WorkItem.id).limit(limit)
        statement = statement.where(WorkItem.closed_at.isnot(None) if closed else WorkItem.closed_at.is_(None))
        if kind is not None:
            statement = statement.where(WorkItem.kind == kind.value)
        if study_uid is not None:
            statement = statement.where(WorkItem.study_uid == study_uid)
        if sha256 is not None:
            statement = statement.where(WorkItem.sha256 == sha256)
        with self._read() as session:
            return tuple(_record(row) for row in session.scalars(statement))

    def worklist_item(self, item_id: int) -> WorklistItem | None:
        with self._read() as session:
            row = session.get(WorkItem, item_id)
            return None if row is None else _record(row)


def _close(
    session: Session,
    now: float,
    by: str,
    resolution: str,
    item_id: int | None,
    study_uid: str | None,
    kind: ItemKind | None,
) -> int:
    statement = update(WorkItem).where(WorkItem.closed_at.is_(None))
    if item_id is not None:
        statement = statement.where(WorkItem.id == item_id)
    if study_uid:
        statement = statement.where(WorkItem.study_uid == study_uid)
    if kind is not None:
        statement = statement.where(WorkItem.kind == kind.value)
    statement = statement.values(closed_at=now, closed_by=by, resolution=resolution).returning(WorkItem.id)
    return len(session.scalars(statement).all())


def _record(row: WorkItem) -> WorklistItem:
    return WorklistItem(
        id=row.id,
        kind=ItemKind(row.kind),
        reason=row.reason,
        study_uid=row.study_uid,
        sha256=row.sha256,
        decision_id=row.decision_id,
        detail=row.detail,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        resolution=row.resolution,
    )
