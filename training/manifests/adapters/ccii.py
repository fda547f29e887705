"""CC-CCII, the chest CT of the China Consortium of Chest CT Image Investigation.

Layout (ncov-ai.big.ac.cn/download): ``NCP/PATIENT/SCAN/0000.png``, ``CP/...`` and ``Normal/...`` (slices as PNG or
JPEG), and ``metadata.csv`` (patient_id, Age, Sex(Male1/Female2) ...), which may be missing.
Licence: for research, after registration.
Traps: slices are windowed pictures: neither HU nor millimetres are left, and encoders that need them cannot take
these volumes. No dates: two scans of a patient may be one examination in two reconstructions, so that a measured
rank-1 is an upper bound. Patient numbers are taken as unique over the three classes, as the publisher's tables do.
Some scans are out of order or cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import PICTURES, age_of, missing, table
from training.manifests.schema import Row

_CLASSES = ("NCP", "CP", "Normal")
_SEX = "Sex(Male1/Female2)"
_SEXES = {"1": "M", "2": "F"}


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    classes = [name for name in _CLASSES if (root / name).is_dir()]
    if not classes:
        raise missing(root, "one of the folders NCP, CP and Normal")
    persons = _persons(root)
    for name in classes:
        for scan in sorted(path for path in (root / name).glob("*/*") if path.is_dir()):
            names = [item for item in scan.iterdir() if not item.name.startswith(".")]
            slices = sum(1 for item in names if item.suffix.lower() in PICTURES)
            if not slices:
                skipped["EMPTY_FOLDER"] += 1
                continue
            patient = scan.parent.name
            person = persons.get(patient, {})
            yield Row(
                path=scan.relative_to(root).as_posix(),
                patient_id=patient,
                study=scan.name,
                issuer="CC-CCII",
                series=scan.name,
                instances=slices,
                modality="CT",
                sex=_SEXES.get(person.get(_SEX, "").removesuffix(".0"), ""),
                age=age_of(person.get("Age", "")),
                labels={"class": name},
            )


def _persons(root: Path) -> Mapping[str, Mapping[str, str]]:
    path = root / "metadata.csv"
    return {record["patient_id"]: record for record in table(path, ("patient_id",))} if path.is_file() else {}


ADAPTER = Adapter("ccii", "CC-CCII: chest CT as pictures", "research use after registration", rows, ("class",))
