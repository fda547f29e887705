"""DICOM files as bytes: the canonical header, and splitting whatever calls itself a DICOM file."""

from __future__ import annotations

import hashlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from config.errors import HeaderError
from dicom_node.part10 import MAX_META_BYTES, PREAMBLE, ObjectIdentity, canonical_header, split_header

IDENTITY = ObjectIdentity("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")
uids = st.text(st.characters(max_codepoint=255), min_size=1, max_size=300).filter(lambda t: t.rstrip("\0 ") == t)


def test_pydicom_reads_the_canonical_header() -> None:
    read = pydicom.dcmread(BytesIO(canonical_header(IDENTITY)))
    assert read.file_meta.MediaStorageSOPClassUID == IDENTITY.sop_class_uid
    assert read.file_meta.MediaStorageSOPInstanceUID == IDENTITY.sop_instance_uid
    assert read.file_meta.TransferSyntaxUID == IDENTITY.transfer_syntax_uid
    assert read.file_meta.FileMetaInformationGroupLength == len(canonical_header(IDENTITY)) - len(PREAMBLE) - 12


def test_the_header_never_changes() -> None:
    """Its bytes are part of every object's name: a release that changes them stores every object anew."""
    digest = hashlib.sha256(canonical_header(IDENTITY)).hexdigest()
    assert digest == "4cffba35199a1d793aaff4878b055c5fd85c4fc6dc61e8f3be5647ff7f31ecf2"


@given(uids, uids, uids, st.binary(max_size=50))
def test_split_inverts_the_header_for_hostile_uids(sop_class: str, sop_instance: str, syntax: str, data: bytes) -> None:
    identity = ObjectIdentity(sop_class, sop_instance, syntax)
    header = canonical_header(identity)
    if data[:2] == b"\x02\x00":
        data = b"\x08\x00" + data
    assert split_header(header + data) == (identity, len(header))


def test_a_file_of_another_toolkit_splits_where_its_data_set_begins() -> None:
    image = Dataset()
    image.PatientName = "PHANTOM^0001"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(IDENTITY.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(IDENTITY.sop_instance_uid)
    meta.TransferSyntaxUID = UID(IDENTITY.transfer_syntax_uid)
    meta.ImplementationVersionName, meta.SourceApplicationEntityTitle = "OTHER", "ELSEWHERE"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = UID("1.2.3.4"), b"private!" * 100
    image.file_meta = meta
    stream = BytesIO()
    image.save_as(stream, enforce_file_format=True)
    identity, offset = split_header(stream.getvalue())
    assert identity == IDENTITY
    assert stream.getvalue()[offset:].startswith(b"\x10\x00\x10\x00PN")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"DICM" * 40,
        PREAMBLE,
        PREAMBLE + canonical_header(IDENTITY)[132:200],
        PREAMBLE + b"\x02\0\x02\0UI\xff\xff" + b"1.2",
        PREAMBLE + b"\x02\0\x01\0OB\0\0\xff\xff\xff\xff",
        PREAMBLE + b"\x02\0\x01\0OB\0\0",
        PREAMBLE + (b"\x02\0\x12\0UI\x40\0" + b"1" * 64) * (MAX_META_BYTES // 72 + 2),
    ],
    ids=["empty", "no preamble", "no meta", "torn", "long UID", "4 GB element", "torn long header", "endless meta"],
)
def test_what_is_no_dicom_file_is_refused_by_name(start: bytes) -> None:
    with pytest.raises(HeaderError) as caught:
        split_header(start)
    assert caught.value.reason == "NOT_DICOM"


@given(st.binary(max_size=400))
def test_any_bytes_split_or_are_refused(tail: bytes) -> None:
    try:
        identity, offset = split_header(PREAMBLE + tail)
    except HeaderError:
        return
    assert 132 < offset <= 132 + len(tail)
    assert identity.sop_instance_uid is not None


def test_a_uid_beyond_the_bound_is_refused() -> None:
    with pytest.raises(HeaderError):
        canonical_header(ObjectIdentity("1" * 1025, "1.2", "1.2"))
