"""OASIS-2, longitudinal brain MR of older adults.

Layout (oasis-brains.org): ``OAS2_RAW_PART1/OAS2_0001_MR1/RAW/mpr-1.nifti.hdr`` with ``.img``, three or four T1 volumes
a session, in two parts; demographics as ``oasis_longitudinal*.csv`` (Subject ID, MRI ID, MR Delay, M/F, Age, Group,
CDR), saved from the spreadsheet where only that was downloaded.
Licence: OASIS data use agreement, after registration.
Traps: the volumes of a session are repeats within an hour, never a pair; the .hdr files state their orientation
poorly, so compare OASIS with OASIS; faces are in the raw volumes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, find, missing, sex_of, table
from training.manifests.schema import Row

_SESSION = re.compile(r"(OAS2_\d{4})_(MR\d{1,2})")
_PATTERNS = ("OAS2_RAW_PART*/OAS2_*/RAW/mpr-*.nifti.hdr", "OAS2_*_MR*/RAW/mpr-*.nifti.hdr")


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    volumes = sorted(path for pattern in _PATTERNS for path in root.glob(pattern))
    if not volumes:
        raise missing(root, "OAS2_RAW_PART1/OAS2_0001_MR1/RAW/mpr-1.nifti.hdr")
    visits = _visits(root)
    for volume in volumes:
        match = _SESSION.fullmatch(volume.parent.parent.name)
        if not match:
            skipped["BAD_PATH"] += 1
        elif not volume.with_suffix(".img").is_file():
            skipped["MISSING_FILE"] += 1
        else:
            yield _row(root, volume, match, visits.get(match.group(), {}))


def _row(root: Path, volume: Path, session: re.Match[str], visit: Mapping[str, str]) -> Row:
    delay = visit.get("MR Delay", "")
    return Row(
        path=volume.relative_to(root).as_posix(),
        patient_id=session.group(1),
        study=session.group(2),
        issuer="OASIS-2",
        series=volume.name.split(".")[0],
        modality="MR",
        days=int(delay) if delay.isdecimal() else None,
        site="Washington University",
        sex=sex_of(visit.get("M/F", "")),
        age=age_of(visit.get("Age", "")),
        labels={"group": visit.get("Group", ""), "cdr": visit.get("CDR", "")},
    )


def _visits(root: Path) -> dict[str, dict[str, str]]:
    path = find(root, "oasis_longitudinal*.csv")
    return {} if path is None else {record["MRI ID"]: record for record in table(path, ("MRI ID", "MR Delay"))}


ADAPTER = Adapter("oasis-2", "OASIS-2: T1 brain MR over years", "OASIS data use agreement", rows, ("group", "cdr"))
