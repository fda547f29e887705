from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from config.errors import LedgerError
from config.settings import load_settings
from dicom_node.ledger import Ledger
from dicom_node.ledger.database import REVISION, WRITES, connect, migrate, migration_config
from dicom_node.ledger.models import Base


def test_migrations_make_what_the_models_describe(empty_url: str) -> None:
    engine = connect(empty_url)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_code_is_written_for_the_newest_migration(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    with engine.connect() as connection:
        assert ScriptDirectory.from_config(migration_config(connection)).get_heads() == [REVISION]
    engine.dispose()


def test_up_and_down_and_up_again(empty_url: str) -> None:
    engine = connect(empty_url)
    migrate(engine)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.downgrade(migration_config(connection), "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    migrate(engine)
    engine.dispose()
    with Ledger.open(empty_url) as ledger:
        assert ledger.audit_head().seq == 0


def test_opening_again_keeps_what_was_there(empty_url: str) -> None:
    with Ledger.open(empty_url) as ledger:
        ledger.count("kept", 3)
    with Ledger.open(empty_url) as ledger:
        assert [(c.name, c.value) for c in ledger.counters()] == [("kept", 3)]


def test_a_newer_ledger_is_refused(empty_url: str) -> None:
    Ledger.open(empty_url).close()
    engine = connect(empty_url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="9999") as raised:
        Ledger.open(empty_url)
    assert raised.value.reason == "LEDGER_NEWER"


def test_processes_that_open_a_new_ledger_together_all_succeed(empty_url: str) -> None:
    code = "import sys; from dicom_node.ledger import Ledger; Ledger.open(sys.argv[1]).count('opened')"
    children = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0] * 3
    with Ledger.open(empty_url) as ledger:
        assert ledger.counters()[0].value == 3


def test_the_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite3"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        with ledger._engine.connect() as connection:
            pragmas = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite://", "sqlite:///:memory:", "not an address"])
def test_addresses_that_cannot_serve_are_refused(url: str) -> None:
    with pytest.raises(LedgerError) as raised:
        Ledger.open(url)
    assert raised.value.reason == "LEDGER_URL"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="check the path"):
        Ledger.open(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite3'}")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"certainly no database" * 100)
    with pytest.raises(LedgerError) as raised:
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    assert raised.value.reason == "LEDGER_FAILED"


def test_a_database_that_is_away_is_named_without_its_address() -> None:
    with pytest.raises(LedgerError) as raised:
        Ledger.open("postgresql://someone:secret@127.0.0.1:1/none?connect_timeout=2")
    assert raised.value.reason == "LEDGER_UNAVAILABLE"
    assert "secret" not in str(raised.value)


def test_the_ledger_of_a_node_lies_in_its_home(tmp_path: Path) -> None:
    settings = load_settings(environment={}, home=tmp_path / "home")
    Ledger.of(settings).close()
    assert (tmp_path / "home" / "ledger.sqlite3").is_file()
