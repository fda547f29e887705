"""Photographs: RGB, whatever colour space and syntax they came in, and what they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, JPEG2000Lossless, RLELossless

from inference.types import LoadedSeries
from tests.imaging.objects import OP, SC, dataset, load, reasons, save, with_pixels


def photograph() -> NDArray[np.uint8]:
    """A red disc with a yellow spot on black."""
    y, x = np.mgrid[:32, :32] - 15.5
    image = np.zeros((32, 32, 3), np.uint8)
    image[np.hypot(y, x) < 14] = (200, 60, 20)
    image[np.hypot(y, x - 6) < 4] = (240, 220, 120)
    return image


def ybr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PS3.3 C.7.6.3.1.2, YBR_FULL."""
    r, g, b = np.moveaxis(rgb.astype(float), 2, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.asarray(
        np.clip(np.rint(np.stack([y, 128 + (b - y) * 0.5643, 128 + (r - y) * 0.7133], axis=2)), 0, 255), dtype=np.uint8
    )


def only(path: Path, kind: str = "fundus") -> LoadedSeries:
    result = load(path)
    assert reasons(result) == {}
    (image,) = result.images
    assert (image.kind, image.pixels.dtype.name, image.pixels.shape) == (kind, "uint8", (32, 32, 3))
    return image


def op(pixels: Any, photometric: str = "RGB", **attributes: Any) -> Dataset:
    return with_pixels(dataset(OP, Modality="OP", **attributes), pixels, photometric)


def test_rgb(tmp_path: Path) -> None:
    np.testing.assert_array_equal(only(save(op(photograph()), tmp_path / "a.dcm")).pixels, photograph())


def test_ybr_full(tmp_path: Path) -> None:
    image = only(save(op(ybr(photograph()), "YBR_FULL"), tmp_path / "a.dcm"))
    assert np.abs(image.pixels.astype(int) - photograph()).max() <= 3


def test_colour_by_plane(tmp_path: Path) -> None:
    ds = op(photograph())
    ds.PlanarConfiguration = 1
    ds.PixelData = np.moveaxis(photograph(), 2, 0).tobytes()
    np.testing.assert_array_equal(only(save(ds, tmp_path / "a.dcm")).pixels, photograph())


@pytest.mark.parametrize(
    ("syntax", "photometric"), [(RLELossless, "RGB"), (JPEG2000Lossless, "YBR_RCT"), (JPEG2000, "YBR_ICT")]
)
def test_compressed(tmp_path: Path, syntax: str, photometric: str) -> None:
    ds = op(photograph())
    save(ds, tmp_path / "a.dcm")
    options: dict[str, Any] = {"j2k_psnr": [60]} if syntax == JPEG2000 else {}
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.PhotometricInterpretation = photometric
        ds.compress(syntax, generate_instance_uid=False, encoding_plugin="pylibjpeg", **options)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    difference = np.abs(only(tmp_path / "a.dcm").pixels.astype(int) - photograph())
    assert difference.max() <= (8 if syntax == JPEG2000 else 0)


def test_palette_colour(tmp_path: Path) -> None:
    colours, index = np.unique(photograph().reshape(-1, 3), axis=0, return_inverse=True)
    ds = op(index.reshape(32, 32).astype(np.uint8), "PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [len(colours), 0, 16])
        ds[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(ds, f"{name}PaletteColorLookupTableData", (colours[:, channel].astype("<u2") * 257).tobytes())
    np.testing.assert_array_equal(only(save(ds, tmp_path / "a.dcm")).pixels, photograph())


def test_a_damaged_palette_is_named(tmp_path: Path) -> None:
    ds = op(photograph()[..., 0], "PALETTE COLOR")
    assert reasons(load(save(ds, tmp_path / "a.dcm"))) == {"UNDECODABLE_PIXELS": 1}


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    wide = photograph().astype(np.uint16) << 4
    ds = op(photograph())
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = wide.tobytes()
    ds["PixelData"].VR = "OW"
    np.testing.assert_array_equal(only(save(ds, tmp_path / "a.dcm")).pixels, photograph())


@pytest.mark.parametrize("modality", ["OP", "XC", "OT", "SC", ""])
def test_a_secondary_capture_in_colour_is_a_photograph(tmp_path: Path, modality: str) -> None:
    ds = with_pixels(dataset(SC, Modality=modality), photograph(), "RGB")
    kind = "photograph" if modality == "XC" else "fundus"
    np.testing.assert_array_equal(only(save(ds, tmp_path / "a.dcm"), kind).pixels, photograph())


@pytest.mark.parametrize(
    ("attributes", "side"),
    [({"ImageLaterality": "R"}, "R"), ({"Laterality": "L"}, "L"), ({"SeriesDescription": "Fundus OD 45"}, "R"),
     ({"ProtocolName": "os macula"}, "L"), ({"SeriesDescription": "GOD"}, "")],
)  # fmt: skip
def test_which_eye(tmp_path: Path, attributes: dict[str, Any], side: str) -> None:
    assert only(save(op(photograph(), **attributes), tmp_path / "a.dcm")).laterality == side


XC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.3"


@pytest.mark.parametrize(
    ("sop_class", "attributes", "kind"),
    [
        (XC, {"Modality": "XC"}, "photograph"),
        (XC, {"Modality": "XC", "BodyPartExamined": "SKIN"}, "photograph"),
        (XC, {"Modality": "XC", "BodyPartExamined": "EYE"}, "fundus"),
        (XC, {"Modality": "XC", "SeriesDescription": "Retinal photograph OD"}, "fundus"),
        # What the routing rules take for an eye is one here too, and an eyelid is none.
        (XC, {"Modality": "XC", "SeriesDescription": "Left eye"}, "fundus"),
        (XC, {"Modality": "XC", "BodyPartExamined": "EYELID"}, "photograph"),
        (XC, {"Modality": "OP"}, "fundus"),
        (SLIDE, {"Modality": "SM"}, "photograph"),
        (SC, {"Modality": "XC"}, "photograph"),
        (SC, {"Modality": "XC", "StudyDescription": "FUNDUS"}, "fundus"),
        (SC, {"Modality": "OT"}, "fundus"),
        (SC, {"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "VOLUME"]}, "photograph"),
        (SC, {"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "VOLREN"]}, "photograph"),
    ],
)
def test_what_a_photograph_is_of(tmp_path: Path, sop_class: str, attributes: dict[str, Any], kind: str) -> None:
    path = save(with_pixels(dataset(sop_class, **attributes), photograph(), "RGB"), tmp_path / "a.dcm")
    result = load(path)
    assert reasons(result) == {}
    assert [image.kind for image in result.images] == [kind]


def test_a_screen_shot_of_a_scanner_is_no_rendering(tmp_path: Path) -> None:
    screen = dataset(SC, Modality="CT", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    path = save(with_pixels(screen, photograph(), "RGB"), tmp_path / "a.dcm")
    assert reasons(load(path)) == {"UNSUPPORTED_SOP_CLASS": 1}
