"""Templates of pictures as bytes: they come back as they went, and damage has a name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from config.errors import EncoderError
from inference.verification import fundus_vessels, radiograph_detail
from inference.verification.fundus import FundusVerifier
from inference.verification.picture_alignment import Detail
from inference.verification.picture_codec import OVERHEAD, pack_nibbles, seal, unpack_nibbles, unseal
from inference.verification.protocol import Template
from inference.verification.radiograph import RadiographVerifier
from tests.verification.synthetic_pictures import eye, film, loaded

FILM = RadiographVerifier().template(loaded(film(1)))
EYE = FundusVerifier().template(loaded(eye(1), "fundus"))
KINDS = {"radiograph": (RadiographVerifier(), FILM), "fundus": (FundusVerifier(), EYE)}


@given(st.binary(max_size=200), st.integers(0, 255))
def test_what_is_sealed_is_unsealed(payload: bytes, number: int) -> None:
    assert unseal(seal(b"TEST", number, payload), b"TEST", number, len(payload)) == payload


@given(arrays.arrays(np.uint8, st.integers(0, 60).map(lambda n: 2 * n), elements=st.integers(0, 15)))
def test_nibbles_come_back(codes: np.ndarray) -> None:
    assert np.array_equal(unpack_nibbles(pack_nibbles(codes)), codes)


@settings(max_examples=20, deadline=None)
@given(
    arrays.arrays(np.float32, (128, 128), elements=st.floats(-4, 4, width=32), fill=st.floats(-2, 2, width=32)),
    arrays.arrays(np.bool_, (128, 128)),
)
def test_detail_comes_back_to_half_a_step(values: np.ndarray, known: np.ndarray) -> None:
    found = radiograph_detail.unpack(radiograph_detail.pack(Detail(values, known.astype(np.float32))))
    assert np.array_equal(found.weight > 0, known)
    assert np.abs(found.values - np.clip(values, -7 / 3, 7 / 3) * known).max() <= 1 / 6 + 1e-6
    assert not found.values[~known].any()


@settings(max_examples=20, deadline=None)
@given(arrays.arrays(np.float32, (126, 126), elements=st.floats(0, 6, width=32)), arrays.arrays(np.bool_, (126, 126)))
def test_vessels_come_back_to_half_a_step(values: np.ndarray, known: np.ndarray) -> None:
    found = fundus_vessels.unpack(fundus_vessels.pack(Detail(values, known.astype(np.float32))))
    assert np.array_equal(found.weight > 0, known)
    assert np.abs(found.values - np.clip(values, 0, 4) * known).max() <= 2 / 14 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_named(kind: str, data: st.DataObject) -> None:
    """Cut, lengthened or with any bits turned over: TEMPLATE_DAMAGED, or TEMPLATE_VERSION where the number was hit."""
    verifier, template = KINDS[kind]
    assert template is not None
    broken = bytearray(template.data)
    match data.draw(st.sampled_from(["flip", "cut", "lengthen", "other"])):
        case "flip":
            place = data.draw(st.integers(0, len(broken) - 1))
            broken[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            broken = broken[: data.draw(st.integers(0, len(broken) - 1))]
        case "lengthen":
            broken += data.draw(st.binary(min_size=1, max_size=20))
        case _:
            broken = bytearray(data.draw(st.binary(max_size=64)))
    with pytest.raises(EncoderError) as caught:
        verifier.score(replace(template, data=bytes(broken)), template)
    assert caught.value.reason in ("TEMPLATE_DAMAGED", "TEMPLATE_VERSION")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), few=st.booleans())
def test_any_readable_template_has_a_score(kind: str, seed: int, few: bool) -> None:
    """Whatever a sealed payload says (noise, nothing at all), comparison ends with finite numbers."""
    verifier, template = KINDS[kind]
    assert template is not None
    rng = np.random.default_rng(seed)
    payload = rng.integers(0, 256, len(template.data) - OVERHEAD).astype(np.uint8)
    if few:
        payload[rng.random(len(payload)) < 0.999] = 0
    odd = replace(template, data=seal(template.data[:4], template.data[4], payload.tobytes()))
    for pair in ((odd, template), (odd, odd)):
        found = verifier.compare(*pair)
        assert 0 <= found.score <= 1
        assert np.isfinite(found.transform).all()
        assert all(np.isfinite(value) for value in found.details.values())


@pytest.mark.parametrize("kind", KINDS)
def test_templates_of_others_are_refused(kind: str) -> None:
    verifier, template = KINDS[kind]
    assert template is not None
    later = bytearray(template.data)
    later[4] += 1
    for other in (
        replace(template, version="0"),
        replace(template, verifier="somebody"),
        replace(template, data=bytes(later)),
    ):
        for pair in ((other, template), (template, other)):
            for ask in (verifier.score, verifier.compare):
                with pytest.raises(EncoderError) as caught:
                    ask(*pair)
                assert caught.value.reason == "TEMPLATE_VERSION"


def test_a_template_of_one_kind_in_the_others_clothes_is_damaged() -> None:
    assert FILM is not None
    assert EYE is not None
    disguised: Template = replace(EYE, data=FILM.data)
    with pytest.raises(EncoderError) as caught:
        FundusVerifier().score(disguised, EYE)
    assert caught.value.reason == "TEMPLATE_DAMAGED"
