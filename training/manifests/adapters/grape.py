"""GRAPE, fundus photographs of glaucoma patients over years.

Layout (figshare collection 6406319; Huang et al., Scientific Data 2023): pictures ``1_OD_1.jpg`` (subject, eye, visit)
in ``CFPs``, beside cut-outs and annotated copies of the same names that are left alone; ``VF and clinical
information.xlsx``, whose sheets are read when saved beside it as ``Baseline.csv`` (Subject Number, Laterality, Age,
Gender) and ``Follow-up.csv`` (Subject Number, Laterality, Visit Number, Interval Years).
Licence: CC BY 4.0.
Traps: visits are numbered for each eye, so a left second and a right third may be of one day: compare the same
laterality. Without Follow-up.csv there are no days. Intervals count from the first visit of that eye.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, images_below, missing, sex_of, table
from training.manifests.schema import Row

_NAME = re.compile(r"(\d{1,5})_(OD|OS)_(\d{1,3})")
_SIDES = {"OD": "R", "OS": "L"}
_YEARS = re.compile(r"\d{1,2}(\.\d+)?")
_EYE = ("Subject Number", "Laterality")


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    images = images_below(root / "CFPs", (".jpg",))
    if not images:
        raise missing(root, "CFPs/1_OD_1.jpg")
    persons, intervals = _persons(root / "Baseline.csv"), _intervals(root / "Follow-up.csv")
    for image in images.values():
        match = _NAME.fullmatch(image.stem)
        if not match:
            skipped["BAD_PATH"] += 1
            continue
        subject, eye, visit = match.groups()
        days = intervals.get((subject, eye, visit), 0 if visit == "1" else None)
        person = persons.get(subject, {})
        yield Row(
            path=image.relative_to(root).as_posix(),
            patient_id=subject,
            study=f"visit {visit}",
            issuer="GRAPE",
            modality="OP",
            laterality=_SIDES[eye],
            days=days,
            sex=sex_of(person.get("Gender", "")),
            age=age_of(person.get("Age", "")),
        )


def _persons(path: Path) -> dict[str, Mapping[str, str]]:
    # A sheet has a second line of header, and cells that are merged: lines without a subject are no patients.
    return {record[_EYE[0]]: record for record in table(path, _EYE) if record[_EYE[0]]} if path.is_file() else {}


def _intervals(path: Path) -> dict[tuple[str, str, str], int]:
    if not path.is_file():
        return {}
    return {
        (record[_EYE[0]], record[_EYE[1]], record["Visit Number"]): round(float(record["Interval Years"]) * 365.25)
        for record in table(path, (*_EYE, "Visit Number", "Interval Years"))
        if _YEARS.fullmatch(record.get("Interval Years", ""))
    }


ADAPTER = Adapter("grape", "GRAPE: fundus photographs over years", "CC BY 4.0", rows)
