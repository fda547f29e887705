"""NIH ChestX-ray14.

Layout (nihcc.app.box.com/v/ChestXray-NIHCC, and its README): ``images_001/images/00000001_000.png`` ... ``images_012``,
or all in ``images``; ``Data_Entry_2017.csv`` or ``Data_Entry_2017_v2020.csv``; ``train_val_list.txt`` and
``test_list.txt``.
Licence: free use with acknowledgement of the NIH Clinical Center.
Traps: no dates; the follow-up number counts images in order of time, so two of one day, or two views of one
examination, have two numbers and count as two studies here: nothing published tells them apart, and a measured
rank-1 is an upper bound. Ages beyond 120 are mistakes. Some pictures have an alpha channel. One hospital.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, find, images_below, missing, sex_of, table
from training.manifests.schema import Row

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position")


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    entries = find(root, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    if entries is None:
        raise missing(root, "Data_Entry_2017.csv or Data_Entry_2017_v2020.csv")
    splits = _splits(root)
    images = images_below(root, (".png",))
    for record in table(entries, _COLUMNS):
        image = images.get(record["Image Index"].lower())
        if image is None:
            skipped["MISSING_FILE"] += 1
            continue
        found = set(record["Finding Labels"].split("|"))
        yield Row(
            path=image.relative_to(root).as_posix(),
            patient_id=record["Patient ID"],
            study=f"follow-up {record['Follow-up #']}",
            issuer="NIH",
            instance=image.stem,
            modality="DX",
            view=record["View Position"],
            site="NIH Clinical Center",
            sex=sex_of(record.get("Patient Gender") or record.get("Patient Sex") or ""),
            age=age_of(record["Patient Age"]),
            split=splits.get(image.name, ""),
            labels={name.lower(): str(int(name in found)) for name in FINDINGS},
        )


def _splits(root: Path) -> Mapping[str, str]:
    """The publisher's split by patient, where both lists are there."""
    lists = {name: root / f"{name}_list.txt" for name in ("train_val", "test")}
    there = [path for path in lists.values() if path.is_file()]
    if not there:
        return {}
    if len(there) < len(lists):
        raise missing(root, "one of train_val_list.txt and test_list.txt")
    return {line.strip(): name for name, path in lists.items() for line in path.read_text("utf-8").splitlines()}


ADAPTER = Adapter(
    "chestxray14", "NIH ChestX-ray14: chest radiographs", "free with acknowledgement", rows,
    tuple(name.lower() for name in FINDINGS),
)  # fmt: skip
