"""``medreid models`` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config.errors import CommandError, EncoderError
from dicom_node.cli.app import command_line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("MEDREID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDREID_ENCODERS__BUNDLES", str(tmp_path / "site"))
    return CliRunner()


def _models(run: CliRunner, *arguments: str) -> Result:
    return run.invoke(command_line(), ["models", *arguments], catch_exceptions=False)


def test_a_bundle_is_added_listed_and_shown(run: CliRunner, bundle: Path, tmp_path: Path) -> None:
    assert "added tiny 1.0" in _models(run, "add", str(bundle)).output
    assert (tmp_path / "site" / "tiny" / "bundle.toml").is_file()
    listed = {one["name"]: one for one in json.loads(_models(run, "list", "--json").stdout)}
    assert {"general", "tiny"} <= set(listed)
    assert listed["tiny"]["bytes"] > 1000
    shown = _models(run, "show", "tiny").output
    for words in ("intended_use", "training.seed", "metrics.validation.rank-1", "Apache-2.0"):
        assert words in shown


def test_a_damaged_bundle_is_not_added(run: CliRunner, bundle: Path, tmp_path: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"weights\.safetensors"):
        _models(run, "add", str(bundle))
    assert not (tmp_path / "site").exists()


def test_encoders_are_compared_on_the_images_that_all_take(run: CliRunner, bundle: Path, trained: Path) -> None:
    _models(run, "add", str(bundle))
    manifest = str(trained / "films" / "manifest.csv")
    done = _models(run, "compare", "tiny", "general", "--manifest", manifest, "--rounds", "50", "--json")
    found = json.loads(done.stdout)
    assert set(found["methods"]) == {"tiny 1.0", "general 1.1", "pixel correlation"}
    assert (found["images"], found["patients"]) == (48, 16)
    for measured in found["methods"].values():
        figure = measured["closed_set"]["rank"]["1"]
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert "taken by every encoder" in _models(run, "compare", "tiny", "--manifest", manifest, "--rounds", "0").output


def test_what_cannot_be_compared_is_named(run: CliRunner, trained: Path) -> None:
    manifest = str(trained / "films" / "manifest.csv")
    with pytest.raises(EncoderError, match="nobody"):
        _models(run, "compare", "nobody", "--manifest", manifest)
    with pytest.raises(CommandError, match="split"):
        _models(run, "compare", "general", "--manifest", manifest, "--split", "none")
