"""What deploy/ says is what the service understands."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest

from config.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def test_the_tours_site_file_can_be_used(tmp_path: Path) -> None:
    settings = load_settings(DEPLOY / "tour" / "site.toml", {}, tmp_path)
    assert settings.archive.kind == "orthanc"
    assert settings.archive.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", ["orthanc.json", "tour/orthanc.json"])
def test_orthanc_configurations_are_json_once_comments_are_gone(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    found = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert found["RemoteAccessAllowed"] is False, "loopback by default"
    assert "RegisteredUsers" not in found, "no password stands in a file that ships"


def test_the_composition_sets_only_variables_that_are_settings(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^\s+(MEDREID_\w+): \"?([^\"\n]*)\"?$", text, flags=re.MULTILINE))
    assert len(variables) > 5
    settings = load_settings(None, variables, tmp_path)
    assert settings.archive.kind == "orthanc"
    assert settings.dicom.allowed_calling_ae_titles == ("ORTHANC",)
    assert all(port.startswith("127.0.0.1:") for port in re.findall(r'^\s+- "(\S+:\d+)"$', text, flags=re.MULTILINE))


def test_the_unit_runs_as_nobody_special_and_checks_its_settings_first() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "medreid.service")
    service = unit["Service"]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ExecStartPre"].endswith("check-config")
    assert service["ExecStart"].endswith("serve")


def test_the_container_copies_every_package_and_runs_as_a_user() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    for package in ("config", "inference", "training", "deid", "dicom_node"):
        assert f"COPY {package} {package}" in text
    assert re.search(r"^USER (?!root)", text, flags=re.MULTILINE)
