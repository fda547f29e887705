"""What a gallery knows of its entries beside their vectors: columns of codes, so that a filter is array arithmetic."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.gallery.protocol import GalleryEntry, GalleryFilter
from inference.types import PatientKey

Value = TypeVar("Value", bound=Hashable)
UNKNOWN_YEAR = 0


class Column(Generic[Value]):
    """One value per row, stored as a code into the list of distinct values."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.codes: NDArray[np.int32] = np.empty(0, np.int32)
        self._code_of: dict[Value, int] = {}

    def append(self, values: Sequence[Value]) -> None:
        self.codes = np.append(self.codes, np.asarray([self._intern(value) for value in values], np.int32))

    def assign(self, rows: NDArray[np.bool_], value: Value) -> None:
        self.codes[rows] = self._intern(value)
        self.keep(np.ones(len(self.codes), bool))

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drops the other rows, and every value that only they had: what is forgotten leaves no trace."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        self.values = [self.values[code] for code in used]
        self.codes = codes.astype(np.int32)
        self._code_of = {value: code for code, value in enumerate(self.values)}

    def among(self, values: Iterable[Value]) -> NDArray[np.bool_]:
        wanted = [self._code_of[value] for value in values if value in self._code_of]
        return np.isin(self.codes, np.asarray(wanted, np.int32))

    def __getitem__(self, row: int) -> Value:
        return self.values[int(self.codes[row])]

    def _intern(self, value: Value) -> int:
        code = self._code_of.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code


class EntryTable:
    """Rows in the order of the index that they describe."""

    def __init__(self) -> None:
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)
        self.patient: Column[PatientKey] = Column()
        self.text: dict[str, Column[str]] = {
            name: Column() for name in ("study_uid", "modality", "view", "laterality", "sex", "birth_date")
        }

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, entries: Sequence[GalleryEntry]) -> None:
        self.ids = np.append(self.ids, np.asarray([entry.embedding_id for entry in entries], np.int64))
        self.patient.append([entry.patient for entry in entries])
        for name, column in self.text.items():
            column.append([getattr(entry, name) for entry in entries])

    def keep(self, rows: NDArray[np.bool_]) -> None:
        self.ids = self.ids[rows]
        columns: list[Column[Any]] = [self.patient, *self.text.values()]
        for column in columns:
            column.keep(rows)

    def entry(self, row: int, vector: NDArray[np.float32]) -> GalleryEntry:
        texts: dict[str, Any] = {name: column[row] for name, column in self.text.items()}
        return GalleryEntry(int(self.ids[row]), self.patient[row], vector=vector, **texts)

    def eligible(self, where: GalleryFilter | None) -> NDArray[np.bool_]:
        """Rows that stay in under a filter; what an entry does not know never narrows it out."""
        rows = np.ones(len(self), bool)
        if where is None:
            return rows
        if where.exclude_studies:
            rows &= ~self.text["study_uid"].among(where.exclude_studies)
        if where.patients is not None:
            rows &= self.patient.among(where.patients)
        for name in ("modality", "view", "laterality", "sex"):
            wanted = getattr(where, name)
            if wanted:
                rows &= self.text[name].among((wanted, ""))
        if where.birth_year_between is not None:
            low, high = where.birth_year_between
            dates = self.text["birth_date"]
            years = np.asarray([_year(date) for date in dates.values], np.int64)[dates.codes]
            rows &= (years == UNKNOWN_YEAR) | ((years >= low) & (years <= high))
        return rows


def _year(birth_date: str) -> int:
    text = birth_date[:4]
    return int(text) if len(text) == 4 and text.isascii() and text.isdigit() else UNKNOWN_YEAR
