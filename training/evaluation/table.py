"""The images of an evaluation as columns: who, when, where, with what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError
from training.manifests.pairs import Keys, keys_of
from training.manifests.schema import Row

Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

UNKNOWN = "unknown"
_AGE_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (np.inf, "80+"))


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of words: ``codes`` (n,) point into ``values``, of which the first is always "unknown"."""

    codes: Codes
    values: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Column:
        found = list(words)
        values = (UNKNOWN, *sorted(set(found) - {"", UNKNOWN}))
        place = {value: code for code, value in enumerate(values)} | {"": 0}
        return cls(np.fromiter((place[word] for word in found), np.int64, len(found)), values)

    def word(self, code: int) -> str:
        """What a code stands for; "" for unknown."""
        return self.values[code] if code else ""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """N images; every array is (N,).

    ``rows`` are the manifest's own, ``keys`` what pairs are decided by. ``patient`` are codes into ``patients``: issuer
    *and* id. ``days`` and ``age`` are NaN where unknown. ``probe`` and ``gallery`` say what an image is used for: both,
    often. ``columns`` are sex, age band, site, device, view, modality and laterality.
    """

    rows: Sequence[Row]
    keys: Keys
    patient: Codes
    days: Floats
    probe: Bools
    gallery: Bools
    columns: Mapping[str, Column]
    labels: Mapping[str, Column]
    patients: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.patient)

    @classmethod
    def from_rows(cls, rows: Sequence[Row]) -> Table:
        """One image per row, in the order of the rows.

        Raises
        ------
        EvaluationError
            ``EMPTY_TABLE`` when there is no row.
        """
        if not rows:
            raise EvaluationError("there are no images to evaluate; is the manifest empty?", reason="EMPTY_TABLE")
        names = [(row.issuer, row.patient_id) for row in rows]
        patients = tuple(sorted(set(names)))
        place = {name: code for code, name in enumerate(patients)}
        keys = keys_of(rows)
        columns = {
            name: Column.of(getattr(row, name) for row in rows)
            for name in ("sex", "site", "device", "view", "modality", "laterality")
        }
        return cls(
            rows=rows,
            keys=keys,
            patient=np.array([place[name] for name in names], np.int64),
            days=keys.days,
            probe=keys.probe,
            gallery=keys.gallery,
            columns=columns | {"age band": Column.of(age_band(row.age) for row in rows)},
            labels={
                label: Column.of(row.labels.get(label, "") for row in rows)
                for label in sorted({label for row in rows for label in row.labels})
            },
            patients=patients,
        )


def age_band(years: float | None) -> str:
    """0-17, 18-39, 40-59, 60-79 or 80+ years; "" where unknown."""
    if years is None or np.isnan(years):
        return ""
    return next(name for end, name in _AGE_BANDS if years < end)
