"""Engines, transactions and migrations: the few places where SQLite and PostgreSQL differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from config.errors import LedgerError
from dicom_node.ledger.models import Base, Revision

if TYPE_CHECKING:
    from alembic.config import Config

# The migration this code is written for; a test keeps it equal to the newest script.
REVISION = "0002"
BUSY_SECONDS = 60.0
# Any constant will do; it only has to differ from other users of the same PostgreSQL database.
MIGRATION_LOCK = 0x6D65_6472_6569_6401

WRITES = "medreid_writes"


def connect(url: str) -> Engine:
    """An engine for ``sqlite:///file`` or ``postgresql://...`` (psycopg 3), synchronous and durable.

    Raises
    ------
    LedgerError
        when the address is none of these.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise LedgerError("ledger.url is no SQLAlchemy address; see config/default.toml", reason="LEDGER_URL") from None
    if address.get_backend_name() == "sqlite":
        return _sqlite(address)
    if address.get_backend_name() == "postgresql":
        # Parameters hold patient data: errors and logs must not show them.
        return create_engine(address.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_pre_ping=True)
    raise LedgerError(
        f"ledger.url names {address.get_backend_name()!r}; only sqlite and postgresql are supported",
        reason="LEDGER_URL",
    )


def _sqlite(address: URL) -> Engine:
    if not address.database or address.database == ":memory:":
        raise LedgerError("ledger.url needs a file: several processes share the ledger", reason="LEDGER_URL")
    _create_private(Path(address.database))
    engine = create_engine(address, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction control begins late and never immediately; "begin" below takes its place.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins as a reader can find itself unable to upgrade; it takes the lock at once.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_private(path: Path) -> None:
    """The database holds patient data: its folder and file are for the node's user alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(f"ledger file {path}: {error.strerror}; check the path and its permissions") from None


@contextmanager
def named_errors() -> Iterator[None]:
    """Turns the database's errors into :class:`LedgerError`, without statements or values."""
    try:
        yield
    except IntegrityError as error:
        raise LedgerError(f"the ledger refused a contradiction ({_kind(error)})", reason="LEDGER_INTEGRITY") from None
    except OperationalError as error:
        raise LedgerError(
            f"the ledger's database does not answer ({_kind(error)}); is it running, has its disk room?",
            reason="LEDGER_UNAVAILABLE",
        ) from None
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger's database failed ({_kind(error)})", reason="LEDGER_FAILED") from None


def _kind(error: SQLAlchemyError) -> str:
    return type(error.orig).__name__ if isinstance(error, DBAPIError) and error.orig else type(error).__name__


def insert_new(session: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows, leaving out those whose key is there already."""
    if rows:
        session.execute(_insert(session, model).on_conflict_do_nothing(), list(rows))


def insert_or_update(
    session: Session, model: type[Base], row: dict[str, Any], key: Sequence[str], changes: Sequence[str]
) -> None:
    """Inserts a row, or gives the row with the same key the values of the columns in ``changes``."""
    statement = _insert(session, model).values(**row)
    updates = {name: statement.excluded[name] for name in changes}
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=updates))


def add_to(session: Session, model: type[Base], row: dict[str, Any], key: Sequence[str], column: str) -> None:
    """Inserts a row, or adds its ``column`` to that of the row with the same key."""
    statement = _insert(session, model).values(**row)
    total = model.__table__.c[column] + statement.excluded[column]
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_={column: total}))


def take_turn(session: Session, name: str) -> None:
    """Waits until every other transaction that took its turn under this name has ended.

    On SQLite there is only one writer anyway; PostgreSQL locks the row.
    """
    insert_new(session, Revision, [{"name": name, "value": 0}])
    session.execute(select(Revision.value).where(Revision.name == name).with_for_update())


def _insert(session: Session, model: type[Base]) -> Any:
    """Both dialects know ON CONFLICT, but their statements share no type."""
    dialect = session.get_bind().dialect.name
    table: Any = model.__table__
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def migrate(engine: Engine) -> None:
    """Brings the database to :data:`REVISION`, one process at a time.

    Raises
    ------
    LedgerError
        when a newer MedReID wrote it.
    """
    with engine.connect() as connection:
        if _revision(connection) == REVISION:
            return
    from alembic import command

    with engine.execution_options(**{WRITES: True}).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        found = _revision(connection)
        if found == REVISION:
            return
        if found is not None and found > REVISION:
            raise LedgerError(
                f"the ledger has revision {found}, this MedReID knows {REVISION}: install the newer version again",
                reason="LEDGER_NEWER",
            )
        command.upgrade(migration_config(connection), "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migration_config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
