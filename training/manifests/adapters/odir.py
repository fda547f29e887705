"""ODIR-5K, Ocular Disease Intelligent Recognition.

Layout (odir2019.grand-challenge.org, and its copies): pictures ``0_left.jpg`` and ``0_right.jpg`` in folders whose
names differ between copies; annotations as ``full_df.csv``, ``data.csv`` or the annotation spreadsheet saved as
``ODIR-5K_Training_Annotations*.csv`` (ID, Patient Age, Patient Sex, Left-Fundus, Right-Fundus, N, D, G, C, A, H, M, O).
Licence: of the challenge; research use.
Traps: one visit of each patient, a left and a right eye: no mated pairs under the rule that a study is never compared
with itself. Labels are of the patient, not of the eye. Of several copies of a picture (scaled ones, say) the one in
the folder of the lowest name is taken. Some pictures are of the anterior segment, dusty or blank; many
cameras, and a camera's frame gives its hospital away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import age_of, find, images_below, missing, sex_of, table
from training.manifests.schema import Row

_EYES = {"L": "Left-Fundus", "R": "Right-Fundus"}
_DISEASES = {
    "normal": "N", "diabetes": "D", "glaucoma": "G", "cataract": "C", "macular_degeneration": "A",
    "hypertension": "H", "myopia": "M", "other": "O",
}  # fmt: skip


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    annotations = find(root, "full_df.csv", "data.csv", "ODIR-5K_Training_Annotations*.csv")
    if annotations is None:
        raise missing(root, "full_df.csv (or the annotation spreadsheet saved as CSV)")
    images = images_below(root, (".jpg", ".jpeg"))
    seen: set[str] = set()
    for record in table(annotations, ("ID", *_EYES.values())):
        # full_df.csv has a line for each eye, the spreadsheet one for each patient.
        if record["ID"] in seen:
            continue
        seen.add(record["ID"])
        for side, column in _EYES.items():
            image = images.get(record[column].lower())
            if image is None:
                skipped["MISSING_FILE"] += 1
            else:
                yield _row(record, side, image.relative_to(root).as_posix())


def _row(record: Mapping[str, str], side: str, path: str) -> Row:
    return Row(
        path=path,
        patient_id=record["ID"],
        study="1",
        issuer="ODIR",
        modality="OP",
        laterality=side,
        sex=sex_of(record.get("Patient Sex", "")),
        age=age_of(record.get("Patient Age", "")),
        labels={name: record.get(column, "") for name, column in _DISEASES.items()},
    )


ADAPTER = Adapter("odir", "ODIR-5K: fundus photographs, one visit", "challenge, research use", rows, tuple(_DISEASES))
