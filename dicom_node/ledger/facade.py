"""The one door to the database."""

from __future__ import annotations

import time
from typing import Self

from config.errors import LedgerError
from config.settings import Settings
from dicom_node.ledger.core import Clock
from dicom_node.ledger.crypto import Seal, read_key
from dicom_node.ledger.database import connect, migrate, named_errors
from dicom_node.ledger.decisions import Decisions, Patients, Relinks
from dicom_node.ledger.embeddings import Embeddings
from dicom_node.ledger.status import Status
from dicom_node.ledger.studies import Studies
from dicom_node.ledger.templates import Templates


class Ledger(Studies, Embeddings, Templates, Decisions, Relinks, Patients, Status):
    """Everything the node remembers. Shared by threads and by processes; each process opens its own.

    Calls made inside ``with ledger.transaction():`` happen together or not at all; each other call is a
    transaction of its own. All methods raise :class:`config.errors.LedgerError` when the database refuses.
    """

    @classmethod
    def open(cls, url: str, *, key: bytes | None = None, clock: Clock = time.time) -> Self:
        """Connects, creates what is missing and migrates what is older, one process at a time.

        ``key`` (32 bytes) seals embeddings and templates at rest. ``clock`` gives seconds since the epoch.
        """
        seal = Seal(key)
        engine = connect(url)
        try:
            with named_errors():
                migrate(engine)
        except LedgerError:
            engine.dispose()
            raise
        return cls(engine, seal, clock)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The ledger of a node with these settings."""
        return cls.open(settings.ledger_url, key=read_key(settings.node.embedding_key_file))
