"""The encoder of boneprints: a real, tiny network, fed from both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from config.errors import EncoderError, ImagingError
from config.settings import Settings
from dicom_node.material import material_of
from dicom_node.node import Node
from inference import networks
from inference.encoders.boneprint import BoneprintEncoder
from inference.encoders.bundle import Bundle
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.imaging.bone_view import bone_view
from inference.imaging.chest_picture import chest_box
from inference.imaging.headers import read_header
from inference.types import LoadedSeries, SeriesHeader
from tests.boneview.chests import SEED, SMALL, chest
from tests.boneview.test_regions import both
from training.cohort.dials.bone_view import BoneViewDials
from training.cohort.dials.chest_film import ChestFilmDials
from training.cohort.dicom_bone_view import write_bone_view
from training.cohort.kinds import KINDS
from training.cohort.person import person
from training.cohort.visit import Dials, visit
from training.learning.toml_text import to_toml

SIZE, DIMENSION = 32, 16
SETTINGS: dict[str, Any] = {
    "size": SIZE,
    "dimension": DIMENSION,
    "encoder": {"width": 8, "levels": 2, "local": 4, "grid": 2},
    "translator": {"width": 8, "levels": 1, "blocks": 1},
}
DIALS = Dials(
    bone_view=BoneViewDials(voxel=(4.0, 4.0), size=(160,), arms_down=0.0),
    chest_film=ChestFilmDials(matrix=(160, 160), lateral=0.0),
)


def write_boneprint(folder: Path, name: str = "boneprint-explicit", **says: Any) -> Path:
    """A bundle of a tiny network with weights of a seed."""
    torch.manual_seed(3)
    made = folder / name
    made.mkdir(parents=True)
    weights = safetensors.torch.save(networks.build("boneprint-explicit", SETTINGS).state_dict())
    (made / "weights.safetensors").write_bytes(weights)
    manifest = {
        "name": name, "version": "1.0", "network": "boneprint", "dimension": DIMENSION, "description": "a test's",
        "licence": "none", "trained_on": "nothing", "recipe": "none", "input": {"size": SIZE, "fit": "letterbox"},
        "model": {"name": "boneprint-explicit", "modalities": ["DX", "CT-VR"], "settings": SETTINGS},
        "files": {"weights.safetensors": hashlib.sha256(weights).hexdigest()},
    }  # fmt: skip
    (made / "bundle.toml").write_text(to_toml(manifest | says))
    return made


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("bundles")
    write_boneprint(folder)
    return Registry((folder,), "cpu").get("boneprint-explicit")


def film(seed: int = 1, **known: Any) -> LoadedSeries:
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.random((24, 24), np.float32), (120, 110))
    values = {"modality": "CR", "kind": "radiograph", "pixels": pixels, "view": "PA"} | known
    return LoadedSeries("1", "2", ("3",), spacing=(1.0, 1.0), **values)


def rendering(pixels: Any = None) -> LoadedSeries:
    shown = np.repeat((film(2).pixels * 255).astype(np.uint8)[:, :, None], 3, axis=2) if pixels is None else pixels
    return film(modality="CT", kind="photograph", pixels=shown, view="")


def test_either_side_gets_a_boneprint_of_one_length(encoder: Encoder) -> None:
    found = encoder.encode([film(), rendering(), chest().volume])
    assert [one.modality for one in found if one] == ["DX", "CT-VR", "CT-VR"]
    for one in found:
        assert one is not None
        assert one.vector.shape == (DIMENSION,)
        assert np.linalg.norm(one.vector) == pytest.approx(1.0, abs=1e-5)
    assert found[0] is not None
    assert found[0].view == "FRONTAL"


def test_a_ct_series_and_the_capture_of_its_view_are_one_kind_and_alike(encoder: Encoder) -> None:
    assert isinstance(encoder, BoneprintEncoder)
    shown = bone_view(chest().volume, 256).pixels
    series, capture = encoder.encode([chest().volume, rendering(shown)])
    stranger = encoder.encode([film()])[0]
    assert series is not None
    assert capture is not None
    assert stranger is not None
    assert series.vector @ capture.vector > 0.95
    assert (series.modality, series.view) == (capture.modality, capture.view)


def test_the_network_is_told_the_side(encoder: Encoder) -> None:
    grey = (film().pixels * 255).round() / 255
    one, other = encoder.encode(
        [film(pixels=grey), rendering(np.repeat((grey * 255).astype(np.uint8)[..., None], 3, 2))]
    )
    assert one is not None
    assert other is not None
    assert abs(float(one.vector @ other.vector)) < 0.999


def test_a_batch_is_its_images_one_by_one(encoder: Encoder) -> None:
    images = [film(n) for n in range(5)] + [rendering(), replace(film(), pixels=np.zeros((50, 50), np.float32))]
    together = encoder.encode(images)
    assert together[-1] is None, "there is nothing on a flat picture"
    for image, one in zip(images[:-1], together, strict=False):
        alone = encoder.encode([image])[0]
        assert one is not None
        assert alone is not None
        np.testing.assert_allclose(one.vector, alone.vector, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (film(view="LL"), "NOT_FRONTAL"),
        (replace(chest().volume, modality="MR"), "ENCODER_KIND"),
        (film(modality="OP", kind="fundus", pixels=rendering().pixels), "ENCODER_KIND"),
        (film(modality="XC", kind="photograph", pixels=rendering().pixels), "ENCODER_KIND"),
        (film(pixels=np.full((9, 9), np.nan, np.float32)), "NOT_FINITE"),
        (replace(chest().volume, pixels=chest().volume.pixels[:12]), "NO_CHEST"),
    ],
    ids=["lateral", "MR", "fundus", "photograph", "NaN", "belly"],
)
def test_what_is_no_chest_is_refused_by_name(encoder: Encoder, image: LoadedSeries, reason: str) -> None:
    with pytest.raises(ImagingError) as caught:
        encoder.encode([image])
    assert caught.value.reason == reason


def test_no_bundle_of_a_boneprint_may_link(tmp_path: Path) -> None:
    assert not Bundle.read(write_boneprint(tmp_path / "silent")).manifest.may_link
    assert not Bundle.read(write_boneprint(tmp_path / "says so", supports_automatic_link=False)).manifest.may_link
    with pytest.raises(EncoderError, match="supports an automatic link") as caught:
        Bundle.read(write_boneprint(tmp_path / "claims", supports_automatic_link=True))
    assert caught.value.reason == "BUNDLE_DAMAGED"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_chest_is_found_in_films_and_in_renderings(number: int) -> None:
    from training.cohort.bone_view import bone_view as drawn
    from training.cohort.chest_radiograph import chest_radiograph

    who = person(SEED, number)
    when = visit(who, 0, DIALS)
    pixels, _ = chest_radiograph(who, when)
    for image in (film(pixels=np.asarray(pixels, np.float32) / 4095), rendering(drawn(who, when))):
        box = chest_box(image)
        rows, columns = image.pixels.shape[:2]
        wide, high = (box.right - box.left) / columns, (box.bottom - box.top) / rows
        assert 0.4 < wide <= 1.0
        assert 0.4 < high <= 1.0
        assert wide * high < 0.97, "the chest is a part of the picture"
        assert abs((box.left + box.right) / 2 - columns / 2) < 0.15 * columns


def test_a_box_moves_with_the_chest_and_ignores_writing() -> None:
    from training.cohort.bone_view import bone_view as drawn

    who = person(SEED, 4)
    picture = drawn(who, visit(who, 0, DIALS))
    box = chest_box(rendering(picture))
    wide = np.zeros((200, 240, 3), np.uint8)
    wide[30:190, 50:210] = picture
    cv2.putText(wide, "VRT BONE", (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1)
    moved = chest_box(rendering(wide))
    assert abs(moved.left - box.left - 50) <= 5
    assert abs(moved.top - box.top - 30) <= 5
    assert abs(moved.bottom - box.bottom - 30) <= 8


def test_what_looks_like_no_chest_is_taken_whole() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (90, 70, 3), np.uint8)
    for image in (
        rendering(noise),
        rendering(np.zeros((64, 64, 3), np.uint8)),
        film(pixels=np.eye(60, dtype=np.float32)),
    ):
        box = chest_box(image)
        assert 0 <= box.top < box.bottom <= image.pixels.shape[0]
        assert 0 <= box.left < box.right <= image.pixels.shape[1]


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    write_boneprint(settings.bundle_folder)
    verification = settings.verification.model_copy(update={"enabled": False})
    with Node(settings.model_copy(update={"verification": verification})) as made:
        yield made


def series_of(paths: list[Path]) -> SeriesHeader:
    headers = tuple(read_header(path) for path in paths)
    return SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)


def test_a_node_encodes_a_series_its_rendering_and_a_film_of_one_chest(node: Node, tmp_path: Path) -> None:
    who = person(SEED, 1)
    when = visit(who, 0, replace(DIALS, chest_ct=SMALL))
    films = KINDS["chest-film"].write(tmp_path / "film", who, when, None)
    volumes = KINDS["chest-ct"].write(tmp_path / "ct", who, when, None)
    captures = write_bone_view(tmp_path / "view", who, when)
    material = material_of(
        node, [series_of(list(films[0].files)), series_of(list(volumes[0].files)), series_of(captures)]
    )
    found = sorted((one.encoder, one.modality) for one in material.encodings)
    assert found == [
        ("boneprint-explicit", "CT-VR"),
        ("boneprint-explicit", "CT-VR"),
        ("boneprint-explicit", "DX"),
        ("general", "DX"),
    ]


def test_a_series_of_head_and_chest_gives_both_encoders_their_region(node: Node) -> None:
    volume, _ = both()
    found = [node.registry.get(name).encode([volume])[0] for name in ("ct-face", "boneprint-explicit")]
    assert [one.modality for one in found if one] == ["CT", "CT-VR"]
