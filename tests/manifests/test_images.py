"""From a row to pixels: every published form of an image, and every way in which one can be broken."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from config.errors import CommandError
from inference.imaging.options import LoadOptions
from inference.imaging.rejections import REASONS
from inference.types import LoadedSeries
from tests.imaging.objects import CR, OP, ct_slices, dataset, save, with_pixels
from training.manifests.files import Manifest
from training.manifests.images import FILE_REASONS, load_row
from training.manifests.schema import Row

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RED = np.zeros((6, 8, 3), np.uint8)
RED[..., 0] = GREY


def row_of(path: str, **values: Any) -> Row:
    return Row(path, "P1", "S1", **values)


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedSeries]:
    """Loads the one image of a row whose path lies in the test's folder."""

    def load(path: str, **values: Any) -> LoadedSeries:
        result = load_row(_manifest(tmp_path), row_of(path, **values))
        assert not result.rejections
        (image,) = result.images
        return image

    return load


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The one reason for which a row has no image."""

    def load(path: str, options: LoadOptions | None = None, **values: Any) -> str:
        result = load_row(_manifest(tmp_path), row_of(path, **values), options)
        assert result.images == ()
        (rejection,) = result.rejections
        assert rejection.reason in {**REASONS, **FILE_REASONS}
        assert str(tmp_path) not in rejection.detail
        return rejection.reason

    return load


def _manifest(folder: Path) -> Manifest:
    return Manifest(folder / "manifest.csv", ("path", "patient_id", "study"))


def picture(pixels: NDArray[Any], path: Path, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# Radiographs


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_grey_picture_is_a_radiograph(tmp_path: Path, loaded: Callable[..., LoadedSeries], name: str) -> None:
    picture(GREY, tmp_path / name)
    image = loaded(name, view="LL", laterality="R", series="SE", instance="I")
    assert (image.kind, image.pixels.dtype, image.pixels.shape) == ("radiograph", np.float32, (6, 8))
    assert (image.pixels.min(), image.pixels.max()) == (0.0, 1.0)
    assert np.corrcoef(image.pixels.ravel(), GREY.ravel())[0, 1] > 0.99
    assert all(math.isnan(value) for value in image.spacing)
    assert (image.study_uid, image.series_uid, image.sop_instance_uids) == ("S1", "SE", ("I",))
    assert (image.view, image.laterality) == ("LATERAL", "R")


def test_sixteen_bits_are_kept(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    picture((GREY.astype(np.uint16) + 1) * 250, tmp_path / "a.png")
    assert np.unique(loaded("a.png").pixels).size == 48


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_other_clothes(tmp_path: Path, loaded: Callable[..., LoadedSeries], mode: str) -> None:
    picture(GREY, tmp_path / "a.png", mode)
    image = loaded("a.png", modality="DX")
    assert (image.kind, image.modality) == ("radiograph", "DX")
    assert np.corrcoef(image.pixels.ravel(), GREY.ravel())[0, 1] > 0.99


def test_what_is_transparent_shows_black(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    hidden = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    hidden[-1] = (255, 255, 255, 0)
    picture(hidden, tmp_path / "a.png")
    assert loaded("a.png").pixels[-1].max() == 0.0


def test_a_picture_is_turned_as_exif_says(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(GREY, tmp_path / "a.png", exif=exif)
    image = loaded("a.png")
    assert image.pixels.shape == (8, 6)
    assert np.corrcoef(image.pixels.ravel(), np.rot90(GREY, -1).ravel())[0, 1] > 0.99


def test_a_colour_picture_is_no_radiograph(tmp_path: Path, refused: Callable[..., str]) -> None:
    picture(RED, tmp_path / "a.png")
    assert refused("a.png", modality="DX") == "UNSUPPORTED_PHOTOMETRIC"


# Photographs


@pytest.mark.parametrize("modality", ["", "OP"])
def test_a_colour_picture_is_a_photograph(tmp_path: Path, loaded: Callable[..., LoadedSeries], modality: str) -> None:
    picture(RED, tmp_path / "a.png")
    image = loaded("a.png", modality=modality, view="MACULA", laterality="L")
    assert (image.kind, image.view, image.laterality) == ("fundus", "MACULA", "L")
    np.testing.assert_array_equal(image.pixels, RED)


@pytest.mark.parametrize("modality", ["XC", "SM", "DMS"])
def test_a_colour_picture_of_anything_but_an_eye(
    tmp_path: Path, loaded: Callable[..., LoadedSeries], modality: str
) -> None:
    picture(RED, tmp_path / "a.png")
    image = loaded("a.png", modality=modality)
    assert (image.kind, image.modality) == ("photograph", modality)


def test_cmyk_becomes_rgb(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    flat = np.full((16, 16, 3), (200, 40, 30), np.uint8)
    flat[:8] = (20, 30, 180)
    picture(flat, tmp_path / "a.jpg", "CMYK", quality=95)
    image = loaded("a.jpg")
    assert image.kind == "fundus"
    assert np.abs(image.pixels.astype(int) - flat).mean() < 8


def test_a_photograph_of_an_eye_has_colour(tmp_path: Path, refused: Callable[..., str]) -> None:
    picture(GREY, tmp_path / "a.png")
    assert refused("a.png", modality="OP") == "NOT_COLOUR"
    allowed = LoadOptions(allow=frozenset({"NOT_COLOUR"}))
    assert load_row(_manifest(tmp_path), row_of("a.png", modality="OP"), allowed).images[0].kind == "fundus"


# Damage


def test_one_picture_is_no_volume(tmp_path: Path, refused: Callable[..., str]) -> None:
    picture(GREY, tmp_path / "a.png")
    assert refused("a.png", modality="CT") == "TOO_FEW_SLICES"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_picture_is_refused(tmp_path: Path, refused: Callable[..., str], name: str) -> None:
    rng = np.random.default_rng(1)
    path = picture(rng.integers(0, 255, (64, 64), np.uint8), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(name) == "UNDECODABLE_PIXELS"


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path, refused: Callable[..., str]) -> None:
    whole = io.BytesIO()
    Image.fromarray(GREY).save(whole, "PNG")
    data = bytearray(whole.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    assert refused("a.png") == "IMAGE_TOO_LARGE"
    picture(GREY, tmp_path / "b.png")
    assert refused("b.png", LoadOptions(max_decoded_bytes=100)) == "IMAGE_TOO_LARGE"


def test_a_constant_picture_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    picture(np.zeros_like(GREY), tmp_path / "a.png")
    assert refused("a.png") == "CONSTANT_IMAGE"


def test_what_is_no_image_has_a_name(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "LICENSE").write_text("free")
    assert refused("none.png") == "MISSING_FILE"
    assert refused("a.txt") == "UNKNOWN_FORMAT"
    assert refused("folder") == "EMPTY_FOLDER"


def test_a_folder_has_as_many_files_as_a_series_has_instances(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.manifests.images.MAX_FILES", 4)
    ct_slices(tmp_path / "ct", range(5))
    assert refused("ct") == "TOO_MANY_FILES"


def test_a_path_outside_is_the_persons_mistake(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        load_row(_manifest(tmp_path / "in"), row_of("../a.png"))


# DICOM


def test_a_dicom_film_and_what_the_row_knows_better(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    film = with_pixels(dataset(CR, Modality="CR", ViewPosition="PA", PixelSpacing=[0.2, 0.1]), GREY)
    save(film, tmp_path / "film.dcm")
    image = loaded("film.dcm")
    assert (image.kind, image.view, image.modality, image.spacing) == ("radiograph", "PA", "CR", (0.2, 0.1))
    image = loaded("film.dcm", view="AP", modality="DX", laterality="L")
    assert (image.view, image.modality, image.laterality) == ("AP", "DX", "L")
    assert image.study_uid == film.StudyInstanceUID


def test_a_dicom_photograph_takes_its_view_from_the_row(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    save(with_pixels(dataset(OP, Modality="OP", ImageLaterality="R"), RED, "RGB"), tmp_path / "eye.dcm")
    image = loaded("eye.dcm", view="DISC")
    assert (image.kind, image.view, image.laterality) == ("fundus", "DISC", "R")


def test_a_folder_holds_one_series(
    tmp_path: Path, loaded: Callable[..., LoadedSeries], refused: Callable[..., str]
) -> None:
    ct_slices(tmp_path / "ct", range(5))
    (tmp_path / "ct" / "LICENSE").write_text("a note beside the slices")
    image = loaded("ct")
    assert (image.kind, image.modality) == ("volume", "CT")
    assert image.affine is not None
    ct_slices(tmp_path / "other", range(1), SeriesInstanceUID="2.25.9")
    (tmp_path / "other" / "001.dcm").rename(tmp_path / "ct" / "x.dcm")
    assert refused("ct") == "SEVERAL_SERIES"


def test_a_damaged_dicom_object_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = save(with_pixels(dataset(CR, Modality="CR"), GREY), tmp_path / "film.dcm")
    path.write_bytes(path.read_bytes()[:-40])
    assert refused("film.dcm") == "TRUNCATED_PIXELS"


# NIfTI


def nifti(path: Path, pixels: NDArray[Any], spacing: tuple[float, ...] = (1.0, 2.0, 3.0), **geometry: Any) -> Path:
    import SimpleITK

    sitk: Any = SimpleITK
    image = sitk.GetImageFromArray(pixels, isVector=False)
    image.SetSpacing(spacing)
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


VOXELS = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7) * 10 - 1500


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
def test_a_nifti_volume_lies_in_lps(tmp_path: Path, loaded: Callable[..., LoadedSeries], name: str) -> None:
    nifti(tmp_path / name, VOXELS, Origin=(-10.0, 20.0, 30.0), Direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1))
    image = loaded(name, modality="MR")
    np.testing.assert_array_equal(image.pixels, VOXELS)
    assert (image.kind, image.modality, image.pixels.dtype) == ("volume", "MR", np.float32)
    assert image.spacing == (3.0, 2.0, 1.0)
    assert image.affine is not None
    # One slice on is 3 mm down, one row on 2 mm to the back, one column on 1 mm to the right.
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-10, 20, 30, 1], atol=1e-4)
    np.testing.assert_allclose(image.affine @ [1, 1, 1, 1], [-11, 22, 27, 1], atol=1e-4)


def test_a_nifti_ct_is_in_hounsfield_units(tmp_path: Path, loaded: Callable[..., LoadedSeries]) -> None:
    nifti(tmp_path / "a.nii", VOXELS)
    image = loaded("a.nii", modality="CT")
    np.testing.assert_array_equal(image.pixels, np.maximum(VOXELS, -1024))


def test_nifti_that_cannot_be_used(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = nifti(tmp_path / "a.nii", VOXELS)
    assert refused("a.nii") == "NO_MODALITY"
    assert refused("a.nii", modality="PT") == "UNSUPPORTED_SOP_CLASS"
    assert refused("a.nii", LoadOptions(max_decoded_bytes=1000), modality="MR") == "IMAGE_TOO_LARGE"
    nifti(tmp_path / "flat.nii", np.zeros_like(VOXELS))
    assert refused("flat.nii", modality="MR") == "CONSTANT_IMAGE"
    nifti(tmp_path / "thin.nii", VOXELS[:3])
    assert refused("thin.nii", modality="MR") == "TOO_FEW_SLICES"
    nifti(tmp_path / "time.nii", np.stack([VOXELS, VOXELS]), (1.0, 1.0, 1.0, 1.0))
    assert refused("time.nii", modality="MR") == "MULTIFRAME_UNSUPPORTED"
    (tmp_path / "text.nii").write_text("hello")
    assert refused("text.nii", modality="MR") == "UNDECODABLE_PIXELS"
    data = bytearray(path.read_bytes())
    (tmp_path / "cut.nii").write_bytes(data[:500])
    assert refused("cut.nii", modality="MR") == "TRUNCATED_PIXELS"
    packed = nifti(tmp_path / "whole.nii.gz", VOXELS).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(packed[: len(packed) // 2])
    assert refused("cut.nii.gz", modality="MR") == "TRUNCATED_PIXELS"
    nifti(tmp_path / "pair.hdr", VOXELS)
    (tmp_path / "pair.img").write_bytes(b"")
    assert refused("pair.hdr", modality="MR") in ("TRUNCATED_PIXELS", "UNDECODABLE_PIXELS")
    data[42:48] = (30_000).to_bytes(2, "little") * 3
    (tmp_path / "huge.nii").write_bytes(data)
    assert refused("huge.nii", modality="MR") == "IMAGE_TOO_LARGE"


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    noise = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    paths = (picture(noise, folder / "a.jpg"), picture(noise, folder / "a.png"), nifti(folder / "a.nii", VOXELS))
    return {path.name: path.read_bytes() for path in paths}


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(["a.jpg", "a.png", "a.nii"]),
    changes=st.lists(st.tuples(st.integers(0, 360), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.none() | st.integers(0, 2000),
)
def test_damaged_files_are_images_or_named_refusals(
    tmp_path_factory: pytest.TempPathFactory,
    whole_files: dict[str, bytes],
    name: str,
    changes: list[tuple[int, int]],
    cut: int | None,
) -> None:
    data = bytearray(whole_files[name])
    for place, value in changes:
        data[place] = value
    folder = tmp_path_factory.getbasetemp()
    (folder / name).write_bytes(data[:cut])
    modality = "MR" if name == "a.nii" else ""
    result = load_row(_manifest(folder), row_of(name, modality=modality), LoadOptions(max_decoded_bytes=10_000_000))
    for image in result.images:
        assert np.isfinite(image.pixels).all()
        assert image.affine is None or np.isfinite(image.affine).all()
    assert result.images or result.rejections[0].reason in {**REASONS, **FILE_REASONS}


# Volumes published as pictures


def test_pictures_of_a_folder_are_slices_in_the_order_of_their_numbers(
    tmp_path: Path, loaded: Callable[..., LoadedSeries]
) -> None:
    (tmp_path / "scan").mkdir()
    for number in range(12):
        picture(np.full_like(GREY, number * 10), tmp_path / "scan" / f"{number}.png", "RGB" if number == 3 else None)
    image = loaded("scan", modality="CT")
    assert (image.kind, image.modality, image.affine) == ("volume", "CT", None)
    assert image.pixels[:, 0, 0].tolist() == [number * 10 for number in range(12)]
    assert all(math.isnan(value) for value in image.spacing)


def test_pictures_of_a_folder_that_make_no_volume(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "scan").mkdir()
    for number in range(3):
        picture(GREY, tmp_path / "scan" / f"{number}.png")
    assert refused("scan", modality="CT") == "TOO_FEW_SLICES"
    picture(GREY[:3], tmp_path / "scan" / "3.png")
    assert refused("scan", modality="CT") == "MIXED_SERIES"
    assert refused("scan") == "NO_MODALITY"
    picture(np.repeat(RED, 2, axis=0)[:6], tmp_path / "scan" / "3.png")
    assert refused("scan", modality="CT") == "UNSUPPORTED_PHOTOMETRIC"
    assert refused("scan", LoadOptions(max_decoded_bytes=500), modality="CT") == "IMAGE_TOO_LARGE"
