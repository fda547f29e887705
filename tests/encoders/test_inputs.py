"""Network input: one shape, no border, no chance; what cannot be used has a name."""

from __future__ import annotations

import tomllib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import EncoderError, ImagingError
from inference.encoders.inputs import InputSpec, field_of_view, is_flat, prepare, spread
from inference.types import LoadedSeries


def image(kind: str, pixels: np.ndarray, modality: str = "") -> LoadedSeries:
    named = modality or {"radiograph": "DX", "fundus": "OP", "photograph": "XC", "volume": "CT"}[kind]
    return LoadedSeries("1.1", "1.2", (), named, kind, pixels, (1.0,) * 2)  # type: ignore[arg-type]


def film(rows: int = 90, columns: int = 70, seed: int = 1) -> LoadedSeries:
    rng = np.random.default_rng(seed)
    values = cv2.GaussianBlur(rng.standard_normal((rows, columns)).astype(np.float32), (0, 0), 4)
    return image("radiograph", (values - values.min()) / (values.max() - values.min()))


@given(
    rows=st.integers(1, 80),
    columns=st.integers(1, 80),
    size=st.integers(16, 48),
    fit=st.sampled_from(["crop", "letterbox", "stretch"]),
    crop=st.floats(0, 0.4),
    kind=st.sampled_from(["radiograph", "fundus", "photograph", "volume"]),
    slices=st.integers(1, 5),
    enhance=st.sampled_from([(), ("clahe", "canny"), ("local-contrast",)]),
)
@settings(max_examples=80, deadline=None)
def test_any_image_becomes_planes_of_one_shape_and_always_the_same(
    rows: int, columns: int, size: int, fit: Any, crop: float, kind: str, slices: int, enhance: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(rows * 100 + columns)
    shape = {"radiograph": (rows, columns), "volume": (3, rows, columns)}.get(kind, (rows, columns, 3))
    pixels = rng.uniform(0, 1, shape).astype(np.float32) if len(shape) == 2 or kind == "volume" else None
    one = image(kind, rng.integers(0, 256, shape, np.uint8) if pixels is None else pixels)
    spec = InputSpec(size=size, crop=crop, fit=fit, slices=slices, enhance=enhance)
    found = prepare(one, spec)
    assert found.shape == (slices if kind == "volume" else 1, 3, size, size)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, prepare(one, spec))


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_nothing_of_the_border_is_seen(fit: Any) -> None:
    plain, marked = film(), film()
    pixels = marked.pixels.copy()
    pixels[:9], pixels[-9:], pixels[:, :7], pixels[:, -7:] = 1.0, 0.0, 1.0, 0.0
    spec = InputSpec(size=32, crop=0.1, fit=fit, enhance=("local-contrast",))
    assert np.array_equal(prepare(plain, spec), prepare(image("radiograph", pixels), spec))
    whole = InputSpec(size=32, crop=0.0, fit=fit)
    assert not np.array_equal(prepare(plain, whole), prepare(image("radiograph", pixels), whole))


def test_aspect_is_kept_or_not_as_the_spec_says() -> None:
    """A disc in a landscape film stays a disc, but for ``stretch``; ``letterbox`` alone leaves black bars."""
    rows, columns = np.mgrid[:60, :120]
    pixels = np.where((rows - 30) ** 2 + (columns - 60) ** 2 < 20**2, 1.0, 0.5).astype(np.float32)
    disc = image("radiograph", pixels)
    seen = {fit: prepare(disc, InputSpec(size=60, fit=fit))[0, 0] for fit in ("crop", "letterbox", "stretch")}
    widths = {fit: (plane > 200).any(axis=0).sum() / (plane > 200).any(axis=1).sum() for fit, plane in seen.items()}
    assert widths["crop"] == pytest.approx(1, abs=0.1)
    assert widths["letterbox"] == pytest.approx(1, abs=0.1)
    assert widths["stretch"] == pytest.approx(0.5, abs=0.1)
    assert (seen["letterbox"][:14] == 0).all()
    assert (seen["crop"] > 0).all()


def test_windows_in_hounsfield_units_are_channels() -> None:
    volume = np.zeros((5, 16, 16), np.float32)
    volume[:, 0], volume[:, 1], volume[:, 2] = -1000, 40, 700
    one = prepare(image("volume", volume), InputSpec(size=16, fit="stretch", windows=((40, 400),)))[0]
    assert [int(one[0, row, 0]) for row in (0, 1, 2)] == [0, 128, 255]
    assert np.array_equal(one[0], one[2])
    spec = InputSpec(size=16, windows=((-600, 1500), (40, 400), (400, 1800)))
    lung, soft, bone = prepare(image("volume", volume), spec)[0, :, 1, 0]
    assert lung > soft > bone
    other_units = image("volume", volume * 3 + 5000, "MR")
    np.testing.assert_allclose(
        prepare(other_units, InputSpec(size=16)).astype(int),
        prepare(image("volume", volume, "MR"), InputSpec(size=16)).astype(int),
        atol=1,
    )


@given(count=st.integers(1, 300), wanted=st.integers(1, 64), span=st.floats(0.01, 1.0))
def test_slices_are_spread_over_the_middle_in_order(count: int, wanted: int, span: float) -> None:
    found = spread(count, wanted, span)
    assert len(found) == wanted
    assert found == sorted(found)
    middle, reach = (count - 1) / 2, span / 2 * (count - 1)
    assert all(middle - reach - 0.51 <= index <= middle + reach + 0.51 and 0 <= index < count for index in found)
    mirrored = [count - 1 - index for index in reversed(found)]
    assert all(abs(a - b) <= 1 for a, b in zip(found, mirrored, strict=True))


def test_the_black_frame_of_a_fundus_camera_goes_and_that_of_a_photograph_stays() -> None:
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:100, :100]
    eye = np.where(((rows - 50) ** 2 + (columns - 50) ** 2 < 49**2)[..., None], rng.integers(80, 200, (100, 100, 3)), 0)
    eye = eye.astype(np.uint8)
    framed = np.pad(eye, ((30, 10), (80, 5), (0, 0)))
    framed[2:4, 2:6] = 255  # a reflection on the frame
    assert field_of_view(framed).shape == pytest.approx((99, 99, 3), abs=2)
    spec = InputSpec(size=48)
    a, b = (prepare(image("fundus", pixels), spec).astype(int) for pixels in (eye, framed))
    assert np.abs(a - b).mean() < 8
    c = prepare(image("photograph", framed), spec).astype(int)
    assert np.abs(a - c).mean() > 20
    dark = np.zeros((40, 40, 3), np.uint8)
    assert field_of_view(dark).shape == dark.shape


def test_plain_pictures_do_not_tell_what_their_header_says() -> None:
    rng = np.random.default_rng(5)
    volume = rng.normal(300, 80, (7, 40, 40)).astype(np.float32)
    spec = InputSpec(size=32, crop=0.2, plain=True)
    ct, mr = (prepare(image("volume", volume, modality), spec) for modality in ("CT", "MR"))
    low, high = float(volume[3].min()), float(volume[3].max())
    film_of_it = prepare(image("radiograph", (volume[3] - low) / (high - low)), spec)
    assert np.array_equal(ct, mr)
    np.testing.assert_allclose(ct.astype(int), film_of_it.astype(int), atol=1)
    eye = np.zeros((60, 80, 3), np.uint8)
    eye[10:50, 20:60] = rng.integers(60, 200, (40, 40, 3))
    assert np.array_equal(prepare(image("fundus", eye), spec), prepare(image("photograph", eye), spec))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_pixel_that_is_no_number_refuses_the_image_by_name(value: float) -> None:
    pixels = film().pixels.copy()
    pixels[3, 4] = value
    with pytest.raises(ImagingError) as caught:
        prepare(image("radiograph", pixels), InputSpec())
    assert caught.value.reason == "NOT_FINITE"


def test_an_image_without_pixels_is_refused_and_a_flat_one_is_flat() -> None:
    with pytest.raises(ImagingError) as caught:
        prepare(image("radiograph", np.zeros((0, 5), np.float32)), InputSpec())
    assert caught.value.reason == "NO_PIXELS"
    assert is_flat(image("radiograph", np.full((5, 5), 0.3, np.float32)))
    assert not is_flat(film())


def test_a_spec_survives_toml() -> None:
    text = """
    size = 96
    crop = 0.1
    fit = "letterbox"
    slices = 3
    span = 0.8
    windows = [[-600, 1500], [40, 400], [400, 1800]]
    enhance = ["clahe:clip=3", "canny"]
    plain = true
    """
    spec = InputSpec.from_mapping(tomllib.loads(text))
    assert spec.windows[0] == (-600.0, 1500.0)
    assert InputSpec.from_mapping(spec.to_mapping()) == spec
    assert hash(spec) == hash(InputSpec.from_mapping(spec.to_mapping()))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"size": 8}, "size"),
        ({"size": "big"}, "size|big|str"),
        ({"crop": 0.6}, "crop"),
        ({"crop": float("nan")}, "crop"),
        ({"fit": "squeeze"}, "fit"),
        ({"slices": 0}, "slices"),
        ({"span": 0}, "span"),
        ({"windows": [[40, 0]]}, "windows"),
        ({"windows": [[40, 400], [1, 2]]}, "windows"),
        ({"windows": [[40]]}, "unpack|values"),
        ({"enhance": ["sharpen"]}, "sharpen"),
        ({"sise": 224}, "sise"),
    ],
)
def test_a_spec_that_cannot_be_used_is_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        InputSpec.from_mapping(values)
    assert caught.value.reason == "INPUT_SPEC"
