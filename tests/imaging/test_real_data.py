"""Real series: what loads, with which geometry and units, and what their faces look like."""

from __future__ import annotations

import csv
import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from config.errors import HeaderError, ImagingError
from inference.imaging.depth import DepthMap, Face, face_depth, find_face
from inference.imaging.headers import read_header
from inference.imaging.rejections import REASONS
from inference.imaging.series import LoadOptions, LoadResult, load_series
from inference.types import InstanceHeader, LoadedSeries, SeriesHeader
from tests.imaging.objects import CR, CT, dataset, load, reasons, save, with_pixels

BUNDLED = Path(pydicom.data.__file__).parent
# Damaged on purpose; every decoder that pydicom knows refuses them too.
UNDECODABLE = {"JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}


def bundled_series() -> dict[str, list[InstanceHeader]]:
    found: dict[str, list[InstanceHeader]] = {}
    for path in sorted(path for path in BUNDLED.rglob("*") if path.is_file()):
        try:
            header = read_header(path)
        except HeaderError:
            continue
        apart = header.series_uid if "dicomdirtests" in path.parts else str(path)
        found.setdefault(apart, []).append(header)
    return found


@pytest.mark.parametrize("headers", bundled_series().values(), ids=lambda headers: headers[0].path.name)
def test_every_bundled_series_is_loaded_or_refused_by_name(headers: list[InstanceHeader]) -> None:
    series = SeriesHeader(headers[0].study_uid, headers[0].series_uid, tuple(headers))
    for allow in (frozenset(), frozenset(name for name, reason in REASONS.items() if reason.switchable)):
        result = load_series(series, LoadOptions(allow))
        assert result.images or result.rejections
        assert {rejection.reason for rejection in result.rejections} <= set(REASONS)
        assert ("UNDECODABLE_PIXELS" in reasons(result)) == (headers[0].path.name in UNDECODABLE)
        for image in result.images:
            assert np.isfinite(image.pixels).all()


def test_one_image_in_many_syntaxes_is_one_image() -> None:
    """The bundled MR slice, in five encodings of the same pixels, read as a volume of one."""
    names = ("MR_small", "MR_small_RLE", "MR_small_implicit", "MR_small_bigendian", "MR_small_jp2klossless",
             "MR_small_jpeg_ls_lossless", "MR_small_expb")  # fmt: skip
    from inference.imaging.pixels import open_pixels

    frames = [open_pixels(read_header(BUNDLED / "test_files" / f"{name}.dcm"), 2**20).frame() for name in names]
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame, frames[0])


def load_folder(folder: Path, *allow: str) -> LoadResult:
    return load(*sorted(folder.iterdir()), allow=allow)


@pytest.mark.data
def test_a_chest_ct_is_one_volume_without_a_face(data_folder: Path) -> None:
    result = load_folder(data_folder / "dicom" / "ct_chest")
    assert reasons(result) == {}
    (volume,) = result.images
    assert volume.pixels.shape == (138, 512, 512)
    assert volume.spacing == pytest.approx((2.0, 0.78125, 0.78125))
    # Air around the patient, soft tissue and lung within.
    assert np.median(volume.pixels[:, :20, :20]) == pytest.approx(-1000, abs=30)
    body = volume.pixels[60:80, 150:350, 150:350]
    assert ((body > -950) & (body < -700)).mean() > 0.1
    assert ((body > 0) & (body < 100)).mean() > 0.1
    with pytest.raises(ImagingError) as caught:
        find_face(volume)
    assert caught.value.reason == "NO_FACE"


@pytest.mark.data
def test_a_head_mr_lacks_one_slice_and_says_so(data_folder: Path) -> None:
    result = load_folder(data_folder / "dicom" / "mr_head_with_face")
    assert reasons(result) == {"SLICE_INCREMENT_INCONSISTENT": 175}
    assert result.rejections[0].detail == "1 of 174 steps differ from the median of 1.00 mm"


@pytest.fixture(scope="module")
def mr_face() -> Face:
    from tests.conftest import test_data_folder

    (volume,) = load_folder(test_data_folder() / "dicom" / "mr_head_with_face", "SLICE_INCREMENT_INCONSISTENT").images
    assert volume.pixels.shape == (176, 192, 192)
    return find_face(volume)


def is_a_face(depth_map: DepthMap) -> None:
    """Nose in the middle and foremost, eyes deeper than its bridge, mouth below, both halves much alike."""
    depth, mask = depth_map.depth, depth_map.mask
    assert mask.mean() > 0.35
    size = len(mask)

    def at(right: float, up: float) -> float:
        row, column = int(size / 2 - up / depth_map.pixel_mm), int(size / 2 + right / depth_map.pixel_mm)
        near = np.s_[row - 3 : row + 4, column - 3 : column + 4]
        assert mask[near].any()
        return float(np.median(depth[near][mask[near]]))

    assert at(0, 0) < 4.0
    assert at(-30, 0) > 15.0 < at(30, 0)
    assert at(0, -30) > 6.0
    assert at(32, 36) > at(0, 36) < at(-32, 36)
    both = mask & mask[:, ::-1]
    assert np.abs(depth - depth[:, ::-1])[both].mean() < 3.5


@pytest.mark.data
def test_a_head_mr_has_a_face(mr_face: Face) -> None:
    is_a_face(face_depth(mr_face, renderer="cpu"))
    assert mr_face.pose.axes[2] @ [0, -1, 0] > 0.9


@pytest.mark.data
@pytest.mark.egl
def test_both_renderers_agree_on_a_real_face(mr_face: Face) -> None:
    by_vtk, by_cpu = (face_depth(mr_face, renderer=renderer) for renderer in ("vtk", "cpu"))
    both = by_vtk.mask & by_cpu.mask
    assert both.sum() / (by_vtk.mask | by_cpu.mask).sum() > 0.98
    assert float(np.median(np.abs(by_vtk.depth - by_cpu.depth)[both])) < 0.5 * mr_face.grid.spacing


def coarse_head(data_folder: Path) -> NDArray[np.int16]:
    """The slices of the coarse head CT, top of the head first, raw units 1024 above Hounsfield's."""
    raw = gzip.decompress((data_folder / "head_ct_coarse.nii.gz").read_bytes())
    columns, rows, slices = struct.unpack("<3h", raw[42:48])
    start = int(struct.unpack("<f", raw[108:112])[0])
    return np.frombuffer(raw, "<i2", columns * rows * slices, start).reshape(slices, rows, columns)


def write_coarse_head(data_folder: Path, folder: Path, turn: NDArray[np.float64] | None = None) -> list[Path]:
    turn = np.eye(3) if turn is None else turn
    paths = []
    for number, pixels in enumerate(coarse_head(data_folder)):
        ds = dataset(
            CT, number + 1, Modality="CT", BodyPartExamined="HEAD", RescaleSlope=1, RescaleIntercept=-1024,
            ImagePositionPatient=[round(float(v), 6) for v in turn @ [-100.0, -100.0, 70.0 - 1.5 * number]],
            ImageOrientationPatient=[round(float(v), 7) for v in (*turn[:, 0], *turn[:, 1])],
            PixelSpacing=[3.2, 3.2], SliceThickness=1.5,
        )  # fmt: skip
        paths.append(save(with_pixels(ds, pixels), folder / f"{number:03d}.dcm"))
    return paths


def only(paths: list[Path]) -> LoadedSeries:
    (image,) = load(*paths).images
    return image


@pytest.mark.data
def test_a_coarse_head_ct_has_a_face_at_any_tilt(data_folder: Path, tmp_path: Path) -> None:
    upright = face_depth(only(write_coarse_head(data_folder, tmp_path / "upright")), renderer="cpu")
    is_a_face(replace(upright, mask=upright.mask & (upright.depth < 60)))
    for angles in ((10, 0, 0), (-6, 5, 8)):
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        tilted = face_depth(only(write_coarse_head(data_folder, tmp_path / str(angles), turn)), renderer="cpu")
        both = tilted.mask & upright.mask
        assert both.sum() > 0.9 * (tilted.mask | upright.mask).sum()
        assert np.corrcoef(tilted.depth[both], upright.depth[both])[0, 1] > 0.98


@pytest.mark.data
def test_real_films_survive_being_wrapped_as_dicom(data_folder: Path, tmp_path: Path) -> None:
    import cv2

    folder = data_folder / "paediatric_cxr"
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row, _ in zip(csv.DictReader(stream), range(6), strict=False)]
    for number, row in enumerate(rows):
        pixels = cv2.imread(str(folder / row["path"]), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        shown = np.asarray(pixels, dtype=np.uint8)
        plain = save(with_pixels(dataset(CR, number, Modality="CR"), shown), tmp_path / f"{number}.dcm")
        inverse = with_pixels(
            dataset(CR, number, Modality="CR"), 4095 - 16 * shown.astype(np.uint16), "MONOCHROME1", 12
        )
        first, second = (only([path]).pixels for path in (plain, save(inverse, tmp_path / f"{number}i.dcm")))
        np.testing.assert_allclose(first, second, atol=1e-4)
        assert np.corrcoef(first.ravel(), shown.ravel())[0, 1] > 0.99
