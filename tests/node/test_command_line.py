"""The command line: exit codes that mean something, errors that say what to do, JSON for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.cli.exits import Exit
from tests.node.films import known, write_film


def medreid(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDREID_")}
    environment |= {"MEDREID_HOME": str(home), **variables}
    command = [sys.executable, "-m", "dicom_node.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_an_unknown_setting_is_exit_2_and_one_line_that_names_it(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[dicom]\nprot = 104\n")
    done = medreid(tmp_path / "home", "--config", str(site), "status")
    assert done.returncode == Exit.USAGE
    assert "dicom.prot" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_accepts_the_defaults_and_shows_what_the_rules_do_with_a_folder(tmp_path: Path) -> None:
    write_film(tmp_path / "films", 1, 0, known(1))
    (tmp_path / "films" / "notes.txt").write_text("not DICOM")
    done = medreid(tmp_path / "home", "check-config", str(tmp_path / "films"), "--json")
    assert done.returncode == Exit.OK, done.stderr
    found = json.loads(done.stdout)
    assert found["missing_encoders"] == []
    assert {name for row in found["dry_run"] for name in row["route"]["encoders"]} == {"general"}
    assert any(row["route"]["reason"] == "NOT_DICOM" for row in found["dry_run"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[imaging]\nallow = ["NO_SUCH_REASON"]\n', "NO_SUCH_REASON"),
        ('[orphans]\nplaceholder_id_patterns = ["(a+)+b"]\n', "placeholder_id_patterns"),
        ('[routing]\nfile = "nowhere.toml"\n', "nowhere.toml"),
    ],
)
def test_check_config_names_what_cannot_be_used(tmp_path: Path, text: str, named: str) -> None:
    site = tmp_path / "site.toml"
    site.write_text(text)
    done = medreid(tmp_path / "home", "--config", str(site), "check-config")
    assert done.returncode == Exit.USAGE
    assert named in done.stderr


def test_a_routing_rule_for_an_encoder_without_bundle_is_exit_6(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'version = 1\n[[rules]]\nname = "all"\nwhy = "a test"\nencoders = ["no-such-encoder"]\n'
        'when = [{ attribute = "Modality", any = { present = true } }]\n'
    )
    done = medreid(tmp_path / "home", "check-config", MEDREID_ROUTING__FILE=str(rules))
    assert done.returncode == Exit.BROKEN, done.stderr
    assert "no-such-encoder" in done.stdout


def test_what_is_not_there_is_exit_3(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert medreid(home, "enrol", str(tmp_path / "nowhere")).returncode == Exit.NOT_FOUND
    for command in ("approve", "reject", "undo", "retry", "forget"):
        done = medreid(home, command, "1.2.3")
        assert done.returncode == Exit.NOT_FOUND, (command, done.stderr)


def test_a_database_that_is_away_is_exit_5(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/medreid"
    done = medreid(tmp_path / "home", "status", MEDREID_LEDGER__URL=url)
    assert done.returncode == Exit.UNAVAILABLE, done.stderr


def test_enrol_reads_folders_counts_what_is_no_dicom_and_says_so_in_json(tmp_path: Path) -> None:
    write_film(tmp_path / "films", 1, 0, known(1))
    (tmp_path / "films" / "notes.txt").write_text("not DICOM")
    home = tmp_path / "home"
    done = medreid(home, "enrol", str(tmp_path / "films"), "--walk", "--json")
    assert done.returncode == Exit.OK, done.stderr
    found = json.loads(done.stdout)
    assert (found["import"]["added"], found["import"]["refused"]) == (1, {"NOT_DICOM": 1})
    assert found["studies"] == {"ENROLLED": 1}
    status = json.loads(medreid(home, "status", "--json").stdout)
    assert status["listener"] == "NOT_LISTENING"
    assert status["status"]["patients"] == 1
    assert medreid(home, "status", "--check").returncode == Exit.BROKEN
    assert json.loads(medreid(home, "worklist", "--json").stdout) == []


def test_orphans_in_one_folder_with_their_patients_are_searched_after_those_were_enrolled(tmp_path: Path) -> None:
    for person in range(3):
        write_film(tmp_path / "films", person, 0, known(person))
        write_film(tmp_path / "films", person, 1, None)
    home = tmp_path / "home"
    done = medreid(home, "enrol", str(tmp_path / "films"), "--walk", "--json")
    assert json.loads(done.stdout)["studies"] == {"ENROLLED": 3, "REVIEW": 3}, done.stderr
    for row in json.loads(medreid(home, "worklist", "--json").stdout):
        assert row["decision"]["evidence"]["searched"] == 3


def test_an_audit_that_was_tampered_with_is_exit_6_and_names_the_row(tmp_path: Path) -> None:
    import sqlite3

    home = tmp_path / "home"
    write_film(tmp_path / "films", 1, 0, known(1))
    assert medreid(home, "enrol", str(tmp_path / "films"), "--walk").returncode == Exit.OK
    assert medreid(home, "audit", "verify").returncode == Exit.OK
    with sqlite3.connect(home / "ledger.sqlite3") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 1")
    database.close()
    done = medreid(home, "audit", "verify")
    assert done.returncode == Exit.BROKEN
    assert "row 1" in done.stdout


def test_embeddings_are_sealed_with_the_key_of_the_settings(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    write_film(tmp_path / "films", 1, 0, known(1))
    home = tmp_path / "home"
    sealed = {"MEDREID_NODE__EMBEDDING_KEY_FILE": str(key)}
    assert medreid(home, "enrol", str(tmp_path / "films"), "--walk", **sealed).returncode == Exit.OK
    status = json.loads(medreid(home, "status", "--json", **sealed).stdout)
    assert (status["status"]["embeddings"], status["status"]["unsealed_embeddings"]) == (1, 0)
    assert not list((home / "gallery").glob("*")) if (home / "gallery").exists() else True
