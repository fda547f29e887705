"""EyePACS, the fundus photographs of Kaggle's diabetic retinopathy detection.

Layout (kaggle.com/c/diabetic-retinopathy-detection): ``train/10_left.jpeg``, ``test/1_left.jpeg``, ``trainLabels.csv``
(image, level) and, since the end of the competition, ``retinopathy_solution.csv`` (image, level, Usage).
Licence: rules of the competition; research and education.
Traps: one visit of each patient, a left and a right eye: under the rule that a study is never compared with itself
there are no mated pairs, and the set serves as non-mates and distractors. Some pictures are mirrored or turned, and
the number is the patient, the suffix the eye.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import missing, table
from training.manifests.schema import Row

_NAME = re.compile(r"(\d{1,6})_(left|right)\.jpe?g")
_TABLES = {"train": "trainLabels.csv", "test": "retinopathy_solution.csv"}


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    splits = [split for split in _TABLES if (root / split).is_dir()]
    if not splits:
        raise missing(root, "the folder train or test")
    for split in splits:
        levels = _levels(root / _TABLES[split])
        for image in sorted((root / split).iterdir()):
            match = _NAME.fullmatch(image.name)
            if not match:
                skipped["BAD_PATH"] += 1
                continue
            patient, eye = match.groups()
            yield Row(
                path=f"{split}/{image.name}",
                patient_id=patient,
                study="1",
                issuer="EyePACS",
                modality="OP",
                laterality="L" if eye == "left" else "R",
                split=split,
                labels={"retinopathy": levels.get(image.stem, "")},
            )


def _levels(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {record["image"]: record["level"] for record in table(path, ("image", "level"))}


ADAPTER = Adapter(
    "eyepacs", "EyePACS (Kaggle): fundus photographs, one visit", "competition rules", rows, ("retinopathy",)
)
