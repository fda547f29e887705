"""The schema of every manifest: a CSV file with one row for each image or volume.

Only ``path``, ``patient_id`` and ``study`` are required; every other column may be absent or empty, which
means unknown. Columns that begin with ``label_`` are labels (disease and the like); further columns are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

FILE_NAME = "manifest.csv"
LABEL_PREFIX = "label_"
REQUIRED = ("path", "patient_id", "study")


class Role(StrEnum):
    """What an image is for in an identification test (ISO/IEC 19795-1).

    ``BOTH`` images are probes and gallery entries in turn, never against their own study; a ``DISTRACTOR`` is enrolled
    and never a probe.
    """

    PROBE = "probe"
    GALLERY = "gallery"
    BOTH = "both"
    DISTRACTOR = "distractor"


@dataclass(frozen=True, slots=True)
class Row:
    """One image (``path`` is a file) or volume (``path`` is a folder that holds one DICOM series, or a NIfTI file).

    ``path`` is relative to the manifest's folder. In a folder of several DICOM series, ``series`` is the Series
    Instance UID of the row's own. ``patient_id`` (of ``issuer``) is the true identity, whatever a DICOM header says.
    ``study`` names the examination: images of one study are never compared with each other, so ``study`` need only be
    unique together with the patient. ``days`` counts from any day that is the same for one patient. ``age`` is in
    years on the day of the study; ``sex`` is ``F``, ``M``, ``O`` or empty; ``laterality`` ``L``, ``R``, ``B`` or empty;
    ``view`` a DICOM View Position or a word of that kind (``PA``, ``AP``, ``LL``, ``MACULA``); ``birth_date`` is
    ``YYYYMMDD``.
    ``labels`` are the label columns without their prefix.
    """

    path: str
    patient_id: str
    study: str
    issuer: str = ""
    series: str = ""
    instance: str = ""
    instances: int = 1
    modality: str = ""
    view: str = ""
    laterality: str = ""
    days: int | None = None
    site: str = ""
    device: str = ""
    sex: str = ""
    age: float | None = None
    birth_date: str = ""
    split: str = ""
    role: Role = Role.BOTH
    labels: Mapping[str, str] = field(default_factory=dict)


COLUMNS = tuple(item.name for item in fields(Row) if item.name != "labels")
