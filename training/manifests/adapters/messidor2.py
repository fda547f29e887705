"""Messidor-2, macula-centred fundus photographs of diabetic patients.

Layout (adcis.net/en/third-party/messidor2): ``IMAGES/20051020_43808_0100_PP.png`` and ``IMAGES/IM004832.JPG``, and
``messidor-2.csv``, one examination a line as ``left;right``. Adjudicated grades by others, where they lie beside it:
``messidor_data.csv`` (image_id, adjudicated_dr_grade).
Licence: research use, after registration with ADCIS.
Traps: one examination of each patient, a left and a right eye: no mated pairs under the rule that a study is never
compared with itself. Names say nothing of the patient; only ``messidor-2.csv`` pairs the eyes. The case of ``.JPG``
differs between the tables and the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import images_below, missing, table
from training.manifests.schema import Row

_EYES = {"L": "left", "R": "right"}


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    examinations = root / "messidor-2.csv"
    if not examinations.is_file():
        raise missing(root, "messidor-2.csv")
    images, grades = images_below(root), _grades(root / "messidor_data.csv")
    for number, record in enumerate(table(examinations, tuple(_EYES.values())), start=1):
        for side, column in _EYES.items():
            name = record.get(column, "").lower()
            if (image := images.get(name)) is None:
                skipped["MISSING_FILE"] += 1
                continue
            yield Row(
                path=image.relative_to(root).as_posix(),
                patient_id=f"{number:04d}",
                study="1",
                issuer="Messidor-2",
                modality="OP",
                view="MACULA",
                laterality=side,
                labels={"retinopathy": grades.get(name, "")},
            )


def _grades(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    columns = ("image_id", "adjudicated_dr_grade")
    return {record[columns[0]].lower(): record[columns[1]].removesuffix(".0") for record in table(path, columns)}


ADAPTER = Adapter(
    "messidor-2", "Messidor-2: fundus photographs, one visit", "research use after registration", rows, ("retinopathy",)
)
