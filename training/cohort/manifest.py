"""The truth about a cohort: one row for each image or volume, in one schema."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from config.errors import CommandError

FILE_NAME = "manifest.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One image (``path`` is a file, ``instance`` its SOP Instance UID) or volume (a folder, ``instance`` empty).

    ``path`` is relative to the manifest's folder; ``days`` counts from the cohort's first day; ``issuer`` and
    ``patient`` are the true identity, whatever the DICOM says.
    """

    issuer: str
    patient: str
    study: str
    series: str
    instance: str
    instances: int
    modality: str
    view: str
    visit: int
    days: int
    site: str
    device: str
    sex: str
    birth_date: str
    path: str


COLUMNS = tuple(item.name for item in fields(Row))
_NUMBERS = frozenset(item.name for item in fields(Row) if item.type == "int")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest file; rows are read as they are asked for, so that its size does not matter."""

    path: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def rows(self) -> Iterator[Row]:
        """All rows in order.

        Raises
        ------
        CommandError
            when the file lacks a column or a number is none.
        """
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CommandError(f"{self.path.name} lacks the columns {', '.join(missing)}")
            for record in reader:
                yield _row(record, self.path.name, reader.line_num)

    def files(self, row: Row) -> list[Path]:
        """The DICOM files of a row, in the order of their names."""
        path = self.folder / row.path
        return sorted(path.iterdir()) if path.is_dir() else [path]

    def __len__(self) -> int:
        return sum(1 for _ in self.rows())


def _row(record: dict[str, str], file: str, line: int) -> Row:
    values: dict[str, Any] = {name: record[name] for name in COLUMNS}
    try:
        values.update((name, int(values[name])) for name in _NUMBERS)
        return Row(**values)
    except (TypeError, ValueError):
        raise CommandError(f"{file}, line {line}: a value is missing or is no number") from None


class ManifestWriter:
    """Appends rows to an open text file (opened with ``newline=""``)."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        self._writer.writeheader()

    def add(self, row: Row) -> None:
        self._writer.writerow(asdict(row))
