"""What a training leaves for explanations, and the pictures that are made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from config.errors import EncoderError, ImagingError
from dicom_node.cli.app import command_line
from inference.encoders.bundle import Bundle
from inference.encoders.explaining import QUERIES_FILE, Explanation, explain, overlay
from inference.encoders.registry import package_bundles
from inference.types import LoadedSeries
from tests.learning.tiny import quiet, tiny_recipe, weights, write_films
from training.learning.folder import Folder
from training.learning.run import Hardware, train
from training.manifests.images import load_path
from training.manifests.schema import Row

ALIGNMENT = """[alignment]
weight = 0.01
teachers = { DX = "imagenet" }
settings = { queries = 3 }

[optimiser]"""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of MaMI with alignment, so small that it learns nothing."""
    folder = tmp_path_factory.mktemp("taught")
    recipe = tiny_recipe(
        write_films(folder / "films").parent,
        ('name = "tiny"\nsettings = { dropout = 0.2 }', _NETWORK),
        ("[optimiser]", ALIGNMENT),
        ("steps = 6", "steps = 2"),
        ("every = 3", "every = 1\n[export]\ncalibrate = false"),
    )
    train(recipe, folder / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    return folder


_NETWORK = 'name = "mami-tiny"\nsettings = { size = 32, depth = 1, rank = 2, codes = 4 }'


def film(folder: Path, name: str) -> LoadedSeries:
    return load_path(folder / "films" / name, Row(name, "", "", modality="DX")).images[0]


def test_the_key_queries_of_the_best_test_are_in_the_bundle(taught: Path) -> None:
    folder = Folder(taught / "out")
    stored = safetensors.torch.load_file(folder.path / "tiny" / QUERIES_FILE)
    assert stored["DX.queries"].shape == (1, 3, 192)
    trained = weights(folder.best)["teaching.alignment.alignments.0.student.queries"]
    assert torch.equal(stored["DX.queries"][0], trained[0])
    assert QUERIES_FILE in Bundle.read(folder.path / "tiny").manifest.files


def test_every_method_gives_a_map_over_the_input(taught: Path) -> None:
    bundle, image = Bundle.read(taught / "out" / "tiny"), film(taught, "0-0.png")
    found = {method: explain(bundle, image, None, method) for method in ("auto", "queries", "attention", "occlusion")}  # type: ignore[arg-type]
    assert found["auto"].method == "queries"
    np.testing.assert_array_equal(found["auto"].heat, found["queries"].heat)
    for one in found.values():
        assert one.picture.shape == (32, 32, 3)
        assert one.heat.shape == (32, 32)
        assert (one.heat.min(), one.heat.max()) == (0.0, 1.0)
    mate = explain(bundle, image, film(taught, "0-1.png"))
    assert mate.method == "occlusion"
    assert not np.array_equal(mate.heat, found["occlusion"].heat)


def test_a_bundle_without_queries_or_network_is_refused_by_name(taught: Path) -> None:
    image = film(taught, "0-0.png")
    with pytest.raises(EncoderError) as caught:
        explain(Bundle.read(package_bundles() / "general"), image)
    assert caught.value.reason == "NOT_EXPLAINABLE"
    other = Bundle.read(taught / "out" / "tiny")
    with pytest.raises(ImagingError) as refused:
        explain(other, replace(image, modality="XC", kind="photograph"))
    assert refused.value.reason == "ENCODER_KIND"


def test_the_overlay_shows_the_picture_and_colours_it_where_it_is_hot() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[2, 3] = 1.0
    found = overlay(Explanation(np.full((8, 8, 3), 100, np.uint8), heat, "occlusion"))
    assert found.shape == (8, 16, 3)
    assert (found[:, :8] == 100).all()
    changed = (found[:, 8:] != 100).any(axis=2)
    assert changed[2, 3]
    assert changed.sum() == 1


def test_the_command_writes_a_picture(taught: Path, tmp_path: Path) -> None:
    out = tmp_path / "heat.png"
    done = CliRunner().invoke(
        command_line(),
        ["explain", str(taught / "films" / "0-0.png"), "--mate", str(taught / "films" / "0-1.png"),
         "--encoder", "tiny", "--modality", "DX", "--out", str(out)],
        env={"MEDREID_HOME": str(tmp_path / "home"), "MEDREID_ENCODERS__BUNDLES": str(taught / "out")},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape == (32, 64, 3)
