"""``medreid manifest``: what a person sees, and the exit codes that a script may rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from config.errors import CommandError
from dicom_node.cli.app import command_line
from dicom_node.cli.exits import Exit
from tests.manifests.lookalikes import chestxray14, chexpert, listed_cxr, picture
from training.manifests.checking import check_manifest
from training.manifests.files import read_manifest, write_manifest
from training.manifests.schema import Row


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(command_line(), ["manifest", *map(str, words)])


def parsed(*words: str | Path) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*words: str | Path) -> CommandError:
    result = run(*words)
    assert isinstance(result.exception, CommandError), result.output
    return result.exception


def manifest(folder: Path, *rows: Row) -> Path:
    for row in rows:
        if not row.path.startswith(("..", "gone")):
            picture(folder / row.path)
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def test_the_adapters_are_listed() -> None:
    names = [item["name"] for item in parsed("list")]
    assert len(names) == len(set(names)) == 23
    assert "mimic-cxr-jpg" in run("list").output


def test_a_manifest_is_made_and_checked(tmp_path: Path) -> None:
    chexpert(tmp_path)
    out = tmp_path / "made.csv"
    made = parsed("make", "chexpert", tmp_path, "--out", out)
    assert (made["rows"], made["left_out"], made["beside_its_images"]) == (5, {"BAD_PATH": 1}, True)
    summary = parsed("check", out)
    assert (summary["images"], summary["studies"], summary["patients"], summary["repeated"]) == (5, 4, 3, 1)
    assert summary["split_patients"] == {"train": 2, "valid": 1}
    assert summary["views"] == {"AP": 3, "LATERAL": 1, "PA": 1}
    assert summary["problems"] == []
    shown = run("check", out)
    assert "patients in split train" in shown.output
    assert "problems: none" in shown.output


def test_splits_are_drawn_by_patient(tmp_path: Path) -> None:
    listed_cxr(tmp_path)
    out = tmp_path / "made.csv"
    words = ("make", "paediatric-cxr", tmp_path, "--out", out)
    assert run(*words, "--split", "train=0.5", "--split", "test=0.5", "--stratify", "finding").exit_code == 0
    splits = {row.split for row in read_manifest(out)}
    assert len(splits) == 1
    assert splits <= {"train", "test"}


def test_a_publishers_split_is_kept(tmp_path: Path) -> None:
    chestxray14(tmp_path)
    out = tmp_path / "made.csv"
    assert run("make", "chestxray14", tmp_path, "--out", out, "--split", "train=1").exit_code == 0
    assert {row.split for row in read_manifest(out)} == {"train_val", "test"}


def test_a_manifest_elsewhere_leads_back_to_its_images(tmp_path: Path) -> None:
    listed_cxr(tmp_path / "data")
    out = tmp_path / "manifests" / "made.csv"
    shown = run("make", "adult-cxr-64px", tmp_path / "data", "--out", out)
    assert shown.exit_code == 0
    assert "--outside" in shown.output
    assert [row.path for row in read_manifest(out)] == ["../data/images/a.jpg", "../data/images/b.jpg"]
    assert run("check", out).exit_code == Exit.BROKEN
    assert run("check", out, "--outside").exit_code == 0


def test_a_manifest_above_its_images_needs_no_leave(tmp_path: Path) -> None:
    listed_cxr(tmp_path / "data")
    out = tmp_path / "made.csv"
    assert parsed("make", "adult-cxr-64px", tmp_path / "data", "--out", out)["beside_its_images"] is True
    assert run("check", out).exit_code == 0


def test_wrong_arguments_are_answered(tmp_path: Path) -> None:
    listed_cxr(tmp_path)
    words = ("make", "paediatric-cxr", tmp_path, "--out", tmp_path / "made.csv")
    assert refusal("make", "mnist", tmp_path, "--out", tmp_path / "made.csv").reason == "NOT_FOUND"
    assert refusal("make", "chexpert", tmp_path / "none", "--out", tmp_path / "made.csv").reason == "NOT_FOUND"
    assert refusal("make", "chexpert", tmp_path, "--out", tmp_path / "made.csv").reason == "NOT_FOUND"
    assert refusal(*words, "--split", "train=0.5").reason == "SPLIT_SHARES"
    assert "NAME=SHARE" in str(refusal(*words, "--split", "train"))
    assert refusal(*words, "--split", "train=1", "--stratify", "age").reason == "UNKNOWN_LABEL"
    assert refusal("check", tmp_path / "none.csv").reason == "NOT_FOUND"
    assert not (tmp_path / "made.csv").exists()


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    listed_cxr(tmp_path)
    before = (tmp_path / "manifest.csv").read_bytes()
    error = refusal("make", "paediatric-cxr", tmp_path, "--out", tmp_path / "manifest.csv")
    assert error.reason == "FILE_EXISTS"
    assert (tmp_path / "manifest.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ((Row("a.png", "P1", "S1"), Row("gone.png", "P1", "S2")), "MISSING_FILE"),
        ((Row("a.png", "P1", "S1"), Row("../a.png", "P1", "S2")), "PATH_OUTSIDE"),
        ((Row("a.png", "P1", "S1"), Row("a.png", "P2", "S1")), "SAME_FILE_TWICE"),
        ((Row("a.png", "P1", "S1", split="train"), Row("b.png", "P1", "S2", split="test")), "SPLIT_LEAK"),
    ],
)
def test_problems_have_names_and_an_exit_code(tmp_path: Path, rows: tuple[Row, ...], named: str) -> None:
    path = manifest(tmp_path, *rows)
    shown = run("check", path)
    assert shown.exit_code == Exit.BROKEN
    assert named in shown.output
    assert "P1" not in shown.output
    assert [problem.name for problem in check_manifest(read_manifest(path)).problems] == [named]


def test_a_column_with_a_million_values_is_counted_together(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", (Row(f"gone{n}.png", "P", "S", view=f"V{n}") for n in range(500)))
    summary = check_manifest(read_manifest(tmp_path / "m.csv"))
    assert len(summary.views) <= 201
    assert summary.views.total() == 500


def test_the_commands_cost_no_import_of_what_they_do_not_use() -> None:
    script = (
        "import sys; from dicom_node.cli.app import command_line; command_line(); "
        "print([name for name in ('numpy', 'PIL', 'SimpleITK', 'pydicom', 'torch') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
