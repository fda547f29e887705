"""``medreid train`` at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.errors import TrainingError
from dicom_node.cli.app import command_line
from tests.learning.tiny import RECIPE, write_films

RUN = CliRunner()


def test_a_recipe_and_a_manifest_become_a_bundle_that_models_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDREID_HOME", str(tmp_path / "home"))
    films = write_films(tmp_path / "films")
    (tmp_path / "own.toml").write_text(RECIPE.replace("films/manifest.csv", "nowhere.csv"))
    arguments = ["train", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out"), "--accelerator", "cpu",
                 "--manifest", str(films), "--processes", "1"]  # fmt: skip
    done = RUN.invoke(command_line(), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "rank-1" in done.output
    assert "step 6:" in done.stderr
    assert (tmp_path / "out" / "tiny" / "bundle.toml").is_file()
    with pytest.raises(TrainingError, match="--resume"):
        RUN.invoke(command_line(), arguments, catch_exceptions=False)
    assert RUN.invoke(command_line(), [*arguments, "--resume"], catch_exceptions=False).exit_code == 0


def test_help_costs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from dicom_node.cli.app import command_line; command_line(); "
        "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
