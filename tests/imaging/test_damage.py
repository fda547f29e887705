"""Damaged and hostile objects through the whole loader: an image or a name, never an error, never a warning."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from config.errors import HeaderError
from inference.imaging.codestream import frame_pixels
from inference.imaging.headers import read_header
from inference.imaging.quiet import quiet
from inference.imaging.rejections import REASONS
from inference.imaging.series import LoadOptions, load_series
from inference.types import SeriesHeader
from tests.imaging.objects import CR, CT, OP, dataset, reasons, save, with_pixels
from tests.imaging.test_volume import enhanced

EVERYTHING = frozenset(name for name, reason in REASONS.items() if reason.switchable)
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def bytes_of(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@cache
def samples() -> list[bytes]:
    """One sound object of each kind that has a loader of its own."""
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 16], [1, 2, 3, 4]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    film = with_pixels(
        dataset(CR, Modality="CR", VOILUTSequence=[table], PixelPaddingValue=0, WindowCenter=5, WindowWidth=9), RAMP
    )
    palette = with_pixels(dataset(OP, Modality="OP"), RAMP.astype(np.uint8), "PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        palette.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 8])
        palette.add_new(f"{name}PaletteColorLookupTableData", "OW", bytes(range(256)))
    slices = with_pixels(
        dataset(CT, Modality="CT", ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[1, 1], RescaleSlope=1, RescaleIntercept=-1024), RAMP,
    )  # fmt: skip
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for ds in (film, palette, slices, enhanced([0, 1, 2, 3, 4])):
            save(ds, Path(folder) / "a")
            made.append(bytes_of(ds))
        for syntax in (RLELossless, JPEG2000Lossless):
            ds = with_pixels(dataset(CR, Modality="CR"), np.tile(RAMP, (2, 2)))
            save(ds, Path(folder) / "a")
            plugin = "pylibjpeg" if syntax == JPEG2000Lossless else ""
            ds.compress(syntax, generate_instance_uid=False, encoding_plugin=plugin)
            made.append(bytes_of(ds))
    return made


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_damaged_objects_load_or_are_refused_by_name(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(samples())))
    for position in data.draw(st.lists(st.integers(132, len(whole) - 1), max_size=8)):
        whole[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    allow = data.draw(st.sampled_from([frozenset[str](), EVERYTHING]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object"
        path.write_bytes(whole[:cut])
        try:
            header = read_header(path)
        except HeaderError:
            return
        result = load_series(SeriesHeader("1", "2", (header,) * 4), LoadOptions(allow, 2**22))
    assert result.images or result.rejections
    assert set(reasons(result)) <= set(REASONS)
    for image in result.images:
        assert np.isfinite(image.pixels).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "]))
def test_any_bytes_announce_a_size_or_none(tail: bytes, start: bytes) -> None:
    announced = frame_pixels(start + tail)
    assert announced is None or announced >= 0


def test_frames_announce_the_size_they_have() -> None:
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    for data, expected in ((samples()[5], 1024), (samples()[4], None)):
        assert frame_pixels(get_frame(dcmread(BytesIO(data)).PixelData, 0, number_of_frames=1)) == expected


def test_damaged_frames_never_end_the_process() -> None:
    """Some decoders abort on these instead of raising; the worker that loads them must live on."""
    code = """
import random, sys
from pathlib import Path
import pydicom.data
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from inference.imaging.headers import read_header
from inference.imaging.pixels import open_pixels
from config.errors import ImagingError
path, refused = Path(sys.argv[1]), 0
for name in ("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "JPGExtended", "SC_rgb_jpeg_dcmtk"):
    ds = dcmread(Path(pydicom.data.__file__).parent / "test_files" / f"{name}.dcm")
    sound = get_frame(ds.PixelData, 0, number_of_frames=1)
    for seed in range(60):
        rng, frame = random.Random(seed), bytearray(sound)
        for _ in range(4):
            frame[rng.randrange(20, rng.choice([120, 600, len(frame)]))] = rng.randrange(256)
        ds.PixelData = encapsulate([bytes(frame)])
        ds.save_as(path)
        try:
            open_pixels(read_header(path), 2**24).frame()
        except ImagingError:
            refused += 1
print(refused)
"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", code, f"{folder}/a"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout.split()[-1]) > 40


def test_quiet_holds_in_overlapping_threads_and_ends_with_the_last() -> None:
    inside, leave = threading.Event(), threading.Event()
    before = list(warnings.filters)

    def stay() -> None:
        with quiet():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(10)
    with quiet():
        warnings.warn("not heard", stacklevel=1)
    warnings.warn("not heard either: the other thread is still inside", stacklevel=1)
    leave.set()
    thread.join()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
