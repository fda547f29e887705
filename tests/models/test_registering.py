"""Bundles that are added: whole, checked, and not at all when something is wrong."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from config.errors import EncoderError, StorageError
from inference.encoders.registry import Registry
from training.models.registering import add_bundle, check_bundle


def _nobody(name: str, version: str) -> None:
    return None


def _site(folder: Path) -> Registry:
    return Registry((folder,), "cpu")


def _refused(bundle: Path, site: Path, reason: str, dimension: int | None = None) -> str:
    before = sorted(path for path in site.rglob("*")) if site.exists() else []
    with pytest.raises(EncoderError) as caught:
        add_bundle(bundle, site, _site(site), lambda name, version: dimension)
    assert caught.value.reason == reason
    assert (sorted(site.rglob("*")) if site.exists() else []) == before
    return str(caught.value)


def test_an_added_bundle_is_found_and_serves(bundle: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    added = add_bundle(bundle, site, _site(site), _nobody)
    assert added.folder == site / "tiny"
    assert _site(site).get("tiny").dimension == 8
    # Once more changes nothing.
    add_bundle(bundle, site, _site(site), _nobody)
    assert {path.name for path in site.iterdir()} == {"tiny"}


def test_a_file_with_another_hash_is_refused(bundle: Path, tmp_path: Path) -> None:
    with (bundle / "model.onnx").open("r+b") as file:
        file.write(b"\x00")
    assert "model.onnx" in _refused(bundle, tmp_path / "site", "BUNDLE_DAMAGED")


def test_missing_weights_are_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "weights.safetensors").unlink()
    assert "weights.safetensors" in _refused(bundle, tmp_path / "site", "BUNDLE_DAMAGED")


def test_a_dimension_that_is_not_the_networks_is_refused(bundle: Path, tmp_path: Path) -> None:
    text = (bundle / "bundle.toml").read_text()
    (bundle / "bundle.toml").write_text(text.replace("dimension = 8", "dimension = 9"))
    assert "9" in _refused(bundle, tmp_path / "site", "BUNDLE_DAMAGED")


def test_a_dimension_that_is_not_the_gallerys_is_refused(bundle: Path, tmp_path: Path) -> None:
    message = _refused(bundle, tmp_path / "site", "BUNDLE_DIMENSION", dimension=16)
    assert "16" in message
    assert "8" in message


def test_other_weights_under_a_version_that_is_there_are_refused(bundle: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    add_bundle(bundle, site, _site(site), _nobody)
    other = Path(shutil.copytree(bundle, tmp_path / "other" / "tiny"))
    notes = b"changed"
    (other / "notes.txt").write_bytes(notes)
    text = (other / "bundle.toml").read_text()
    digest = hashlib.sha256(notes).hexdigest()
    (other / "bundle.toml").write_text(text.replace("[files]\n", f'[files]\n"notes.txt" = "{digest}"\n'))
    assert "new one" in _refused(other, site, "BUNDLE_VERSION")
    newer = (other / "bundle.toml").read_text().replace('version = "1.0"', 'version = "1.1"')
    (other / "bundle.toml").write_text(newer)
    assert add_bundle(other, site, _site(site), _nobody).manifest.version == "1.1"
    assert (site / "tiny" / "notes.txt").is_file()


def test_a_site_folder_that_cannot_be_written_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    with pytest.raises(StorageError, match="nothing was added"):
        add_bundle(bundle, tmp_path / "site", Registry((), "cpu"), _nobody)


def test_a_bundle_that_is_whole_is_read_as_it_is(bundle: Path) -> None:
    assert check_bundle(bundle).manifest.name == "tiny"
