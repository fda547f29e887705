"""Radiographs: what a reader would see, with bone bright, whatever way the object says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from inference.imaging.grey import unit_range, window
from inference.types import LoadedSeries
from tests.imaging.objects import CR, DX, SC, dataset, load, reasons, save, with_pixels

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def film(
    folder: Path, pixels: Any = RAMP, photometric: str = "MONOCHROME2", bits: int | None = None, **more: Any
) -> Path:
    modality = more.pop("Modality", "CR")
    ds = with_pixels(dataset(more.pop("SOPClass", CR), Modality=modality, **more), pixels, photometric, bits)
    return save(ds, folder / "film.dcm")


def only(path: Path, **options: Any) -> LoadedSeries:
    result = load(path, **options)
    assert reasons(result) == {}
    (image,) = result.images
    assert image.kind == "radiograph"
    assert image.pixels.dtype == np.float32
    assert (float(image.pixels.min()), float(image.pixels.max())) == (0.0, 1.0)
    return image


def rises(image: LoadedSeries) -> bool:
    return bool((np.diff(image.pixels.ravel()) >= 0).all())


def falls(image: LoadedSeries) -> bool:
    return bool((np.diff(image.pixels.ravel()) <= 0).all())


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "IDENTITY", True),
        # What DX demands: both say the same, and it is done once.
        ("MONOCHROME1", "INVERSE", True),
    ],
)
def test_inversion_is_applied_once(tmp_path: Path, photometric: str, shape: str | None, inverted: bool) -> None:
    more: dict[str, Any] = {"PresentationLUTShape": shape} if shape else {}
    image = only(film(tmp_path, photometric=photometric, SOPClass=DX, **more))
    assert (falls if inverted else rises)(image)


def test_a_negative_rescale_slope_turns_the_scale_and_monochrome1_turns_it_back(tmp_path: Path) -> None:
    assert falls(only(film(tmp_path, RescaleSlope=-1, RescaleIntercept=255)))
    assert rises(only(film(tmp_path, photometric="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=255)))


def lookup(values: list[int], first: int = 0, bits: int = 16) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = values
    item["LUTData"].VR = "US"
    return [item]


def test_the_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    """The LUT turns the scale, and the window cuts what is then high."""
    table = lookup(list(range(255, -1, -1)))
    image = only(film(tmp_path, ModalityLUTSequence=table, WindowCenter=64, WindowWidth=128))
    assert falls(image)
    assert (image.pixels.ravel()[:100] == 1.0).all()
    assert 0.0 < image.pixels.ravel()[200] < 1.0


def test_a_voi_lut_is_preferred_to_a_window(tmp_path: Path) -> None:
    table = lookup([0] * 128 + [1000] * 128)
    image = only(film(tmp_path, VOILUTSequence=table, WindowCenter=10, WindowWidth=5))
    assert image.pixels.ravel().tolist() == [0.0] * 128 + [1.0] * 128


def test_a_damaged_lut_is_passed_over(tmp_path: Path) -> None:
    assert rises(only(film(tmp_path, VOILUTSequence=lookup([5]), ModalityLUTSequence=lookup([7]))))


def test_padding_is_masked_before_the_scale_is_found(tmp_path: Path) -> None:
    """A GE film: 1000 to 1255 in a field of -2000, written as if unsigned."""
    pixels = np.full((32, 32), -2000, np.int16)
    pixels[8:24, 8:24] = 1000 + RAMP
    ds = with_pixels(dataset(CR, Modality="CR"), pixels)
    ds.add_new("PixelPaddingValue", "US", 63536)
    image = only(save(ds, tmp_path / "film.dcm"))
    assert (image.pixels[0] == 0.0).all()
    assert image.pixels[16, 8] == pytest.approx(0.5, abs=0.02)


def test_a_padding_range_is_masked_and_stays_black_in_monochrome1(tmp_path: Path) -> None:
    pixels = np.full((32, 32), 4090, np.uint16)
    pixels[0] = 4095
    pixels[8:24, 8:24] = RAMP
    image = only(film(tmp_path, pixels, "MONOCHROME1", 12, PixelPaddingValue=4090, PixelPaddingRangeLimit=4095))
    assert image.pixels[0, 0] == image.pixels[4, 4] == 0.0
    assert image.pixels[8, 8] == 1.0


def test_a_padding_that_covers_everything_is_a_mistake(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32), np.uint16)
    pixels[0, :4] = [1, 2, 3, 4]
    assert only(film(tmp_path, pixels, PixelPaddingValue=0)).pixels[0, 3] == 1.0


def test_overlays_in_high_bits_are_cut_off(tmp_path: Path) -> None:
    pixels = RAMP | np.uint16(0xF000)
    pixels[3, 3] &= 0x0FFF
    image = only(film(tmp_path, pixels, bits=12))
    assert rises(image)


def test_signed_values_of_twelve_bits_keep_their_sign(tmp_path: Path) -> None:
    pixels = (RAMP.astype(np.int16) - 128) & 0x0FFF
    assert rises(only(film(tmp_path, pixels.astype(np.int16), bits=12)))


def test_the_scale_is_robust_against_single_pixels(tmp_path: Path) -> None:
    pixels = np.tile(RAMP, (4, 4))
    pixels[0, 0] = 65535
    assert only(film(tmp_path, pixels)).pixels[8, 0] == pytest.approx(0.5, abs=0.05)


def test_a_window_of_another_image_is_ignored(tmp_path: Path) -> None:
    assert rises(only(film(tmp_path, WindowCenter=50_000, WindowWidth=10)))


@pytest.mark.parametrize(
    ("function", "width"), [("SIGMOID", 64), ("LINEAR_EXACT", 64), ("LINEAR", 64), ("NO SUCH", 64)]
)
def test_windows_steepen_the_middle(tmp_path: Path, function: str, width: int) -> None:
    image = only(film(tmp_path, WindowCenter=128, WindowWidth=width, VOILUTFunction=function))
    flat = image.pixels.ravel()
    assert rises(image)
    assert flat[140] - flat[116] > 2 * (flat[24] - flat[0] + flat[255] - flat[231])


def test_window_functions_are_those_of_the_standard() -> None:
    """Values of PS3.3 C.11.2.1.2.1 and C.11.2.1.3, with centre 50 and width 100 or 11."""
    x = np.array([-1.0, 0.0, 50.0, 99.0, 100.0], dtype=np.float32)
    np.testing.assert_allclose(
        window(x, 50, 100, "LINEAR"), [0, 0.5 - 49.5 / 99, 0.5 + 0.5 / 99, 0.5 + 49.5 / 99, 1], atol=1e-6
    )
    np.testing.assert_allclose(window(x, 50, 100, "LINEAR_EXACT"), [0, 0, 0.5, 0.99, 1], atol=1e-6)
    np.testing.assert_allclose(window(x, 50, 100, "SIGMOID")[2], 0.5, atol=1e-6)
    np.testing.assert_allclose(window(x, 50, 1, "LINEAR"), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(window(x, 50, 0, "LINEAR"), x)
    np.testing.assert_array_equal(window(x, 50, -1, "SIGMOID"), x)


@settings(max_examples=60, deadline=None)
@given(
    centre=st.floats(-1e5, 1e5),
    width=st.floats(1e-3, 1e5),
    function=st.sampled_from(["LINEAR", "SIGMOID", "LINEAR_EXACT"]),
)
def test_every_window_is_monotonous_and_bounded(centre: float, width: float, function: str) -> None:
    values = np.linspace(-2e5, 2e5, 500, dtype=np.float32)
    shown = window(values, centre, width, function)
    assert (np.diff(shown) >= 0).all()
    scaled = unit_range(shown, np.ones(500, dtype=bool))
    assert scaled is None or (scaled.min() >= 0.0 and scaled.max() <= 1.0)


@pytest.mark.parametrize("modality", ["", "OT", "SC", "DX"])
def test_a_secondary_capture_in_grey_is_a_radiograph(tmp_path: Path, modality: str) -> None:
    assert rises(only(film(tmp_path, RAMP.astype(np.uint8), SOPClass=SC, Modality=modality)))
    rgb = np.repeat(RAMP.astype(np.uint8)[..., None], 3, axis=2)
    assert rises(only(film(tmp_path, rgb, "RGB", SOPClass=SC, Modality=modality)))


def test_compressed_films_are_the_same_films(tmp_path: Path) -> None:
    plain = film(tmp_path)
    ds = with_pixels(dataset(CR, Modality="CR"), RAMP)
    save(ds, tmp_path / "rle.dcm")
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(only(plain).pixels, only(tmp_path / "rle.dcm").pixels)


def view_item(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", meaning
    return [item]


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "RL"}, "LATERAL"),
        ({"ViewPosition": "LATERAL"}, "LATERAL"),
        ({"ViewPosition": "LLO"}, "LLO"),
        ({"ViewPosition": ""}, ""),
        ({"ViewCodeSequence": view_item("postero-anterior")}, "PA"),
        ({"ViewCodeSequence": view_item("antero-posterior")}, "AP"),
        ({"ViewCodeSequence": view_item("left lateral")}, "LATERAL"),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"PatientOrientation": ["L", "F"], "SeriesDescription": "Thorax p.a."}, "PA"),
        ({"SeriesDescription": "Chest AP portable"}, "AP"),
        ({"SeriesDescription": "CHEST"}, ""),
        ({"ProtocolName": "W033 Chest Lat"}, "LATERAL"),
    ],
)
def test_views_have_one_spelling(tmp_path: Path, attributes: dict[str, Any], view: str) -> None:
    assert only(film(tmp_path, **attributes)).view == view


@pytest.mark.parametrize(
    ("attributes", "side"),
    [({"ImageLaterality": "L"}, "L"), ({"Laterality": "R"}, "R"), ({"Laterality": "X"}, ""), ({}, "")],
)
def test_sides(tmp_path: Path, attributes: dict[str, Any], side: str) -> None:
    assert only(film(tmp_path, **attributes)).laterality == side


def test_spacing_is_that_of_the_patient_or_else_of_the_detector(tmp_path: Path) -> None:
    assert only(film(tmp_path, PixelSpacing=[0.1, 0.2], ImagerPixelSpacing=[0.3, 0.4])).spacing == (0.1, 0.2)
    assert only(film(tmp_path, ImagerPixelSpacing=[0.3, 0.4])).spacing == (0.3, 0.4)
    assert np.isnan(only(film(tmp_path)).spacing).all()


def test_what_is_kept_of_the_header_names_nobody(tmp_path: Path) -> None:
    image = only(film(tmp_path, PatientName="PHANTOM^0001", Manufacturer="ACME", BodyPartExamined="CHEST"))
    assert image.attributes["Manufacturer"] == "ACME"
    assert not {"PatientName", "PatientID", "AccessionNumber"} & set(image.attributes)
    assert image.body_part == "CHEST"


def test_every_film_of_a_series_is_an_image(tmp_path: Path) -> None:
    paths = [save(with_pixels(dataset(CR, n, Modality="CR"), RAMP), tmp_path / f"{n}.dcm") for n in (1, 2)]
    assert [image.sop_instance_uids for image in load(*paths).images] == [("2.25.3.1",), ("2.25.3.2",)]
