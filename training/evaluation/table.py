"""The images of an evaluation as columns: who, when, where, with what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EvaluationError
from training.manifests.schema import Role, Row

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

    def words(self) -> NDArray[np.str_]:
        """(n,) the words themselves; "" where unknown."""
        return np.asarray(("", *self.values[1:]))[self.codes]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """N images; every array is (N,).

    ``patient`` and ``study`` are codes: equal patients have equal issuer *and* id, equal studies belong to one patient.
    ``days`` and ``age`` are NaN where unknown. ``probe`` and ``gallery`` say what an image is used for: both, often.
    """

    patient: Codes
    study: Codes
    days: Floats
    age: Floats
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
        keys = [(row.issuer, row.patient_id) for row in rows]
        patients = tuple(sorted(set(keys)))
        studies = {key: code for code, key in enumerate(sorted({(*key, row.study) for key, row in zip(keys, rows)}))}
        place = {key: code for code, key in enumerate(patients)}
        ages = _numbers([row.age for row in rows])
        columns = {
            name: Column.of(getattr(row, name) for row in rows)
            for name in ("sex", "site", "device", "view", "modality", "laterality")
        }
        return cls(
            patient=np.array([place[key] for key in keys], np.int64),
            study=np.array([studies[(*key, row.study)] for key, row in zip(keys, rows, strict=True)], np.int64),
            days=_numbers([row.days for row in rows]),
            age=ages,
            probe=np.array([row.role in (Role.PROBE, Role.BOTH) for row in rows]),
            gallery=np.array([row.role is not Role.PROBE for row in rows]),
            columns=columns | {"age band": age_bands(ages)},
            labels={
                name: Column.of(row.labels.get(name, "") for row in rows)
                for name in sorted({name for row in rows for name in row.labels})
            },
            patients=patients,
        )


def age_bands(years: Floats) -> Column:
    """0-17, 18-39, 40-59, 60-79, 80+ years; NaN is unknown."""
    return Column.of(
        "" if np.isnan(age) else next(name for end, name in _AGE_BANDS if age < end) for age in years.tolist()
    )


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)
