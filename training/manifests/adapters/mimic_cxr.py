"""MIMIC-CXR-JPG (``mimic-cxr-jpg``) and MIMIC-CXR in DICOM (``mimic-cxr``).

Layout (physionet.org/content/mimic-cxr-jpg): ``files/p10/p10000032/s50414267/DICOM_ID.jpg`` beside
``mimic-cxr-2.*-metadata.csv.gz`` (dicom_id, subject_id, study_id, ViewPosition, StudyDate ...),
``mimic-cxr-2.*-split.csv.gz`` and ``mimic-cxr-2.*-chexpert.csv.gz``, gzipped or not. The DICOM release has the same
folders with ``.dcm`` and ``cxr-record-list.csv.gz``; put the metadata and split tables of the JPG release beside it
for views, dates and splits.
Licence: PhysioNet Credentialed Health Data License, after training and a signed agreement; no sharing of images.
Traps: dates are shifted by patient; an intensive-care patient has several studies a day, on one bed-side device;
a study has several views and repeats, which are never a pair; ViewPosition is empty now and then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Rows, Skipped
from training.manifests.adapters.tables import days_of, find, missing, table
from training.manifests.schema import Row

_IDS = ("dicom_id", "subject_id", "study_id")
_NUMBER = re.compile(r"\d{8}")
_DICOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_FINDINGS = {
    "atelectasis": "Atelectasis", "cardiomegaly": "Cardiomegaly", "consolidation": "Consolidation", "edema": "Edema",
    "enlarged_cardiomediastinum": "Enlarged Cardiomediastinum", "fracture": "Fracture", "lung_lesion": "Lung Lesion",
    "lung_opacity": "Lung Opacity", "no_finding": "No Finding", "pleural_effusion": "Pleural Effusion",
    "pleural_other": "Pleural Other", "pneumonia": "Pneumonia", "pneumothorax": "Pneumothorax",
    "support_devices": "Support Devices",
}  # fmt: skip


def _rows(suffix: str) -> Rows:
    def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
        images = find(root, "mimic-cxr-2.*-metadata.csv", "mimic-cxr-2.*-metadata.csv.gz")
        if images is None and suffix == ".dcm":
            images = find(root, "cxr-record-list.csv", "cxr-record-list.csv.gz")
        if images is None:
            raise missing(root, "mimic-cxr-2.*-metadata.csv.gz")
        splits, findings = _splits(root), _findings(root)
        for record in table(images, _IDS):
            row = _row(record, suffix, splits, findings)
            if row is None:
                skipped["BAD_ID"] += 1
            elif not (root / row.path).is_file():
                skipped["MISSING_FILE"] += 1
            else:
                yield row

    return rows


def _row(
    record: Mapping[str, str], suffix: str, splits: Mapping[str, str], findings: Mapping[str, tuple[str, ...]]
) -> Row | None:
    dicom, subject, study = (record.get(name, "") for name in _IDS)
    if not (_DICOM_ID.fullmatch(dicom) and _NUMBER.fullmatch(subject) and _NUMBER.fullmatch(study)):
        return None
    return Row(
        path=f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}{suffix}",
        patient_id=subject,
        study=study,
        issuer="MIMIC",
        instance=dicom,
        modality="DX",
        view=record.get("ViewPosition", ""),
        days=days_of(record.get("StudyDate", "")),
        site="Beth Israel Deaconess Medical Center",
        split=splits.get(dicom, ""),
        labels=dict(zip(_FINDINGS, findings.get(study, ()), strict=False)),
    )


def _splits(root: Path) -> dict[str, str]:
    path = find(root, "mimic-cxr-2.*-split.csv", "mimic-cxr-2.*-split.csv.gz")
    return {} if path is None else {item["dicom_id"]: item["split"] for item in table(path, ("dicom_id", "split"))}


def _findings(root: Path) -> dict[str, tuple[str, ...]]:
    """CheXpert labels of each study as published: 1, 0, -1 (uncertain) or empty (not mentioned)."""
    path = find(root, "mimic-cxr-2.*-chexpert.csv", "mimic-cxr-2.*-chexpert.csv.gz")
    if path is None:
        return {}
    return {
        item["study_id"]: tuple(item.get(column, "").removesuffix(".0") for column in _FINDINGS.values())
        for item in table(path, ("study_id", *_FINDINGS.values()))
    }


_LICENCE = "PhysioNet credentialed access"
ADAPTERS = (
    Adapter("mimic-cxr-jpg", "MIMIC-CXR-JPG: chest radiographs, JPEG", _LICENCE, _rows(".jpg"), tuple(_FINDINGS)),
    Adapter("mimic-cxr", "MIMIC-CXR: chest radiographs, DICOM", _LICENCE, _rows(".dcm"), tuple(_FINDINGS)),
)
