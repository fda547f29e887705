"""What a manifest holds, and whether it can be used: counts for a person to look at, problems with names."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from config.errors import CommandError
from training.manifests.files import Manifest
from training.manifests.schema import Row
from training.manifests.splits import splits_are_by_patient

__all__ = ["Problem", "Summary", "check_manifest"]

# Values of a column beyond these are counted together: a hostile or mistaken column may have millions.
_MAX_VALUES = 200
_REST = "(more)"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a manifest, or some rows of it, cannot be used. ``rows`` is how many are concerned, 0 for all."""

    name: Literal["MISSING_FILE", "PATH_OUTSIDE", "SAME_FILE_TWICE", "SPLIT_LEAK"]
    detail: str
    rows: int = 0


@dataclass
class Summary:
    """Counts over all rows; ``repeated`` are patients with two studies or more, without whom nobody can be found.

    ``split_patients`` counts patients by split and is empty where a patient is in several.
    """

    images: int = 0
    studies: int = 0
    patients: int = 0
    repeated: int = 0
    modalities: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    lateralities: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    split_patients: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def check_manifest(manifest: Manifest, advance: Callable[[int], None] = lambda steps: None) -> Summary:
    """Reads all rows, looks whether their files are there, and counts; some 100 bytes of memory for each study.

    Raises
    ------
    CommandError
        for a row that is not as the schema wants it (see :meth:`Manifest.rows`).
    """
    counted = _Counts()
    try:
        split_patients = splits_are_by_patient(counted.through(manifest, advance))
        leaks = []
    except CommandError as error:
        if error.reason != "SPLIT_LEAK":
            raise
        split_patients, leaks = {}, [Problem("SPLIT_LEAK", str(error))]
    summary = counted.summary()
    summary.split_patients = split_patients
    summary.problems = [*counted.problems(), *leaks]
    return summary


class _Counts:
    """Counts rows while somebody else reads them."""

    def __init__(self) -> None:
        self._summary = Summary()
        self._studies: dict[bytes, set[bytes]] = {}
        self._paths = array("q")
        self._missing = self._outside = 0

    def through(self, manifest: Manifest, advance: Callable[[int], None]) -> Iterator[Row]:
        for row in manifest.rows():
            self._count(row)
            self._look(manifest, row)
            advance(1)
            yield row

    def _count(self, row: Row) -> None:
        self._summary.images += 1
        studies = self._studies.setdefault(_digest(row.issuer, row.patient_id), set())
        studies.add(_digest(row.study)[:8])
        for counter, value in (
            (self._summary.modalities, row.modality),
            (self._summary.views, row.view),
            (self._summary.lateralities, row.laterality),
            (self._summary.roles, row.role.value),
        ):
            counter[value if value in counter or len(counter) < _MAX_VALUES else _REST] += 1

    def _look(self, manifest: Manifest, row: Row) -> None:
        try:
            path = manifest.file(row)
        except CommandError:
            self._outside += 1
            return
        self._missing += not _there(path)
        # Series of one folder share its path; an image of its own does not.
        self._paths.append(int.from_bytes(_digest(str(path), row.series)[:8], "big", signed=True))

    def summary(self) -> Summary:
        self._summary.patients = len(self._studies)
        self._summary.studies = sum(len(studies) for studies in self._studies.values())
        self._summary.repeated = sum(len(studies) > 1 for studies in self._studies.values())
        return self._summary

    def problems(self) -> Iterator[Problem]:
        if self._missing:
            yield Problem(
                "MISSING_FILE", "the files are not there; unpack them, or make the manifest anew", self._missing
            )
        if self._outside:
            detail = "the paths leave the manifest's folder; put it beside its images, or allow it with --outside"
            yield Problem("PATH_OUTSIDE", detail, self._outside)
        paths = np.frombuffer(self._paths, np.int64)
        if twice := len(paths) - len(np.unique(paths)):
            yield Problem("SAME_FILE_TWICE", "one image is in several rows; it would find itself", twice)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A name that is too long for the file system is the name of nothing.
        return False


def _digest(*parts: str) -> bytes:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
