"""How fast phantoms come: studies and images per second of each kind, and how long a whole cohort would take."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from training.cohort.cohort import CohortPlan, make_cohort
from training.cohort.kinds import KINDS

# No other run of the project draws persons from this seed.
SEED = 9300
PATIENTS, VISITS = 4, 2
# What the limit is stated for: patients, visits, cores, minutes.
LIMIT = (200, 3, 2, 60)


def main() -> dict[str, Any]:
    """Makes some studies of each kind on one core; processes share nothing, so two make twice as many."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        _timed(kind, 1)  # imports and tables are no part of it
        seconds, images, size = _timed(kind, PATIENTS)
        studies = PATIENTS * VISITS
        found[kind] = {
            "studies_per_second": studies / seconds,
            "images_per_second": images / seconds,
            "megabytes_per_second": size / 1e6 / seconds,
            "seconds_per_study": seconds / studies,
        }
    patients, visits, cores, limit = LIMIT
    minutes = sum(one["seconds_per_study"] for one in found.values()) * patients * visits / cores / 60
    table = Table("kind", "studies / s", "images / s", "MB / s", title="phantoms, one core")
    for kind, one in found.items():
        table.add_row(
            kind,
            f"{one['studies_per_second']:.2f}",
            f"{one['images_per_second']:.1f}",
            f"{one['megabytes_per_second']:.1f}",
        )
    table.caption = (
        f"{patients} patients x {visits} visits of all kinds on {cores} cores: {minutes:.0f} min (limit {limit})"
    )
    Console().print(table)
    return {"kinds": found, "whole_cohort_minutes": minutes, "limit_minutes": limit}


def _timed(kind: str, patients: int) -> tuple[float, int, int]:
    """Seconds, images (DICOM instances) and bytes of a small cohort."""
    with tempfile.TemporaryDirectory(prefix="medreid-bench-") as name:
        begun = time.perf_counter()
        manifest = make_cohort(Path(name), CohortPlan(patients, SEED, VISITS, (kind,)))
        seconds = time.perf_counter() - begun
        images = sum(row.instances for row in manifest)
        size = sum(path.stat().st_size for path in Path(name).rglob("*.dcm"))
    return seconds, images, size
