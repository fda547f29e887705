"""The encoder of faces by a network: what it takes, what it refuses by name, and what a bundle of it weighs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import EncoderError, ImagingError
from inference import networks
from inference.encoders.face_network import VIEWS, FaceInput, FaceNetworkEncoder, middle
from inference.encoders.inputs import InputSpec
from inference.encoders.registry import Registry
from inference.encoders.runtime import export_onnx
from inference.imaging.depth_image import Turn
from inference.networks.depth import NAMES
from inference.types import InstanceHeader, LoadedSeries, SeriesHeader
from tests.encoders.bundles import write_bundle
from tests.faces.scans import as_mr
from tests.imaging.heads import head
from tests.networks.faces import assert_has_the_face
from training.learning.recipe import read_recipe

SETTINGS = {"embedding": 16, "width": 0.125}
MOST_BYTES = 25e6


@pytest.fixture(scope="module")
def scan() -> LoadedSeries:
    return head()


def _encoder(folder: Path, views: int = 1, modalities: tuple[str, ...] = ("CT", "MR")) -> FaceNetworkEncoder:
    write_bundle(
        folder,
        name="face",
        network="face-network",
        model="depth-resnet18",
        settings=SETTINGS,
        modalities=modalities,
        spec=FaceInput(size=48, image=64, views=views),  # type: ignore[arg-type]
    )
    found = Registry((folder,), "cpu").get("face")
    assert isinstance(found, FaceNetworkEncoder)
    return found


def test_a_head_ct_and_a_head_mr_are_encoded_into_one_space(tmp_path: Path, scan: LoadedSeries) -> None:
    encoder = _encoder(tmp_path)
    ct, mr, other = encoder.encode([scan, as_mr(scan), head(width=56.0)])
    assert ct is not None and mr is not None and other is not None
    assert ct.vector.shape == (16,) and np.linalg.norm(ct.vector) == pytest.approx(1.0, abs=1e-5)
    assert (ct.modality, mr.modality) == ("CT", "MR") and ct.quality == 1.0
    assert float(ct.vector @ mr.vector) > float(ct.vector @ other.vector)
    again = encoder.encode([scan])[0]
    assert again is not None and (again.vector == ct.vector).all()


def test_views_are_averaged(tmp_path: Path, scan: LoadedSeries) -> None:
    encoder = _encoder(tmp_path, views=3)
    mean = encoder.encode([scan])[0]
    ones = [encoder.seen_from(turn).encode([scan])[0] for turn in VIEWS[:3]]
    assert mean is not None and all(one is not None for one in ones)
    # The network averages before its head, which is linear; lengths of single views differ little.
    total = np.sum([one.vector for one in ones if one is not None], axis=0)
    assert float(mean.vector @ total) / np.linalg.norm(total) > 0.999
    assert encoder.seen_from(Turn(roll=20.0)).encode([scan])[0] is not None
    assert np.allclose(encoder.encode([scan])[0].vector, mean.vector)  # type: ignore[union-attr]


def test_what_it_cannot_take_is_refused_by_name(tmp_path: Path, scan: LoadedSeries) -> None:
    encoder = _encoder(tmp_path, modalities=("CT",))
    ball = np.full(scan.pixels.shape, -1000.0, np.float32)
    ball[20:90, 20:90, 15:80] = 40.0
    broken = scan.pixels.copy()
    broken[0, 0, 0] = np.nan
    cases = {
        "NO_FACE": replace(scan, pixels=ball),
        "NO_SURFACE": replace(scan, pixels=np.where(np.arange(92) < 3, -900.0, -1000.0) + 0 * scan.pixels),
        "NOT_FINITE": replace(scan, pixels=broken),
        "ENCODER_KIND": as_mr(scan),
    }
    for reason, image in cases.items():
        with pytest.raises(ImagingError) as refused:
            encoder.encode([image])
        assert refused.value.reason == reason or (reason == "NO_SURFACE" and refused.value.reason == "NOT_HOUNSFIELD")
    with pytest.raises(ImagingError, match="takes volumes of CT"):
        encoder.encode([replace(scan, kind="radiograph", pixels=scan.pixels[0])])
    assert encoder.encode([replace(scan, pixels=np.zeros_like(scan.pixels))]) == [None]


def test_series_are_accepted_by_modality(tmp_path: Path) -> None:
    encoder = _encoder(tmp_path)
    for modality, taken in (("CT", True), ("MR", True), ("DX", False), ("", False)):
        header = InstanceHeader("1", "2", "3", "4", "5", tmp_path, {"Modality": modality})
        assert encoder.accepts(SeriesHeader("4", "5", (header,))) is taken


@pytest.mark.parametrize("line", ["size = 300", "views = 9", "threshold = 0.0", "colour = 1"])
def test_a_bundle_whose_input_makes_no_sense_is_damaged(tmp_path: Path, line: str) -> None:
    _encoder(tmp_path)
    manifest = tmp_path / "face" / "bundle.toml"
    key = line.partition(" ")[0]
    kept = [one for one in manifest.read_text().splitlines() if not one.startswith(f"{key} =")]
    kept.insert(kept.index("[input]") + 1, line)
    manifest.write_text("\n".join(kept))
    with pytest.raises(EncoderError) as refused:
        Registry((tmp_path,), "cpu").get("face")
    assert refused.value.reason == "BUNDLE_DAMAGED" and key in str(refused.value)


def test_the_middle_is_in_the_middle() -> None:
    assert middle(np.arange(36, dtype=np.uint8).reshape(6, 6), 2).tolist() == [[14, 15], [20, 21]]


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_depth_images_have_the_face_of_all(name: str) -> None:
    assert_has_the_face(networks.build(name, SETTINGS))


def test_only_the_first_channel_counts() -> None:
    network = networks.build("depth-resnet18", SETTINGS).eval()
    x = torch.rand(2, 1, 3, 64, 64)
    other = x.clone()
    other[:, :, 1:] = torch.rand(2, 1, 2, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(x), network(other))


def test_no_width_is_beyond_sense() -> None:
    with pytest.raises(EncoderError, match="width"):
        networks.build("depth-resnet50", {"width": 9.0})


def test_the_light_bundle_is_small_enough_to_ship() -> None:
    recipe = read_recipe(Path("face-network"))
    network = networks.build(recipe.network.name, recipe.network.settings)
    stored = safetensors.torch.save({name: value.half() for name, value in network.state_dict().items()})
    twin = export_onnx(network, InputSpec(size=64))
    assert recipe.export.weights == "float16"
    assert len(stored) + len(twin) < MOST_BYTES
