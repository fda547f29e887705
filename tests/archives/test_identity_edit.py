"""The edit of one object: what is written, what stays, and that it can be taken back byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from config.errors import HeaderError, RelinkRefusedError
from dicom_node.archives.canonical import dataset_sha256
from dicom_node.archives.elements import parse, pixel_sha256
from dicom_node.archives.identity_edit import apply_identity, check_target, identity_of, restore
from inference.types import PatientIdentity, PatientKey
from tests.archives import studies
from tests.archives.studies import TARGET, instance, provenance, uid

AT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
STUDY = uid("identity edit")
IDENTITY = {0x00100010, 0x00100020, 0x00100021, 0x00100024, 0x00100030, 0x00100040, 0x00101002, 0x04000561}


def edited(data: bytes, to: PatientIdentity = TARGET) -> tuple[Dataset, bytes]:
    result = apply_identity(parse(data), to, provenance(), AT)
    return pydicom.dcmread(BytesIO(result.data)), result.data


def test_the_targets_record_is_written_and_the_prior_values_are_kept() -> None:
    ds, _ = edited(instance(STUDY))
    assert (ds.PatientID, ds.IssuerOfPatientID, str(ds.PatientName)) == ("MRN0001", "HOSPITAL A", "PHANTOM^0001")
    assert (ds.PatientBirthDate, ds.PatientSex) == ("19700101", "F")
    (other,) = ds.OtherPatientIDsSequence
    assert (other.PatientID, other.TypeOfPatientID) == ("UNKNOWN", "TEXT")
    (item,) = ds.OriginalAttributesSequence
    assert item.AttributeModificationDateTime == "20240506070809.123456+0000"
    assert (item.ModifyingSystem, item.ReasonForTheAttributeModification) == ("MEDREID test node", "CORRECT")
    assert item.SourceOfPreviousValues == ""
    (before,) = item.ModifiedAttributesSequence
    assert (before.PatientID, before.PatientName, before.PatientSex) == ("UNKNOWN", "UNKNOWN^MALE", "")
    assert before["IssuerOfPatientID"].is_empty
    assert len(before.OtherPatientIDsSequence) == 0


@pytest.mark.parametrize("patient_id", [None, "", " "])
def test_an_absent_or_blank_identifier_is_recorded_with_zero_length_and_is_no_other_id(patient_id: str | None) -> None:
    data = instance(STUDY, patient_id=patient_id)
    result = apply_identity(parse(data), TARGET, provenance(), AT)
    ds = pydicom.dcmread(BytesIO(result.data))
    assert "OtherPatientIDsSequence" not in ds
    assert "PatientID" in ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    restored = restore(parse(result.data), result.former)
    assert restored == data
    assert ("PatientID" in pydicom.dcmread(BytesIO(restored))) == (patient_id is not None)


def test_items_of_earlier_corrections_stay_first_and_byte_identical() -> None:
    data = instance(STUDY, edit=lambda ds: (studies.with_original_attributes(ds), studies.with_other_ids(ds))[0])
    old = parse(data)
    ds, new = edited(data)
    assert [item.ModifyingSystem for item in ds.OriginalAttributesSequence] == ["A ROUTER", "MEDREID test node"]
    assert [item.PatientID for item in ds.OtherPatientIDsSequence] == ["OLD1", "UNKNOWN"]
    for tag in (0x04000561, 0x00101002):
        before, after = old.value(tag), parse(new).value(tag)
        assert before is not None and after is not None
        assert after.startswith(before)
    kept = ds.OriginalAttributesSequence[1].ModifiedAttributesSequence[0].OtherPatientIDsSequence
    assert [item.PatientID for item in kept] == ["OLD1"]


def test_a_sequence_of_undefined_length_is_appended_to() -> None:
    def undefined(ds: Dataset) -> None:
        studies.with_original_attributes(ds)
        ds["OriginalAttributesSequence"].is_undefined_length = True
        ds.OriginalAttributesSequence[0].is_undefined_length_sequence_item = True

    data = instance(STUDY, edit=undefined)
    ds, new = edited(data)
    assert len(ds.OriginalAttributesSequence) == 2
    assert restore(parse(new), apply_identity(parse(data), TARGET, provenance(), AT).former) == data


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless, ExplicitVRBigEndian]
)
def test_nothing_but_the_identity_changes(syntax: pydicom.uid.UID) -> None:
    if syntax == ExplicitVRBigEndian:
        ds = pydicom.dcmread(BytesIO(instance(STUDY)))
        buffer = BytesIO()
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=False)
        data = buffer.getvalue()
    else:
        data = instance(STUDY, syntax=syntax)
    old = parse(data)
    result = apply_identity(old, TARGET, provenance(), AT)
    new = parse(result.data)
    untouched = [element.tag for element in old.elements if element.tag not in IDENTITY]
    assert all(old.raw(tag) == new.raw(tag) for tag in untouched)
    assert [element.tag for element in new.elements if element.tag not in IDENTITY] == untouched
    assert pixel_sha256(old) == pixel_sha256(new) != ""
    assert pydicom.dcmread(BytesIO(result.data)).PatientID == "MRN0001"
    assert restore(new, result.former) == data


def test_a_deflated_object_keeps_its_data_set() -> None:
    ds = pydicom.dcmread(BytesIO(instance(STUDY)))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = studies.encoded(ds)
    result = apply_identity(parse(data), TARGET, provenance(), AT)
    assert pydicom.dcmread(BytesIO(result.data)).PatientID == "MRN0001"
    assert parse(restore(parse(result.data), result.former)).body == parse(data).body


def test_a_deflate_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.archives.elements.MAX_INFLATED_BYTES", 4096)
    ds = pydicom.dcmread(BytesIO(instance(STUDY)))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(HeaderError) as caught:
        parse(studies.encoded(ds))
    assert caught.value.reason == "DEFLATE_BOMB"


JAPANESE_TARGET = PatientIdentity(PatientKey("", "MRN0003"), "Fantomu^0003=幻影^三号", "", "O")
GERMAN_TARGET = PatientIdentity(PatientKey("", "MRN0004"), "PHÄNTOM^0004", "", "O")


def test_a_name_the_character_set_can_carry_leaves_it_alone() -> None:
    ds, _ = edited(instance(STUDY, edit=studies.japanese), JAPANESE_TARGET)
    assert ds.SpecificCharacterSet == ["", "ISO 2022 IR 87"]
    assert ds.PatientName == "Fantomu^0003=幻影^三号"
    assert ds.StudyDescription == "頭部"


@pytest.mark.parametrize("edit", [studies.japanese, studies.cyrillic, None])
def test_a_name_it_cannot_carry_upgrades_all_text_to_utf8_and_back(edit: studies.Edit | None) -> None:
    data = instance(STUDY, edit=edit)
    before = pydicom.dcmread(BytesIO(data))
    result = apply_identity(parse(data), GERMAN_TARGET, provenance(), AT)
    ds = pydicom.dcmread(BytesIO(result.data))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.PatientName == "PHÄNTOM^0004"
    assert ds.get("StudyDescription") == before.get("StudyDescription")
    assert ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == before.PatientName
    assert restore(parse(result.data), result.former) == data


def test_text_that_does_not_decode_as_declared_loses_nothing() -> None:
    data = instance(STUDY, edit=studies.misdeclared)
    result = apply_identity(parse(data), JAPANESE_TARGET, provenance(), AT)
    ds = pydicom.dcmread(BytesIO(result.data))
    assert ds.StudyDescription.encode("latin-1").decode("cp1251") == "Голова"
    assert restore(parse(result.data), result.former) == data


def test_nested_text_is_upgraded_too() -> None:
    def nested(ds: Dataset) -> None:
        studies.cyrillic(ds)
        code = Dataset()
        code.CodeMeaning = "Компьютерная томография"
        ds.ProcedureCodeSequence = [code]

    data = instance(STUDY, edit=nested)
    result = apply_identity(parse(data), GERMAN_TARGET, provenance(), AT)
    ds = pydicom.dcmread(BytesIO(result.data))
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "Компьютерная томография"
    assert restore(parse(result.data), result.former) == data


def test_qualifiers_of_the_former_issuer_move_with_it() -> None:
    def qualified(ds: Dataset) -> None:
        ds.IssuerOfPatientID = "HOSPITAL B"
        item = Dataset()
        item.UniversalEntityID = "1.2.3"
        item.UniversalEntityIDType = "ISO"
        ds.IssuerOfPatientIDQualifiersSequence = [item]

    data = instance(STUDY, edit=qualified)
    ds, new = edited(data)
    assert "IssuerOfPatientIDQualifiersSequence" not in ds
    for item in (ds.OtherPatientIDsSequence[0], ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]):
        assert item.IssuerOfPatientID == "HOSPITAL B"
        assert item.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
    assert restore(parse(new), apply_identity(parse(data), TARGET, provenance(), AT).former) == data


def test_an_identity_element_that_occurs_twice_is_refused() -> None:
    source = parse(instance(STUDY))
    twice = source.raw(0x00100020)
    assert twice is not None
    with pytest.raises(HeaderError) as caught:
        apply_identity(parse(source.head + source.body + twice), TARGET, provenance(), AT)
    assert caught.value.reason == "DUPLICATE_ELEMENT"


@pytest.mark.parametrize(
    "to",
    [
        PatientIdentity(PatientKey("", "A\\B")),
        PatientIdentity(PatientKey("", "X" * 65)),
        PatientIdentity(PatientKey("", " X")),
        PatientIdentity(PatientKey("", "A\0B")),
        PatientIdentity(PatientKey("", "A"), name="B\x1b$B"),
        PatientIdentity(PatientKey("", "A"), birth_date="19701301"),
        PatientIdentity(PatientKey("", "A"), sex="X"),
    ],
)
def test_a_record_that_dicom_cannot_carry_is_refused_without_telling_it(to: PatientIdentity) -> None:
    with pytest.raises(RelinkRefusedError) as caught:
        check_target(to)
    assert caught.value.reason == "TARGET_INVALID"
    assert to.key.id not in str(caught.value).split()


TERMS = ["", "ISO_IR 100", "ISO_IR 144", "ISO_IR 192", "\\ISO 2022 IR 87", "GB18030", "ISO_IR 13", "NONSENSE"]
RAW_TEXT = st.one_of(st.none(), st.binary(max_size=20).map(lambda value: value + b" " * (len(value) % 2)))


@settings(max_examples=150, deadline=None)
@given(
    term=st.one_of(st.none(), st.sampled_from(TERMS)),
    values=st.fixed_dictionaries(
        dict.fromkeys((524368, 1048592, 1048608, 1048609, 1048624, 1048640, 1064960), RAW_TEXT)
    ),
    corrections=st.integers(0, 2),
    others=st.integers(0, 2),
    implicit=st.booleans(),
    undefined=st.booleans(),
    target=st.sampled_from([TARGET, JAPANESE_TARGET, GERMAN_TARGET]),
)
def test_restore_is_the_inverse_of_apply(
    term: str | None,
    values: dict[int, bytes | None],
    corrections: int,
    others: int,
    implicit: bool,
    undefined: bool,
    target: PatientIdentity,
) -> None:
    data = _random_object(term, values, corrections, others, implicit, undefined)
    source = parse(data)
    result = apply_identity(source, target, provenance(), AT)
    new = parse(result.data)
    assert identity_of(new) == target
    assert pixel_sha256(new) == pixel_sha256(source)
    assert restore(new, result.former) == data
    assert dataset_sha256(new) != dataset_sha256(source)


def _random_object(
    term: str | None, values: dict[int, bytes | None], corrections: int, others: int, implicit: bool, undefined: bool
) -> bytes:
    from dicom_node.archives.elements import encode, splice

    def repeat(ds: Dataset) -> None:
        studies.with_original_attributes(ds)
        studies.with_other_ids(ds)
        ds.OriginalAttributesSequence = list(ds.OriginalAttributesSequence) * corrections
        ds.OtherPatientIDsSequence = list(ds.OtherPatientIDsSequence) * others
        for name in ("OriginalAttributesSequence", "OtherPatientIDsSequence"):
            ds[name].is_undefined_length = undefined

    source = parse(instance(STUDY, syntax=ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian, edit=repeat))
    vrs = {0x00080050: "SH", 0x00100010: "PN", 0x00100030: "DA", 0x00100040: "CS", 0x00104000: "LT"}
    changes = {
        tag: None if value is None else encode(tag, vrs.get(tag, "LO"), value, source.syntax)
        for tag, value in values.items()
    }
    if term is not None:
        changes[0x00080005] = encode(0x00080005, "CS", term.encode(), source.syntax)
    return splice(source, changes)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]))
def test_any_bytes_parse_and_come_back_unchanged(body: bytes, uid: str) -> None:
    from dicom_node.archives.elements import Syntax, encode, splice

    head = b"\0" * 128 + b"DICM" + encode(0x00020010, "UI", uid.encode(), Syntax(False, True))
    if body[:2] == b"\x02\x00":
        return
    try:
        source = parse(head + body)
    except HeaderError:
        return
    assert splice(source, {}) == head + body
    assert len(dataset_sha256(source)) == 64


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_truncated_object_stays_what_it_is(data: st.DataObject) -> None:
    from dicom_node.archives.elements import splice

    whole = instance(STUDY, syntax=data.draw(st.sampled_from([ExplicitVRLittleEndian, JPEG2000Lossless])))
    part = whole[: data.draw(st.integers(400, len(whole) - 1))]
    assert splice(parse(part), {}) == part
