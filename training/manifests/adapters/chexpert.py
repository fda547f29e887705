"""CheXpert, full size or small.

Layout (stanfordmlgroup.github.io/competitions/chexpert): ``train.csv``, ``valid.csv`` and, where released,
``test.csv`` beside ``train/patient00001/study1/view1_frontal.jpg``; the column Path begins with the name of the
release's folder, which unpackers change, and is therefore read from ``train``, ``valid`` or ``test`` on.
Licence: Stanford University data set research use agreement; no commercial use, no sharing.
Traps: no dates; studies are numbered, and nothing says how far apart they are; an age of 0 and sex Unknown occur;
several views of a study are never a pair; uncertain labels are -1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, missing, sex_of, table
from training.manifests.schema import Row

_SPLITS = ("train", "valid", "test")
_PATH = re.compile(r"(?:^|/)((train|valid|test)/(patient\d{5,6})/(study\d{1,3})/view\d{1,2}_(frontal|lateral)\.jpg)$")
FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    tables = [path for name in _SPLITS if (path := root / f"{name}.csv").is_file()]
    if not tables:
        raise missing(root, "train.csv or valid.csv")
    for path in tables:
        for record in table(path, ("Path", *FINDINGS)):
            row = _row(record)
            if row is None:
                skipped["BAD_PATH"] += 1
            elif not (root / row.path).is_file():
                skipped["MISSING_FILE"] += 1
            else:
                yield row


def _row(record: Mapping[str, str]) -> Row | None:
    match = _PATH.search(record["Path"])
    if not match:
        return None
    path, split, patient, study, view = match.groups()
    if view == "frontal":
        view = record.get("AP/PA", "")
    return Row(
        path=path,
        patient_id=patient,
        study=study,
        issuer="CheXpert",
        modality="DX",
        view="LATERAL" if view == "lateral" else view,
        site="Stanford",
        sex=sex_of(record.get("Sex", "")),
        age=age_of(record.get("Age", "")),
        split=split,
        labels={_label(name): record.get(name, "").removesuffix(".0") for name in FINDINGS},
    )


def _label(finding: str) -> str:
    return finding.lower().replace(" ", "_")


ADAPTER = Adapter(
    "chexpert", "CheXpert: chest radiographs", "Stanford research use agreement", rows,
    tuple(_label(name) for name in FINDINGS),
)  # fmt: skip
