"""A folder of DICOM objects: an export of a PACS, a download from The Cancer Imaging Archive, anything received.

Layout: any; objects are told apart by their headers (PatientID, StudyInstanceUID, SeriesInstanceUID), never by names
of files and folders. One row for each CT or MR series, and for each radiograph or photograph. A series lies in one
folder, which may hold others too.
Licence: as of the data; an export of a PACS is patient data, and so is the manifest.
Traps: PatientID is taken as the truth, so an orphan or a misfile in the export is a wrong label; several studies of a
day, or one examination under two study UIDs, look like two visits; secondary captures may have names burned in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.errors import CommandError, HeaderError
from inference.imaging.headers import read_header
from inference.imaging.labels import laterality_of, view_of
from inference.imaging.series import kind_of
from inference.imaging.volume import MIN_SLICES
from inference.types import InstanceHeader
from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, days_of, sex_of
from training.manifests.schema import Row


@dataclass
class _Volume:
    """A CT or MR series in one folder, as far as it was read."""

    header: InstanceHeader
    instances: int = 0
    slices: int = 0


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    """Rows in the order of folders and files.

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when there is no such folder; ``SERIES_SCATTERED`` when a series lies in several folders.
    """
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder", reason="NOT_FOUND")
    homes: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        volumes: dict[str, _Volume] = {}
        for name in sorted(names):
            header = _header(Path(folder) / name, skipped)
            if header is None:
                continue
            if kind_of(header) == "volume":
                volume = volumes.setdefault(header.series_uid, _Volume(header))
                volume.instances += 1
                volume.slices += max(1, int(header.attributes.get("NumberOfFrames") or 1))
            else:
                yield _row(header, root, header.path, 1)
        for uid, volume in volumes.items():
            if homes.setdefault(uid, folder) != folder:
                raise CommandError(
                    "a series lies in several folders, so that no row can name it; export each series into a folder "
                    "of its own",
                    reason="SERIES_SCATTERED",
                )
            yield from _volume_row(volume, root, Path(folder), skipped)


def _header(path: Path, skipped: Skipped) -> InstanceHeader | None:
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return None
    try:
        header = read_header(path)
    except HeaderError as error:
        skipped[error.reason] += 1
        return None
    if kind_of(header) is None:
        skipped["UNSUPPORTED_SOP_CLASS"] += 1
    elif not header.has_pixels:
        skipped["NO_PIXELS"] += 1
    elif not _clean(header, "PatientID"):
        skipped["NO_PATIENT_ID"] += 1
    else:
        return header
    return None


def _volume_row(volume: _Volume, root: Path, folder: Path, skipped: Skipped) -> Iterator[Row]:
    if volume.slices < MIN_SLICES:
        skipped["TOO_FEW_SLICES"] += volume.instances
        return
    yield _row(volume.header, root, volume.header.path if volume.instances == 1 else folder, volume.instances)


def _row(header: InstanceHeader, root: Path, path: Path, instances: int) -> Row:
    study_date = _clean(header, "StudyDate") or _clean(header, "AcquisitionDate")
    birth_date = _clean(header, "PatientBirthDate")
    days, born = days_of(study_date), days_of(birth_date)
    age = age_of(_clean(header, "PatientAge"))
    if age is None and days is not None and born is not None and 0 <= days - born < 120 * 365.25:
        age = round((days - born) / 365.25, 1)
    single = not path.is_dir()
    return Row(
        path=path.relative_to(root).as_posix(),
        patient_id=_clean(header, "PatientID"),
        study=header.study_uid,
        issuer=_clean(header, "IssuerOfPatientID"),
        series=header.series_uid,
        instance=header.sop_instance_uid if single else "",
        instances=instances,
        modality=_clean(header, "Modality"),
        view=view_of(header),
        laterality=laterality_of(header, eye=kind_of(header) == "fundus"),
        days=days,
        site=_clean(header, "InstitutionName"),
        device=" ".join(
            part
            for part in (_clean(header, name) for name in ("Manufacturer", "ManufacturerModelName", "StationName"))
            if part
        ),
        sex=sex_of(_clean(header, "PatientSex")),
        age=age,
        birth_date=birth_date if born is not None else "",
    )


def _clean(header: InstanceHeader, keyword: str) -> str:
    """Text of a header on one line."""
    return " ".join(str(header.attributes.get(keyword) or "").split())


ADAPTER = Adapter("dicom-folder", "Any folder of DICOM objects, such as an export of a PACS", "as of the data", rows)
