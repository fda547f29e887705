"""The wheel that ships holds what the code reads at run time, and nothing that it should not."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "checkout-index", "-a", f"--prefix={source}/"], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_every_file_that_is_no_code_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    packages = ("config/", "inference/", "training/", "deid/", "dicom_node/")
    wanted = {path for path in tracked if path.startswith(packages)}
    assert any(path.endswith("calibration.json") for path in wanted)
    assert wanted <= inside, f"missing: {sorted(wanted - inside)}"


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import config.settings, dicom_node.ledger.facade as f, inference.encoders.registry as r\n"
        "print(config.settings.load_settings(environment={}).dicom.ae_title, *r.Registry().names(), f.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(tmp_path / "site")}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MEDREID ct-face general ")
    assert str(tmp_path) in done.stdout, "the checkout was used instead"


def test_tests_and_deployment_stay_out(wheel: Path) -> None:
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(("tests/", "deploy/"))]
