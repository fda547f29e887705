"""The modality and view under which embeddings are compared: a CR and a DX of one chest are one kind of image."""

from __future__ import annotations

# DICOM Modality (PS3.3 C.7.3.1.1.1) -> family. Secondary captures are placed by what the loader made of them.
MODALITIES = {
    "CR": "DX",
    "DX": "DX",
    "RF": "DX",
    "RG": "DX",
    "XA": "DX",
    "OP": "OP",
    "XC": "OP",
    "MR": "MR",
    "CT": "CT",
}
_KINDS = {"radiograph": "DX", "fundus": "OP"}
_FRONTAL = frozenset({"AP", "PA", "FRONTAL"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "LLAT", "RLAT", "LAT"})


def canonical_modality(modality: str, kind: str) -> str:
    """The family of an image: by what it is, where that is certain, else by its Modality."""
    return _KINDS.get(kind) or MODALITIES.get(modality, modality)


def canonical_view(view: str) -> str:
    """``FRONTAL``, ``LATERAL``, or empty where unknown; any other View Position (PS3.3 C.8.11.5) stays as it is."""
    text = view.strip().upper()
    if text in _FRONTAL:
        return "FRONTAL"
    if text in _LATERAL:
        return "LATERAL"
    return text
