"""How studies lose their patient: each kind leaves another trace in the header, and none leaves an identity."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy

from pydicom.dataset import Dataset

from config.errors import CommandError

# What could still name the patient; removed whatever the kind.
_TRACES = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientAddress",
)


def _absent(ds: Dataset, number: int) -> None:
    del ds.PatientID
    del ds.PatientName
    _forget_demographics(ds)


def _empty(ds: Dataset, number: int) -> None:
    ds.PatientID = ds.PatientName = ""
    _forget_demographics(ds)


def _spaces(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = "    ", "    "
    ds.PatientBirthDate = ""


def _unknown(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = "UNKNOWN", "UNKNOWN^UNKNOWN"
    ds.PatientBirthDate = ""


def _zeros(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = "0000000", ""


def _nines(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "999999", "PATIENT^NEW", ""


def _time_stamp(ds: Dataset, number: int) -> None:
    ds.PatientID = f"{ds.StudyDate}{str(ds.StudyTime)[:6]}"
    ds.PatientName = "EMERGENCY^PATIENT"
    _forget_demographics(ds)


def _trauma_alias(ds: Dataset, number: int) -> None:
    sex = {"F": "FEMALE", "M": "MALE"}.get(str(ds.get("PatientSex", "")), "PERSON")
    ds.PatientID, ds.PatientName = f"TRAUMA-{number % 90 + 10}", f"XXUNIDENTIFIED^{sex}"
    ds.PatientBirthDate = "19010101"


def _archive_number(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = f"P-{number % 10**8:08d}", ""
    ds.IssuerOfPatientID = "DCM4CHEE.null.null"
    ds.PatientBirthDate = ""


def _birth_date(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"TEMP{number % 10**4:04d}", "", "19000101"
    ds.PatientSex = "O"


def _anonymous(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = "ANONYMOUS", "ANONYMOUS"
    _forget_demographics(ds)


def _marks(ds: Dataset, number: int) -> None:
    ds.PatientID, ds.PatientName = (
        "????",
        "UNKNOWN MALE^ALPHA" if ds.get("PatientSex") == "M" else "UNKNOWN FEMALE^ALPHA",
    )
    ds.PatientBirthDate = ""


def _forget_demographics(ds: Dataset) -> None:
    ds.PatientBirthDate = ds.PatientSex = ""
    if "PatientAge" in ds:
        del ds.PatientAge


_KINDS: dict[str, Callable[[Dataset, int], None]] = {
    "absent": _absent,
    "empty": _empty,
    "spaces": _spaces,
    "unknown": _unknown,
    "zeros": _zeros,
    "nines": _nines,
    "time-stamp": _time_stamp,
    "trauma-alias": _trauma_alias,
    "archive-number": _archive_number,
    "birth-date-1900": _birth_date,
    "anonymous": _anonymous,
    "question-marks": _marks,
}


def orphan_kinds() -> tuple[str, ...]:
    """The names of all kinds of missing identity."""
    return tuple(_KINDS)


def make_orphan(ds: Dataset, kind: str) -> Dataset:
    """A copy of ``ds`` that has lost its patient; pixels, UIDs and everything about the study stay.

    All instances of a study lose it in the same way: what a kind makes up follows from the Study Instance UID.

    Raises
    ------
    CommandError
        when there is no such kind.
    """
    if kind not in _KINDS:
        raise CommandError(f"there is no orphan kind of that name; choose from {', '.join(_KINDS)}")
    orphan = deepcopy(ds)
    for keyword in _TRACES:
        if keyword in orphan:
            delattr(orphan, keyword)
    number = int.from_bytes(hashlib.blake2b(str(ds.StudyInstanceUID).encode(), digest_size=6).digest(), "big")
    _KINDS[kind](orphan, number)
    return orphan
