"""The values that pass between rooms: who a patient is, what a series says of itself, what was found in it.

Everything here is plain data without behaviour beyond validation. Importing it costs numpy at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
AttributeValue = str | int | float | Sequence[Any] | None


@dataclass(frozen=True, slots=True, order=True)
class PatientKey:
    """Who a patient is to this node: the issuer's name and the identifier it issued.

    Both are normalised (DICOM padding stripped, NFC) but never folded in case or stripped of zeros,
    because two hospitals' ``00123`` and ``123`` may be two people.
    """

    issuer: str
    id: str

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a PatientKey needs an identifier; a study without one is an orphan")


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """A patient record as it is written into DICOM: key, PN, DA (``YYYYMMDD``) and CS (``M``, ``F``, ``O``)."""

    key: PatientKey
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """One DICOM object without its pixels.

    ``attributes`` maps DICOM keywords to plain JSON values (text, numbers, lists, and for sequences
    lists of such mappings): what routing rules and imaging need, nothing decoded from pixels.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    path: Path
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modality(self) -> str:
        return str(self.attributes.get("Modality") or "")

    @property
    def has_pixels(self) -> bool:
        return bool(self.attributes.get("Rows")) and bool(self.attributes.get("Columns"))


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """All instances of a series, in the order they were received."""

    study_uid: str
    series_uid: str
    instances: tuple[InstanceHeader, ...]

    @property
    def modality(self) -> str:
        return self.instances[0].modality if self.instances else ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a series, or some of its instances, cannot be used. ``reason`` is one of ``inference.imaging.rejections``."""

    reason: str
    detail: str
    series_uid: str
    instances: int = 0


@dataclass(frozen=True, slots=True)
class LoadedSeries:
    """One usable image or volume in calibrated units.

    kind
        ``radiograph``: ``pixels`` is float32 (rows, columns) in [0, 1], bone bright (MONOCHROME2 sense);
        ``fundus``: uint8 (rows, columns, 3) RGB, of an eye; ``photograph``: the same of anything else;
        ``volume``: float32 (slices, rows, columns); HU for CT, modality units for MR.
    affine
        (4, 4) float64 from voxel index (slice, row, column, 1) to patient LPS millimetres; None for 2-D kinds.
    spacing
        millimetres: (slice, row, column) for volumes, (row, column) for images; NaN where unknown.
    """

    study_uid: str
    series_uid: str
    sop_instance_uids: tuple[str, ...]
    modality: str
    kind: Literal["radiograph", "fundus", "photograph", "volume"]
    pixels: NDArray[Any]
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None
    view: str = ""
    laterality: str = ""
    body_part: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Encoding:
    """An L2-normalised embedding of one image or volume, stamped with the encoder that made it.

    ``quality`` in [0, 1] is the encoder's own opinion of its input; ``template`` holds compact material
    for a geometric verifier (may be empty).
    """

    encoder: str
    version: str
    study_uid: str
    series_uid: str
    vector: FloatArray
    quality: float
    modality: str = ""
    view: str = ""
    laterality: str = ""
    template: bytes = b""
