"""The modality and view under which embeddings are compared: a CR and a DX of one chest are one kind of image."""

from __future__ import annotations

_KINDS = {"radiograph": "DX", "fundus": "OP"}
_FRONTAL = frozenset({"AP", "PA", "FRONTAL"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "LLAT", "RLAT", "LAT"})


def canonical_modality(modality: str, kind: str) -> str:
    """``DX`` for radiographs, ``OP`` for photographs of the eye, however they were captured; else the Modality.

    A rendering of a CT or MR volume is no slice of it: ``CT-VR``, ``MR-VR``.
    """
    if kind == "photograph" and modality in ("CT", "MR"):
        return f"{modality}-VR"
    return _KINDS.get(kind, modality)


def canonical_view(view: str) -> str:
    """``FRONTAL``, ``LATERAL``, or empty where unknown; any other View Position (PS3.3 C.8.11.5) stays as it is."""
    text = view.strip().upper()
    if text in _FRONTAL:
        return "FRONTAL"
    if text in _LATERAL:
        return "LATERAL"
    return text
