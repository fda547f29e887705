"""Every reason to refuse an image: a real object that provokes it, and what its switch does."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from config.errors import ConfigError
from inference.imaging.headers import read_header
from inference.imaging.rejections import REASONS, SWITCHABLE, check_allowed, refuse
from inference.imaging.series import LoadOptions, load_series
from inference.types import SeriesHeader
from tests.imaging.objects import (
    CR,
    CT,
    DX_RAW,
    MR,
    OP,
    SC,
    SR,
    ct_slices,
    dataset,
    explicit,
    identity,
    load,
    part10,
    reasons,
    save,
    with_pixels,
)

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)
# Those are provoked where faces are looked for, in test_faces.py, as those of chests are in test_bone_view.py.
OF_FACES = {"NO_FACE", "FACE_CUT", "FACE_CUT_AT_BROW", "NOT_HOUNSFIELD", "NO_SURFACE"}


def film(folder: Path, pixels: Any = RAMP, photometric: str = "MONOCHROME2", **attributes: Any) -> Path:
    return save(with_pixels(dataset(CR, Modality="CR", **attributes), pixels, photometric), folder / "film.dcm")


def native_film(folder: Path, rows: int, columns: int, data: bytes, syntax: str = "1.2.840.10008.1.2.1") -> Path:
    """A radiograph whose header promises what its pixels do not hold."""
    body = identity() + b"".join(
        explicit(tag, "US", value.to_bytes(2, "little"))
        for tag, value in (
            (0x00280002, 1), (0x00280010, rows), (0x00280011, columns),
            (0x00280100, 16), (0x00280101, 16), (0x00280102, 15), (0x00280103, 0),
        )
    )  # fmt: skip
    body = (
        body[: body.index(explicit(0x00280010, "US", rows.to_bytes(2, "little")))]
        + explicit(0x00280004, "CS", b"MONOCHROME2 ")
        + body[body.index(explicit(0x00280010, "US", rows.to_bytes(2, "little"))) :]
    )
    body += explicit(0x7FE00010, "OW", data)
    if syntax == "1.2.840.10008.1.2.1.99":
        machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = machine.compress(body) + machine.flush()
    path = folder / "film.dcm"
    path.write_bytes(part10(body, syntax))
    return path


def encapsulated_film(folder: Path, frame: bytes, syntax: str) -> Path:
    from pydicom.encaps import encapsulate

    ds = with_pixels(dataset(CR, Modality="CR"), np.zeros((8, 8), np.uint8))
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    return save(ds, folder / "film.dcm", syntax)


def only_reason(path_or_paths: Path | list[Path], **options: Any) -> str:
    paths = [path_or_paths] if isinstance(path_or_paths, Path) else path_or_paths
    result = load(*paths, **options)
    assert result.images == ()
    (reason,) = reasons(result)
    assert REASONS[reason].meaning
    return reason


def test_every_reason_is_provoked_in_these_tests() -> None:
    folder = Path(__file__).parent
    files = (Path(__file__), folder / "test_faces.py", folder.parent / "boneview" / "test_bone_view.py")
    here = "".join(file.read_text() for file in files)
    assert [name for name in REASONS if f'"{name}"' not in here] == []


def test_switches_are_checked_by_name() -> None:
    assert check_allowed(["LOCALIZER"]) == {"LOCALIZER"}
    with pytest.raises(ConfigError, match="'NOSUCH' is unknown"):
        check_allowed(["NOSUCH"])
    with pytest.raises(ConfigError, match="'NO_PIXELS' cannot be switched off"):
        check_allowed(["NO_PIXELS"])
    assert refuse("NO_PIXELS", "none").reason == "NO_PIXELS"
    assert not OF_FACES & SWITCHABLE


def test_unreadable_file(tmp_path: Path) -> None:
    path = film(tmp_path)
    header = read_header(path)
    path.unlink()
    result = load_series(SeriesHeader("1", "2", (header,)), LoadOptions())
    assert reasons(result) == {"UNREADABLE_FILE": 1}


def test_no_pixels(tmp_path: Path) -> None:
    assert only_reason(save(dataset(SR, Modality="SR"), tmp_path / "a.dcm")) == "NO_PIXELS"
    empty = save(dataset(CR, Modality="CR", Rows=8, Columns=8), tmp_path / "b.dcm")
    assert only_reason(empty) == "NO_PIXELS"


def test_unsupported_sop_class(tmp_path: Path) -> None:
    ultrasound = with_pixels(dataset("1.2.840.10008.5.1.4.1.1.6.1", Modality="US"), RAMP)
    assert only_reason(save(ultrasound, tmp_path / "a.dcm")) == "UNSUPPORTED_SOP_CLASS"
    screen = with_pixels(dataset(SC, Modality="CT"), RAMP)
    assert only_reason(save(screen, tmp_path / "b.dcm")) == "UNSUPPORTED_SOP_CLASS"


def test_for_processing(tmp_path: Path) -> None:
    raw = dataset(DX_RAW, Modality="DX", PresentationIntentType="FOR PROCESSING")
    path = save(with_pixels(raw, RAMP), tmp_path / "a.dcm")
    assert only_reason(path) == "FOR_PROCESSING"
    (image,) = load(path, allow=["FOR_PROCESSING"]).images
    assert image.pixels.max() == 1.0


def test_unsupported_transfer_syntax(tmp_path: Path) -> None:
    path = encapsulated_film(tmp_path, b"video!", "1.2.840.10008.1.2.4.102")
    assert only_reason(path) == "UNSUPPORTED_TRANSFER_SYNTAX"
    path = native_film(tmp_path, 8, 8, bytes(128), "1.2.3.4.5")
    assert only_reason(path) == "UNSUPPORTED_TRANSFER_SYNTAX"


def test_undecodable_pixels(tmp_path: Path) -> None:
    assert only_reason(encapsulated_film(tmp_path, b"no jpeg at all", JPEGBaseline8Bit)) == "UNDECODABLE_PIXELS"


def test_a_frame_that_announces_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    huge = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(40)
    result = load(encapsulated_film(tmp_path, huge, JPEGBaseline8Bit))
    assert reasons(result) == {"UNDECODABLE_PIXELS": 1}
    assert "the frame holds 12884508675 samples, the header says 64" in result.rejections[0].detail


def test_truncated_pixels(tmp_path: Path) -> None:
    path = native_film(tmp_path, 8, 8, RAMP.tobytes()[:100])
    assert only_reason(path) == "TRUNCATED_PIXELS"
    (image,) = load(path, allow=["TRUNCATED_PIXELS"]).images
    assert image.pixels[-1].max() == 0.0
    assert image.pixels[5, 7] > 0.5


def test_an_encapsulated_object_that_breaks_off_is_truncated(tmp_path: Path) -> None:
    path = encapsulated_film(tmp_path, b"\xff\xd8" + bytes(5000), JPEGBaseline8Bit)
    path.write_bytes(path.read_bytes()[:-3000])
    assert only_reason(path) == "TRUNCATED_PIXELS"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_image_too_large(tmp_path: Path, syntax: str) -> None:
    path = native_film(tmp_path, 60_000, 60_000, bytes(100), syntax)
    assert only_reason(path) == "IMAGE_TOO_LARGE"


def test_a_deflated_bomb_is_too_large(tmp_path: Path) -> None:
    path = native_film(tmp_path, 8, 8, bytes(8 * 1024 * 1024), "1.2.840.10008.1.2.1.99")
    assert path.stat().st_size < 20_000
    assert only_reason(path, limit=1024 * 1024) == "IMAGE_TOO_LARGE"


def test_an_rle_frame_that_could_be_a_bomb_is_too_large(tmp_path: Path) -> None:
    path = encapsulated_film(tmp_path, bytes(40_000), RLELossless)
    assert only_reason(path, limit=1024 * 1024) == "IMAGE_TOO_LARGE"


def test_a_volume_and_a_series_of_films_may_be_too_large_together(tmp_path: Path) -> None:
    assert only_reason(ct_slices(tmp_path, range(5)), limit=1500) == "IMAGE_TOO_LARGE"
    ramp = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    films = [save(with_pixels(dataset(CR, n, Modality="CR"), ramp), tmp_path / f"{n}.dcm") for n in (1, 2, 3)]
    result = load(*films, limit=10_000)
    assert len(result.images) == 2
    assert reasons(result) == {"IMAGE_TOO_LARGE": 1}


def test_unsupported_photometric(tmp_path: Path) -> None:
    assert only_reason(film(tmp_path, photometric="PALETTE COLOR")) == "UNSUPPORTED_PHOTOMETRIC"
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:, 4:, 0] = 200
    assert only_reason(film(tmp_path, colour, "RGB")) == "UNSUPPORTED_PHOTOMETRIC"


def test_not_colour(tmp_path: Path) -> None:
    path = save(with_pixels(dataset(OP, Modality="OP"), RAMP.astype(np.uint8)), tmp_path / "a.dcm")
    assert only_reason(path) == "NOT_COLOUR"
    (image,) = load(path, allow=["NOT_COLOUR"]).images
    assert image.kind == "fundus"
    assert (image.pixels[..., 0] == image.pixels[..., 2]).all()
    assert image.pixels.max() == 255


def test_constant_image(tmp_path: Path) -> None:
    path = film(tmp_path, np.full((8, 8), 7, np.uint16))
    assert only_reason(path) == "CONSTANT_IMAGE"
    assert load(path, allow=["CONSTANT_IMAGE"]).images[0].pixels.max() == 0.0


@pytest.mark.parametrize("slope", ["0", "1e30", "-0"])
def test_bad_rescale(tmp_path: Path, slope: str) -> None:
    path = film(tmp_path, RescaleSlope=slope, RescaleIntercept="0")
    assert only_reason(path) == "BAD_RESCALE"
    assert len(load(path, allow=["BAD_RESCALE"]).images) == 1


def test_a_ct_without_rescale_has_no_units(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, range(4), RescaleSlope=None, RescaleIntercept=None)
    assert only_reason(paths) == "BAD_RESCALE"
    assert load(*paths, allow=["BAD_RESCALE"]).images[0].pixels[0, 1, 1] == 1034


def test_multiframe_unsupported(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP[::-1], RAMP.T])
    path = film(tmp_path, frames)
    assert only_reason(path) == "MULTIFRAME_UNSUPPORTED"
    (image,) = load(path, allow=["MULTIFRAME_UNSUPPORTED"]).images
    assert image.pixels.shape == (8, 8)
    assert image.pixels[0, 0] < image.pixels[7, 7]
    cine = save(with_pixels(dataset(MR, Modality="MR"), frames), tmp_path / "cine.dcm")
    assert only_reason(cine) == "MULTIFRAME_UNSUPPORTED"


def test_localizer(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, range(6), ImageType=["ORIGINAL\\PRIMARY\\LOCALIZER", *["ORIGINAL\\PRIMARY\\AXIAL"] * 5])
    result = load(*paths)
    assert reasons(result) == {"LOCALIZER": 1}
    assert result.images[0].pixels.shape[0] == 5
    result = load(*paths, allow=["LOCALIZER"])
    assert reasons(result) == {}
    assert result.images[0].pixels.shape[0] == 6


@pytest.mark.parametrize(
    "change",
    [
        {"ImageOrientationPatient": None},
        {"PixelSpacing": None},
        {"PixelSpacing": "0\\0"},
        {"ImageOrientationPatient": "1\\0\\0\\1\\0\\0"},
        {"ImageOrientationPatient": "5\\0\\0\\0\\5\\0"},
        {"ImagePositionPatient": None},
    ],
)
def test_no_geometry(tmp_path: Path, change: dict[str, Any]) -> None:
    assert only_reason(ct_slices(tmp_path, range(5), **change)) == "NO_GEOMETRY"


def test_too_few_slices(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, range(3))
    assert only_reason(paths) == "TOO_FEW_SLICES"
    assert load(*paths, allow=["TOO_FEW_SLICES"]).images[0].pixels.shape[0] == 3
    assert only_reason(paths[:1], allow=["TOO_FEW_SLICES"]) == "TOO_FEW_SLICES"


def test_mixed_series(tmp_path: Path) -> None:
    sagittal, axial = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]
    paths = ct_slices(
        tmp_path,
        [*((0.0, 0.0, float(z)) for z in range(20)), *((float(x), 0.0, 0.0) for x in range(4))],
        ImageOrientationPatient=[axial] * 20 + [sagittal] * 4,
    )
    result = load(*paths)
    assert [image.pixels.shape[0] for image in result.images] == [20]
    assert reasons(result) == {"MIXED_SERIES": 4}
    result = load(*paths, allow=["MIXED_SERIES"])
    assert [image.pixels.shape[0] for image in result.images] == [20, 4]
    assert reasons(result) == {}


def test_image_orientation_inconsistent(tmp_path: Path) -> None:
    """A radial acquisition: every slice turned against the one before."""
    turns = [[np.cos(a), np.sin(a), 0, 0, 0, -1] for a in np.radians(range(0, 120, 20))]
    turns = [[round(float(value), 6) for value in turn] for turn in turns]
    paths = ct_slices(tmp_path, [(0.0, float(n), 0.0) for n in range(6)], ImageOrientationPatient=turns)
    assert only_reason(paths) == "IMAGE_ORIENTATION_INCONSISTENT"
    assert load(*paths, allow=["IMAGE_ORIENTATION_INCONSISTENT"]).images[0].pixels.shape[0] == 6


def test_duplicate_positions(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, [0, 1, 2, 2, 3, 4])
    assert only_reason(paths) == "DUPLICATE_POSITIONS"
    (image,) = load(*paths, allow=["DUPLICATE_POSITIONS"]).images
    assert image.pixels[:, 1, 1].tolist() == [10, 20, 30, 50, 60]


def test_slice_increment_inconsistent(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, [0, 2, 4, 8, 10, 12])
    result = load(*paths)
    assert reasons(result) == {"SLICE_INCREMENT_INCONSISTENT": 6}
    assert result.rejections[0].detail == "1 of 5 steps differ from the median of 2.00 mm"
    (image,) = load(*paths, allow=["SLICE_INCREMENT_INCONSISTENT"]).images
    assert image.pixels[:, 1, 1].tolist() == [10, 20, 30, 35, 40, 50, 60]
    assert image.spacing[0] == pytest.approx(2.0)


def test_gaps_that_would_fill_memory_are_bounded(tmp_path: Path) -> None:
    paths = ct_slices(tmp_path, [0, 0.02, 0.04, 0.06, 90_000])
    (image,) = load(*paths, allow=["SLICE_INCREMENT_INCONSISTENT"]).images
    assert image.pixels.shape[0] == 20


def test_gantry_tilt(tmp_path: Path) -> None:
    """A rod of one pixel that runs along the table appears one row further with each tilted slice."""
    places = [(-15.0, -8.0 + 2.0 * n, 5.0 * n) for n in range(5)]
    paths = []
    for number, place in enumerate(places):
        pixels = np.zeros((8, 10), np.uint16)
        pixels[6 - number, 4] = 1000
        attributes = {"ImagePositionPatient": list(place), "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        ds = dataset(
            CT, number + 1, Modality="CT", PixelSpacing=[2, 2], RescaleSlope=1, RescaleIntercept=-1000, **attributes
        )
        paths.append(save(with_pixels(ds, pixels), tmp_path / f"{number}.dcm"))
    assert only_reason(paths) == "GANTRY_TILT"
    (image,) = load(*paths, allow=["GANTRY_TILT"]).images
    assert image.pixels.shape == (5, 12, 10)
    brightest = [divmod(int(plane.argmax()), 10) for plane in image.pixels]
    assert brightest == [(6, 4)] * 5
    assert image.affine is not None
    assert (image.affine @ [0, 6, 4, 1])[:3].tolist() == [-7.0, 4.0, 0.0]


def test_reasons_are_counted_once_each(tmp_path: Path) -> None:
    paths = [save(dataset(SR, n, Modality="SR"), tmp_path / f"{n}.dcm") for n in (1, 2, 3)]
    result = load(*paths)
    assert [(r.reason, r.instances, r.series_uid) for r in result.rejections] == [("NO_PIXELS", 3, "2.25.2")]
