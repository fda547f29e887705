"""Persons to fit on and persons to judge on: nobody is both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from training.manifests.schema import Row
from training.manifests.splits import split_of

FIT, JUDGE = "fit", "judge"
_SHARES = {FIT: 0.5, JUDGE: 0.5}
# A publisher's split goes before ours; what is no test may be fitted on.
_JUDGED = "test"

Parts = NDArray[np.str_]


def parts_of(rows: Sequence[Row], seed: int) -> Parts:
    """(N,) ``fit`` or ``judge``: by the rows' split where they have one, else half of the patients each.

    Raises
    ------
    CommandError
        ``SHARED_PERSONS`` when a patient is in both.
    """
    published = any(row.split for row in rows)
    parts = np.array(
        [
            (JUDGE if row.split.lower() == _JUDGED else FIT) if published else split_of(row, _SHARES, seed)
            for row in rows
        ]
    )
    check_disjoint([(row.issuer, row.patient_id) for row in rows], parts)
    return parts


def check_disjoint(patients: Sequence[object], parts: Parts) -> None:
    """Raises CommandError ``SHARED_PERSONS`` when one of ``patients`` (N,) is in both parts."""
    both = {patient for patient, part in zip(patients, parts, strict=True) if part == FIT} & {
        patient for patient, part in zip(patients, parts, strict=True) if part == JUDGE
    }
    if both:
        raise CommandError(
            f"{len(both)} persons are fitted on and judged on; split by patient: see medreid manifest check",
            reason="SHARED_PERSONS",
        )
