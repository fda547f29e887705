"""Headers: what is kept, in which form, and that no bytes whatever make reading raise anything but HeaderError."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from config.errors import HeaderError
from inference.imaging.headers import HEADER_KEYWORDS, read_header
from inference.types import InstanceHeader
from tests.imaging.objects import CR, dataset, explicit, identity, part10, save

BUNDLED = sorted(
    path
    for path in Path(pydicom.data.__file__).parent.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
)
BODY = identity()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "object"
    path.write_bytes(data)
    return path


def header_of(folder: Path, extra: bytes) -> InstanceHeader:
    """Header of an object whose further elements come last, as hostile as they may be."""
    return read_header(written(folder, part10(BODY + extra)))


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_every_bundled_file_is_read_or_named(path: Path) -> None:
    try:
        header = read_header(path)
    except HeaderError as error:
        assert error.reason in {"NOT_DICOM", "MISSING_UID"}
        return
    assert json.loads(json.dumps(dict(header.attributes))) == dict(header.attributes)
    assert set(header.attributes) <= set(HEADER_KEYWORDS)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1"])
def test_values_are_the_same_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "OTHER", "ELSEWHERE"
    ds = dataset(
        CR, Modality="CR", Rows=16, PixelSpacing=[0.2, 0.3], ImageType=["A", "B"], OtherPatientIDsSequence=[item]
    )
    big = syntax == ExplicitVRBigEndian
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    path = tmp_path / "object"
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big)
    header = read_header(path)
    assert header.transfer_syntax_uid == syntax
    assert header.sop_class_uid == CR
    assert header.modality == "CR"
    assert header.attributes["Rows"] == 16
    assert header.attributes["PixelSpacing"] == [0.2, 0.3]
    assert header.attributes["ImageType"] == ["A", "B"]
    assert header.attributes["OtherPatientIDsSequence"] == [{"PatientID": "OTHER", "IssuerOfPatientID": "ELSEWHERE"}]


def test_pixels_are_never_read(tmp_path: Path) -> None:
    """The pixel element promises four gigabytes that are not there."""
    header = header_of(tmp_path, explicit(0x00280010, "US", b"\x10\0") + explicit(0x7FE00010, "OW", b"", 0xFFFFFFFE))
    assert header.attributes["Rows"] == 16


def test_a_bare_data_set_without_preamble_is_read(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, BODY)).sop_instance_uid == "2.25.9"


def test_a_transfer_syntax_that_lies_about_vr_is_seen_through(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, part10(BODY, ImplicitVRLittleEndian))).study_uid == "2.25.1"


@pytest.mark.parametrize("junk", [b"", b"x", b"\0" * 200, b"PK\x03\x04" * 500, b"\0" * 128 + b"DICM"])
def test_what_is_no_dicom_is_named(tmp_path: Path, junk: bytes) -> None:
    with pytest.raises(HeaderError) as caught:
        read_header(written(tmp_path, junk))
    assert caught.value.reason == "NOT_DICOM"


def test_a_missing_file_is_named_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(HeaderError) as caught:
        read_header(tmp_path / "SECRET^NAME")
    assert caught.value.reason == "UNREADABLE_FILE"
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("uid", "reason"),
    [(b"", "MISSING_UID"), (b"1" * 300, "INVALID_UID"), (b"1.2\0.3", "INVALID_UID"), (b"1.2\n3", "INVALID_UID")],
)
def test_unusable_uids_are_named(tmp_path: Path, uid: bytes, reason: str) -> None:
    with pytest.raises(HeaderError) as caught:
        read_header(written(tmp_path, part10(identity(SOPInstanceUID=uid))))
    assert caught.value.reason == reason


def test_a_path_in_a_uid_stays_text(tmp_path: Path) -> None:
    header = read_header(written(tmp_path, part10(identity(SOPInstanceUID=b"../../../../tmp/x"))))
    assert header.sop_instance_uid == "../../../../tmp/x"


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        (b"ISO_IR 100", "M\u00fcller".encode("latin-1"), "M\u00fcller"),
        (b"ISO_IR 192", "M\u00fcller".encode(), "M\u00fcller"),
        (b"NO SUCH SET", "M\u00fcller".encode(), "M\u00fcller"),
        (b"", b"M\xfcller", "M\u00fcller"),
        (b"ISO_IR 192", b"M\xfcller", "M\u00fcller"),
        (b"ISO 2022 IR 87", b"\x1b$B\xff\xff\x1b(B", None),
        (b"ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "\u6d2a^\u5409\u6d1e"),
        (b"\\ISO 2022 IR 149", b"\x1bZZZ", None),
        (b"ISO_IR 100", b"A\0B\0", "AB"),
    ],
)  # fmt: skip
def test_no_character_set_ever_rejects(tmp_path: Path, charset: bytes, raw: bytes, text: str | None) -> None:
    body = explicit(0x00080005, "CS", charset) + BODY + explicit(0x00100010, "PN", raw)
    name = read_header(written(tmp_path, part10(body))).attributes["PatientName"]
    assert isinstance(name, str)
    assert "\0" not in name
    assert text is None or name == text


def test_a_backslash_in_an_identifier_is_no_separator(tmp_path: Path) -> None:
    assert header_of(tmp_path, explicit(0x00100020, "LO", b"A\\B ")).attributes["PatientID"] == "A\\B"


def test_long_text_is_cut(tmp_path: Path) -> None:
    assert len(header_of(tmp_path, explicit(0x00100020, "LO", b"x" * 60_000)).attributes["PatientID"]) == 1024


@pytest.mark.parametrize(
    ("tag", "vr", "value", "keyword", "expected"),
    [
        (0x00280010, "US", b"\x01", "Rows", None),
        (0x00280010, "DS", b"512 ", "Rows", 512),
        (0x00280030, "DS", b"0.5\\NaN ", "PixelSpacing", None),
        (0x00280030, "DS", b"0.5\\1e999", "PixelSpacing", None),
        (0x00280030, "DS", b"", "PixelSpacing", None),
        (0x00280008, "IS", b"two ", "NumberOfFrames", None),
        (0x00100020, "US", b"\x01\x02", "PatientID", "\ufffd\ufffd"),
        (0x00080008, "CS", b"", "ImageType", []),
        (0x00082218, "SQ", b"rubbish!", "AnatomicRegionSequence", [{}]),
    ],
)
def test_wrong_values_become_none_and_wrong_vrs_change_no_type(
    tmp_path: Path, tag: int, vr: str, value: bytes, keyword: str, expected: object
) -> None:
    assert header_of(tmp_path, explicit(tag, vr, value)).attributes[keyword] == expected


def test_what_stands_before_a_defect_is_kept(tmp_path: Path) -> None:
    whole = part10(BODY + explicit(0x00200013, "IS", b"7 ") + explicit(0x00280010, "US", b"\x10\0"))
    header = read_header(written(tmp_path, whole[:-3]))
    assert header.attributes["InstanceNumber"] == 7
    assert "Rows" not in header.attributes or header.attributes["Rows"] is None


def test_a_deflated_bomb_costs_a_few_megabytes(tmp_path: Path) -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    private = explicit(0x00090010, "OB", b"", 0xFFFFFF00)
    parts = [machine.compress(BODY), machine.compress(private)]
    parts += [machine.compress(bytes(1024 * 1024)) for _ in range(512)]
    bomb = b"".join([*parts, machine.flush()])
    assert len(bomb) < 1024 * 1024
    path = written(tmp_path, part10(bomb, "1.2.840.10008.1.2.1.99"))
    tracemalloc.start()
    try:
        header = read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.sop_instance_uid == "2.25.9"
    assert peak < 64 * 1024 * 1024


def test_a_million_nested_sequences_end(tmp_path: Path) -> None:
    nested = explicit(0x00081140, "SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    header = read_header(written(tmp_path, part10(BODY[:0] + identity() + nested * 20_000)))
    assert header.sop_instance_uid == "2.25.9"


def test_endless_small_elements_end(tmp_path: Path) -> None:
    many = explicit(0x00180010, "LO", b"") * 2_000_000
    early = identity() + explicit(0x00180010, "LO", b"") * 10
    assert read_header(written(tmp_path, part10(early + many))).study_uid == "2.25.1"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_objects_are_read_or_named(data: st.DataObject) -> None:
    import tempfile

    whole = bytearray(part10(BODY + explicit(0x00100010, "PN", b"A^B ") + explicit(0x00280030, "DS", b"1\\2 ")))
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=12)):
        whole[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        try:
            header = read_header(written(Path(folder), bytes(whole[:cut])))
        except HeaderError:
            return
    assert header.sop_instance_uid and len(header.sop_instance_uid) <= 64
    json.dumps(dict(header.attributes))


def test_reading_headers_loads_nothing_heavy() -> None:
    heavy = {"torch", "vtk", "vtkmodules", "SimpleITK", "cv2", "scipy", "skimage"}
    code = f"import sys, inference.imaging.headers; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_header_files_are_written_once_more_by_save(tmp_path: Path) -> None:
    """The helper that other tests build on writes what is read back."""
    header = read_header(save(dataset(CR, Modality="CR", PatientName="PHANTOM^0001"), tmp_path / "a.dcm"))
    assert (header.modality, header.attributes["PatientName"], header.has_pixels) == ("CR", "PHANTOM^0001", False)
