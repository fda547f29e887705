"""What a header says an image shows, in one spelling: view, side, body part. Silence and nonsense become ''."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inference.types import InstanceHeader

_VIEWS = {
    "PA": "PA", "AP": "AP", "AP SUPINE": "AP", "AP ERECT": "AP",
    "LL": "LATERAL", "RL": "LATERAL", "LAT": "LATERAL", "LATERAL": "LATERAL", "LLAT": "LATERAL", "RLAT": "LATERAL",
}  # fmt: skip
# Meanings of coded views (CID 4010) and free text, most specific first.
_VIEW_TEXT = (
    (re.compile(r"\bLAT(ERAL)?\b(?! DECUB)|\bLL\b|\bSEITLICH"), "LATERAL"),
    (re.compile(r"\bP\.?A\.?\b|\bPOSTERO[- ]?ANTERIOR"), "PA"),
    (re.compile(r"\bA\.?P\.?\b|\bANTERO[- ]?POSTERIOR"), "AP"),
)
_KEPT_ATTRIBUTES = (
    "Manufacturer", "ManufacturerModelName", "SeriesDescription", "ProtocolName", "ConvolutionKernel",
    "SliceThickness", "PatientPosition", "PresentationIntentType", "ImageType", "StudyDate", "AcquisitionDate",
)  # fmt: skip
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_SIDES = {"L": "L", "R": "R", "B": "B", "OS": "L", "OD": "R", "OU": "B", "LEFT": "L", "RIGHT": "R", "BOTH": "B"}
_EYE_TEXT = re.compile(r"\b(OD|OS|OU)\b")
_EYE_PARTS = frozenset({"EYE", "RETINA", "RETINAL", "FUNDUS"})
# Eye, retina, fundus in SNOMED CT and SRT (CID 4209).
_EYE_CODES = frozenset({"81745001", "T-AA000", "5665001", "T-AA610"})
_EYE_WORDS = re.compile(r"\b(FUNDUS|RETINA|RETINAL|EYES?|MACULA|OPHTHAL\w{0,12}|AUGENHINTERGRUND)\b")


def view_of(header: InstanceHeader) -> str:
    """``PA``, ``AP``, ``LATERAL``, another View Position as it stands, or ``''``.

    View Position (0018,5101) first, then View Code Sequence (0054,0220), then Patient Orientation (0020,0020), whose
    row runs front to back in a lateral film, then the free texts.
    """
    attributes = header.attributes
    stated = _text(attributes, "ViewPosition").upper()
    if stated:
        return _VIEWS.get(stated) or (stated if _CODE_STRING.fullmatch(stated) else "")
    for item in attributes.get("ViewCodeSequence") or ():
        if found := _view_in(str(item.get("CodeMeaning") or "")):
            return found
    orientation = attributes.get("PatientOrientation") or [""]
    if str(orientation[0])[:1].upper() in ("A", "P"):
        return "LATERAL"
    texts = (_text(attributes, keyword) for keyword in ("SeriesDescription", "ProtocolName"))
    return next((found for text in texts if (found := _view_in(text))), "")


def laterality_of(header: InstanceHeader, *, eye: bool = False) -> str:
    """``L``, ``R``, ``B`` or ``''``: Image Laterality (0020,0062), then Laterality; for eyes OD, OS, OU in texts."""
    attributes = header.attributes
    for keyword in ("ImageLaterality", "Laterality"):
        if found := _SIDES.get(_text(attributes, keyword).upper()):
            return found
    if eye:
        for keyword in ("SeriesDescription", "ProtocolName"):
            if match := _EYE_TEXT.search(_text(attributes, keyword).upper()):
                return _SIDES[match.group()]
    return ""


def body_part_of(header: InstanceHeader) -> str:
    """Body Part Examined in capitals, or the meaning of the first Anatomic Region code, or ''."""
    attributes = header.attributes
    if stated := _text(attributes, "BodyPartExamined").upper():
        return stated[:64]
    for item in attributes.get("AnatomicRegionSequence") or ():
        if meaning := str(item.get("CodeMeaning") or "").upper():
            return meaning[:64]
    return ""


def shows_an_eye(header: InstanceHeader) -> bool:
    """Whether a header says that its photograph is one of the eye: modality OP, body part, region code or free text."""
    attributes = header.attributes
    if header.modality == "OP" or body_part_of(header).partition(" ")[0] in _EYE_PARTS:
        return True
    if any(str(item.get("CodeValue")) in _EYE_CODES for item in attributes.get("AnatomicRegionSequence") or ()):
        return True
    texts = (_text(attributes, keyword) for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"))
    return any(_EYE_WORDS.search(text.upper()) for text in texts)


def image_type(header: InstanceHeader) -> tuple[str, ...]:
    return tuple(str(value).upper() for value in header.attributes.get("ImageType") or ())


def kept_attributes(header: InstanceHeader) -> Mapping[str, Any]:
    """What encoders and reports may want of a header; nothing in it names the patient."""
    return {name: header.attributes[name] for name in _KEPT_ATTRIBUTES if name in header.attributes}


def _view_in(text: str) -> str:
    return next((view for pattern, view in _VIEW_TEXT if pattern.search(text.upper())), "")


def _text(attributes: Mapping[str, Any], keyword: str) -> str:
    value = attributes.get(keyword)
    return value.strip() if isinstance(value, str) else ""
