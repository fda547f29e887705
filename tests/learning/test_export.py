"""What a training leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from inference.encoders.bundle import Bundle
from inference.encoders.registry import Registry
from inference.encoders.runtime import open_runtime
from tests.learning.tiny import quiet, tiny_recipe, write_films
from training.learning.export import Outcome
from training.learning.run import Hardware, train
from training.learning.toml_text import to_toml


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    from inference.networks import NETWORKS

    folder = tmp_path_factory.mktemp("export")
    films = write_films(folder / "films", (3,) * 60).parent
    recipe = tiny_recipe(
        films,
        ("validation = 0.4\ntest = 0.0", "validation = 0.3\ntest = 0.1"),
        ("patients = 6\nevery = 3", 'patients = 40\nevery = 3\n[export]\nweights = "float16"\nint8 = true'),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
        found = train(recipe, folder / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    assert found is not None
    return found


def test_it_says_where_it_comes_from(outcome: Outcome) -> None:
    manifest = Bundle.read(outcome.bundle).manifest
    assert (manifest.name, manifest.version, manifest.network) == ("tiny", "1.0", "trained")
    assert manifest.model is not None
    assert manifest.model.modalities == ("DX",)
    said = manifest.training
    assert said["seed"] == 5
    assert said["data"] == ["films (manifest manifest.csv)"]
    assert said["device"].startswith("cpu")
    assert said["patients"] + said["validation_patients"] <= 60
    assert manifest.intended_use == "Tests"
    assert "manifest.csv" in manifest.trained_on
    assert str(outcome.bundle.parent) not in (outcome.bundle / "bundle.toml").read_text()


def test_its_figures_are_of_both_held_out_splits_with_intervals(outcome: Outcome) -> None:
    metrics = Bundle.read(outcome.bundle).manifest.metrics
    for split in ("validation", "test"):
        value, low, high = metrics[split]["rank-1"]
        assert low <= value <= high
        assert outcome.figures[split]["rank-1"].value == pytest.approx(value, abs=1e-4)
        assert metrics[split]["failed_to_enrol"] == 0
    assert metrics["test"]["patients"] < metrics["validation"]["patients"]
    assert metrics["serving"]["onnx_parity"] < 1e-4


def test_its_calibration_is_in_force_and_not_a_sites(outcome: Outcome) -> None:
    assert outcome.calibrated
    found = Registry((outcome.bundle.parent,), "cpu").calibration("tiny")
    assert found is not None
    assert (found.encoder, found.version, found.scope) == ("tiny", "1.0", "elsewhere")


def test_what_serves_is_one_of_its_forms_and_agrees_with_the_network(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference.networks import NETWORKS

    monkeypatch.setitem(NETWORKS, "tiny", "tests.learning.tiny:build")
    bundle = Bundle.read(outcome.bundle)
    backend = bundle.manifest.serving.backend
    assert backend == outcome.serving.backend
    assert set(outcome.serving.figure) == {"torch", "onnx", "onnx-int8"}
    assert outcome.serving.figure[backend] >= outcome.serving.figure["torch"] - 0.01
    twins = {"model.int8.onnx"} if backend == "onnx-int8" else {"model.onnx"}
    assert set(bundle.manifest.files) == {"weights.safetensors", "calibration.json"} | twins
    assert {path.name for path in outcome.bundle.iterdir()} == {"bundle.toml", *bundle.manifest.files}
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 3, 32, 32), np.uint8)
    plain, served = (open_runtime(bundle, "cpu", form)(images, np.zeros(3, np.int64)) for form in ("torch", backend))
    assert np.allclose(plain, served, atol=0.3 if backend == "onnx-int8" else 1e-4)


def test_stored_in_half_precision_it_is_half_as_large(outcome: Outcome) -> None:
    stored = safetensors.torch.load_file(outcome.bundle / "weights.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}


def test_toml_text_is_read_back_as_it_was() -> None:
    import tomllib

    values = {
        "text": 'a "b" \\ \n é',
        "number": 0.5,
        "list": [[1, 2.5], []],
        "table": {"a.b": {"c": True}, "empty": {}, "n": 1},
        "none": None,
    }
    known = {name: one for name, one in values.items() if name != "none"}
    known["table"] = {"a.b": {"c": True}, "n": 1}
    assert tomllib.loads(to_toml(values)) == known
