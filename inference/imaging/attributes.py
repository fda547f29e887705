"""Which attributes a header keeps, and how their bytes become plain JSON values that cannot surprise anyone.

Text is decoded by the declared character sets where that works and by UTF-8 or Latin-1 where it does not; it is
bounded and free of NULs and control characters. A number that is none becomes None. Whether an attribute is a list is
decided by the dictionary's value multiplicity, never by the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence

from inference.imaging.bounded import Element, raw_bytes

MAX_TEXT = 1024
MAX_VALUES = 64
MAX_ITEMS = 64
MAX_DEPTH = 3

HEADER_KEYWORDS = (
    "SpecificCharacterSet",
    # Identity
    "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientName", "PatientBirthDate",
    "PatientSex", "PatientAge", "OtherPatientIDs", "OtherPatientIDsSequence",
    # Study
    "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "InstitutionName",
    # Series and equipment
    "Modality", "SeriesDate", "SeriesTime", "SeriesNumber", "SeriesDescription", "ProtocolName", "BodyPartExamined",
    "AnatomicRegionSequence", "Laterality", "ImageLaterality", "ViewPosition", "ViewCodeSequence",
    "PatientOrientation", "PatientPosition", "FrameOfReferenceUID", "Manufacturer", "ManufacturerModelName",
    "StationName", "ContrastBolusAgent", "ScanningSequence", "SequenceVariant", "SequenceName", "MRAcquisitionType",
    "EchoTime", "RepetitionTime", "KVP", "ConvolutionKernel", "AcquisitionDeviceTypeCodeSequence",
    # Instance
    "InstanceNumber", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime",
    "ImageType", "ConversionType", "PresentationIntentType", "BurnedInAnnotation", "RecognizableVisualFeatures",
    "QualityControlImage", "LossyImageCompression", "PresentationLUTShape",
    # Geometry and pixels
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "GantryDetectorTilt",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip

TAGS: dict[int, str] = {
    int(tag): keyword for keyword in HEADER_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None
}

_NUMERIC = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_TEXT_NUMERIC = frozenset({"IS", "DS"})
# A terminal or a log must not be steered by a name; kept visible, because two identifiers may differ in nothing else.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A, 0x0D)}
_LONG_TEXT = frozenset({"ST", "LT", "UT", "UR"})
# Bytes after which code extensions fall back to the first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x5C, 0x5E, 0x3D}


def encodings_of(declared: bytes | str | Sequence[str] | None) -> tuple[str, ...]:
    """Python codecs of a Specific Character Set value; unknown terms are passed over."""
    if isinstance(declared, bytes):
        declared = declared.decode("ascii", "ignore")
    terms = declared.split("\\") if isinstance(declared, str) else list(declared or ())
    known = [python_encoding.get(term.strip(" \0")) for term in terms[:MAX_VALUES]]
    return tuple(codec for codec in known if codec) or ("ascii",)


def decode_text(value: bytes, encodings: tuple[str, ...]) -> str:
    """Text in the declared character sets; undeclared or wrong ones fall back to UTF-8, then Latin-1."""
    value = value[: 4 * MAX_TEXT]
    if b"\x1b" in value:
        text = _decode_extended(value, encodings)
    else:
        text = _decode_plain(value, encodings[0])
    return text.replace("\0", "").translate(_CONTROLS)


def _decode_plain(value: bytes, codec: str) -> str:
    for candidate in (codec, "utf-8"):
        try:
            return value.decode(candidate)
        except UnicodeError:
            continue
    return value.decode("latin-1")


def _decode_extended(value: bytes, encodings: tuple[str, ...]) -> str:
    try:
        return decode_bytes(value, encodings, _DELIMITERS)
    except (UnicodeError, LookupError, ValueError):
        return value.decode("latin-1")


def convert(element: Element, encodings: tuple[str, ...], depth: int = 0) -> Any:
    """Plain JSON value of one element: text, int, float, None, or lists of these, or of mappings for sequences."""
    tag = int(element.tag)
    vr, multiple = dictionary_VR(tag), dictionary_VM(tag) != "1"
    if vr == "SQ":
        return _items(element, encodings, depth)
    raw = raw_bytes(element)
    little = not isinstance(element, RawDataElement) or bool(element.is_little_endian)
    if vr in _NUMERIC or vr in _TEXT_NUMERIC:
        own = str(element.VR or vr)
        return _numbers(raw, own if own in _NUMERIC or own in _TEXT_NUMERIC else vr, vr, little, multiple)
    text = decode_text(raw, encodings)
    if not multiple or vr in _LONG_TEXT:
        return text.strip()[:MAX_TEXT]
    return [part.strip()[:MAX_TEXT] for part in text.split("\\")[:MAX_VALUES]] if text.strip() else []


def _numbers(raw: bytes, own: str, vr: str, little: bool, multiple: bool) -> Any:
    values = _text_numbers(raw) if own in _TEXT_NUMERIC else _binary_numbers(raw, own, little)
    whole = vr not in ("DS", "FL", "FD")
    numbers = [int(value) if whole else float(value) for value in values[:MAX_VALUES]] if values else []
    if multiple:
        return numbers or None
    return numbers[0] if numbers else None


def _text_numbers(raw: bytes) -> list[float]:
    """All numbers of a backslash-separated text, or none at all when one of them is no finite number."""
    try:
        values = [float(part) for part in raw[: 64 * MAX_VALUES].decode("ascii").strip(" \0").split("\\")]
    except ValueError:
        return []
    return values if all(math.isfinite(value) and abs(value) < 1e15 for value in values) else []


def _binary_numbers(raw: bytes, vr: str, little: bool) -> list[float]:
    code = _NUMERIC[vr]
    size = struct.calcsize(f"<{code}")
    count = min(len(raw) // size, MAX_VALUES)
    values = list(struct.unpack(f"{'<' if little else '>'}{count}{code}", raw[: count * size]))
    return values if all(math.isfinite(value) for value in values) else []


def _items(element: Element, encodings: tuple[str, ...], depth: int) -> list[dict[str, Any]]:
    if depth >= MAX_DEPTH:
        return []
    datasets: Sequence[Dataset] = ()
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        stream = BytesIO(element.value)
        datasets = read_sequence(
            stream, element.is_implicit_VR, element.is_little_endian, len(element.value), list(encodings)
        )
    elif not isinstance(element, RawDataElement):
        datasets = element.value or ()
    return [_item(dataset, encodings, depth) for dataset in datasets[:MAX_ITEMS]]


def _item(dataset: Dataset, encodings: tuple[str, ...], depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for tag in list(dataset.keys())[:MAX_ITEMS]:
        keyword = keyword_for_tag(tag)
        if keyword and dictionary_VR(tag) not in ("OB", "OW", "UN", "OB or OW", "US or SS"):
            values[keyword] = convert(dataset.get_item(tag), encodings, depth + 1)
    return values
