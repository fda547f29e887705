"""Trained encoders: read from a bundle, the same alone and in a batch, honest about what they cannot take."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

from config.errors import EncoderError, ImagingError
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.types import InstanceHeader, SeriesHeader
from tests.encoders.bundles import write_bundle
from tests.recognition.test_general_encoder import MIXED, image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles")).parent


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Registry([folder], device="cpu", batch_size=4).get("tiny")


def test_alone_and_in_a_mixed_batch_an_image_has_one_embedding(encoder: Encoder) -> None:
    together = encoder.encode(MIXED)
    for one, found in zip(MIXED, together, strict=True):
        (alone,) = encoder.encode([one])
        assert found is not None
        assert alone is not None
        assert (found.encoder, found.version, found.series_uid) == ("tiny", "1.0", one.series_uid)
        assert (found.vector.shape, found.vector.dtype) == ((16,), np.float32)
        assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(found.vector, alone.vector, atol=1e-4)
    labels = [(found.modality, found.view, found.laterality) for found in together if found]
    assert labels[:3] == [("DX", "FRONTAL", ""), ("OP", "", "L"), ("MR", "", "")]


def test_twice_the_same_is_the_same_to_the_bit_and_images_differ(encoder: Encoder) -> None:
    first, second = encoder.encode(MIXED), encoder.encode(MIXED)
    assert all(np.array_equal(a.vector, b.vector) for a, b in zip(first, second, strict=True) if a and b)
    assert len({found.vector.tobytes() for found in first if found}) == len(MIXED)


def test_the_border_of_a_radiograph_is_not_looked_at(encoder: Encoder) -> None:
    framed = image(9).pixels.copy()
    framed[:20], framed[:, -15:] = 1.0, 0.0
    a, b = (item.vector for item in encoder.encode([image(9), image(9, pixels=framed)]) if item is not None)
    np.testing.assert_array_equal(a, b)


def test_a_flat_image_gives_nothing_and_does_not_move_the_others(encoder: Encoder) -> None:
    found = encoder.encode([image(1), image(2, pixels=np.zeros((64, 64), np.float32)), image(5)])
    assert found[1] is None
    assert [item.study_uid for item in found if item] == ["1.1", "1.5"]
    assert list(encoder.encode([])) == []


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (image(1, "volume", "CT"), "ENCODER_KIND"),
        (image(1, "photograph", "XC", pixels=np.zeros((8, 8, 3), np.uint8)), "ENCODER_KIND"),
        (image(1, pixels=np.full((64, 64), np.nan, np.float32)), "NOT_FINITE"),
        (image(1, pixels=np.zeros((0, 3), np.float32)), "NO_PIXELS"),
    ],
)
def test_what_it_cannot_take_is_refused_by_name(encoder: Encoder, refused: Any, reason: str) -> None:
    with pytest.raises(ImagingError) as caught:
        encoder.encode([image(1), refused])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("sop_class", "modality", "accepted"),
    [
        ("1.2.840.10008.5.1.4.1.1.1.1", "DX", True),
        ("1.2.840.10008.5.1.4.1.1.1", "CR", True),
        ("1.2.840.10008.5.1.4.1.1.4", "MR", True),
        ("1.2.840.10008.5.1.4.1.1.2", "CT", False),
        ("1.2.840.10008.5.1.4.1.1.7", "OT", True),
        ("1.2.840.10008.5.1.4.1.1.88.11", "SR", False),
    ],
)
def test_it_accepts_series_of_the_modalities_it_was_trained_on(
    encoder: Encoder, sop_class: str, modality: str, accepted: bool
) -> None:
    header = InstanceHeader("1.1", sop_class, "", "1", "2", Path("x"), {"Modality": modality})
    assert encoder.accepts(SeriesHeader("1", "2", (header,))) is accepted
    assert not encoder.accepts(SeriesHeader("1", "2", ()))


def spoil(made: Path, old: str, new: str) -> None:
    path = made / "bundle.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("dimension = 16\n", "dimension = 17\n", "dimension 17"),
        ("embedding = 16", "embedding = 17", "does not fit"),
        ("embedding = 16", "embedings = 16", "embedings"),
        ('name = "efficientnet-lite0"', 'name = "resnet18"', "does not fit"),
        ('name = "efficientnet-lite0"', 'name = "vgg"', "vgg"),
        ("size = 32", "size = 1", "size"),
        ("size = 32", "sise = 32", "sise"),
        ('"weights.safetensors" = ', '"other.safetensors" = ', "weights.safetensors"),
        ('backend = "torch"', 'backend = "onnx"', "model.onnx"),
        ('backend = "torch"', 'backend = "tensorrt"', "serving.backend"),
        ("[serving]", "[serve]", "serve"),
    ],
)
def test_a_bundle_that_contradicts_itself_says_how(tmp_path: Path, old: str, new: str, told: str) -> None:
    spoil(write_bundle(tmp_path), old, new)
    with pytest.raises(EncoderError, match=told) as caught:
        Registry([tmp_path], device="cpu").get("tiny")
    assert caught.value.reason == "BUNDLE_DAMAGED"
    assert "'tiny'" in str(caught.value)


def rehash(made: Path, old: str) -> None:
    spoil(made, old, hashlib.sha256((made / "weights.safetensors").read_bytes()).hexdigest())


def test_weights_that_are_not_what_was_exported_are_refused(tmp_path: Path) -> None:
    made = write_bundle(tmp_path)
    weights = made / "weights.safetensors"
    content = weights.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(EncoderError, match="SHA-256"):
        Registry([tmp_path], device="cpu").get("tiny")
    weights.unlink()
    with pytest.raises(EncoderError, match="cannot be read"):
        Registry([tmp_path], device="cpu").get("tiny")
    weights.write_bytes(content[:200])
    rehash(made, digest)
    with pytest.raises(EncoderError, match="does not fit"):
        Registry([tmp_path], device="cpu").get("tiny")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    made = write_bundle(tmp_path)
    weights = made / "weights.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    state = safetensors.torch.load_file(weights)
    state["head.0.weight"][0, 0] = float("nan")
    safetensors.torch.save_file(state, weights)
    rehash(made, digest)
    with pytest.raises(EncoderError, match="not finite"):
        Registry([tmp_path], device="cpu").get("tiny")


def test_a_bundle_without_a_model_table_is_refused(tmp_path: Path) -> None:
    made = write_bundle(tmp_path)
    text = (made / "bundle.toml").read_text()
    start, end = text.index("[model]"), text.index("[serving]")
    (made / "bundle.toml").write_text(text[:start] + text[end:])
    with pytest.raises(EncoderError, match=r"\[model\]"):
        Registry([tmp_path], device="cpu").get("tiny")
