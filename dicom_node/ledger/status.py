"""The node at a glance, for the command line, the web and the metrics."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.ledger.models import Association, Base, Conflict, Embedding, Object, Patient, Study, WorkItem
from dicom_node.ledger.records import ItemKind, NodeStatus, StudyState
from dicom_node.ledger.worklist import Worklist


class Status(Worklist):
    def status(self) -> NodeStatus:
        now = self.now()
        ready = Study.state == StudyState.READY.value
        with self._read() as session:
            states = session.execute(select(Study.state, func.count()).group_by(Study.state)).all()
            open_items = select(WorkItem.kind, func.count()).where(WorkItem.closed_at.is_(None))
            oldest = session.scalar(select(func.min(Study.due_at)).where(ready))
            return NodeStatus(
                studies={StudyState(state): n for state, n in states},
                leased=_number(session, Study, Study.lease_until > now),
                worklist={ItemKind(kind): n for kind, n in session.execute(open_items.group_by(WorkItem.kind))},
                oldest_ready_age=None if oldest is None else max(0.0, now - oldest),
                objects=_number(session, Object),
                conflicts=_number(session, Conflict),
                patients=_number(session, Patient),
                embeddings=_number(session, Embedding),
                unsealed_embeddings=_number(session, Embedding, Embedding.key_id == ""),
                open_associations=_number(session, Association, Association.ended_at.is_(None)),
                counters=self.counters(),
            )


def _number(session: Session, model: type[Base], *where: Any) -> int:
    return session.scalar(select(func.count()).select_from(model).where(*where)) or 0
