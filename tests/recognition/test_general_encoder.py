"""The general encoder: deterministic, normalised, the same alone and in a batch, and honest about flat images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from config.errors import ImagingError
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.types import LoadedSeries


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Registry(device="cpu", batch_size=3).get("general")


def image(seed: int, kind: str = "radiograph", modality: str = "CR", view: str = "PA", **more: Any) -> LoadedSeries:
    rng = np.random.default_rng(seed)
    if kind == "volume":
        pixels = rng.normal(100, 30, (12, 40, 50)).astype(np.float32)
    elif kind == "fundus":
        pixels = rng.integers(0, 256, (300, 260, 3), np.uint8)
    else:
        smooth = cv2.GaussianBlur(rng.standard_normal((360, 270)).astype(np.float32), (0, 0), 25)
        pixels = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    values: dict[str, Any] = {"pixels": pixels, "spacing": (0.2, 0.2), "laterality": "", "view": view} | more
    return LoadedSeries(
        study_uid=f"1.{seed}",
        series_uid=f"2.{seed}",
        sop_instance_uids=(),
        modality=modality,
        kind=kind,
        **values,  # type: ignore[arg-type]
    )


MIXED = [
    image(1),
    image(2, "fundus", "OP", "", laterality="L"),
    image(3, "volume", "MR", ""),
    image(4, "radiograph", "DX", "LATERAL"),
    image(5),
]


def test_alone_and_in_a_mixed_batch_an_image_has_one_embedding(encoder: Encoder) -> None:
    together = encoder.encode(MIXED)
    for one, found in zip(MIXED, together, strict=True):
        (alone,) = encoder.encode([one])
        assert found is not None
        assert alone is not None
        assert (found.study_uid, found.series_uid) == (one.study_uid, one.series_uid)
        assert found.vector.shape == (encoder.dimension,)
        assert found.vector.dtype == np.float32
        assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(found.vector, alone.vector, atol=2e-6)
        assert 0 <= found.quality <= 1


def test_twice_the_same_is_the_same_to_the_bit(encoder: Encoder) -> None:
    first, second = encoder.encode(MIXED), encoder.encode(MIXED)
    assert all(np.array_equal(a.vector, b.vector) for a, b in zip(first, second, strict=True) if a and b)


def test_what_is_compared_with_what(encoder: Encoder) -> None:
    found = [item for item in encoder.encode(MIXED) if item is not None]
    assert [(item.modality, item.view, item.laterality) for item in found] == [
        ("DX", "FRONTAL", ""),
        ("OP", "", "L"),
        ("MR", "", ""),
        ("DX", "LATERAL", ""),
        ("DX", "FRONTAL", ""),
    ]


def test_an_image_is_nearest_to_itself_in_another_exposure(encoder: Encoder) -> None:
    ones = [image(seed) for seed in range(20, 26)]
    again = [image(20 + n, pixels=np.clip(one.pixels**0.8 * 0.9 + 0.05, 0, 1)) for n, one in enumerate(ones)]
    first, second = (np.stack([e.vector for e in encoder.encode(group) if e]) for group in (ones, again))
    assert (first @ second.T).argmax(axis=1).tolist() == list(range(6))


def test_the_border_of_a_radiograph_is_not_looked_at(encoder: Encoder) -> None:
    framed = image(9).pixels.copy()
    framed[:20], framed[:, -15:] = 1.0, 0.0
    a, b = (item.vector for item in encoder.encode([image(9), image(9, pixels=framed)]) if item is not None)
    assert a @ b == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("pixels", [np.zeros((64, 64), np.float32), np.full((64, 64), np.nan, np.float32)])
def test_nothing_to_encode_is_none_and_does_not_move_the_others(encoder: Encoder, pixels: np.ndarray) -> None:
    found = encoder.encode([image(1), image(2, pixels=pixels), image(5)])
    assert found[1] is None
    assert found[0] is not None
    assert found[2] is not None
    assert (found[0].study_uid, found[2].study_uid) == ("1.1", "1.5")


def test_small_or_flat_images_have_little_quality(encoder: Encoder) -> None:
    tiny = image(1, pixels=image(1).pixels[::6, ::6])
    good, small = encoder.encode([image(1), tiny])
    assert good is not None
    assert small is not None
    assert small.quality < 0.5 < good.quality


def test_a_ct_volume_is_refused_by_name(encoder: Encoder) -> None:
    with pytest.raises(ImagingError) as caught:
        encoder.encode([image(1, "volume", "CT")])
    assert caught.value.reason == "ENCODER_KIND"


def test_an_empty_batch_is_an_empty_answer(encoder: Encoder) -> None:
    assert list(encoder.encode([])) == []
