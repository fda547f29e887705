"""The demo's cohort: visits that enrol patients, then orphans of enrolled patients and of strangers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path

from config.errors import CommandError
from inference.types import PatientKey
from training.cohort.cohort import Progress, StudyPlan, make_studies, writing
from training.cohort.illness import CONDITIONS
from training.cohort.orphans import orphan_kinds
from training.cohort.visit import Dials
from training.manifests.files import ManifestWriter
from training.manifests.schema import FILE_NAME, Row

_CT, _DX = "head-ct", "chest-film"


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study and the truth about it. ``kind`` is how it lost its patient, empty where it did not.

    ``truth`` is the enrolled patient whose study it is, None for a stranger.
    """

    study_uid: str
    modality: str
    files: tuple[Path, ...]
    kind: str
    truth: PatientKey | None


@dataclass(frozen=True, slots=True)
class DemoCohort:
    """``manifest`` tells the true patient of every study, strangers too."""

    folder: Path
    manifest: Path
    enrolment: tuple[DemoStudy, ...]
    orphans: tuple[DemoStudy, ...]


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How many of each. The first ``enrolled`` persons of the seed are enrolled, the next ``strangers`` are not."""

    enrolled: int = 8
    strangers: int = 4
    mated_ct: int = 6
    mated_dx: int = 4
    stranger_ct: int = 3
    stranger_dx: int = 2

    def __post_init__(self) -> None:
        if self.enrolled < 1 or (self.strangers < 1 and self.stranger_ct + self.stranger_dx):
            raise CommandError("a demo needs an enrolled patient, and a stranger where strangers' studies are wanted")


def build_demo_cohort(
    out: Path,
    seed: int,
    progress: Progress | None = None,
    size: DemoSize | None = None,
    processes: int = 2,
    dials: Dials | None = None,
) -> DemoCohort:
    """Makes ``out/enrolment`` and ``out/orphans``; ``progress`` is told (studies done, of how many, what).

    Enrolled patients have two chest radiographs and, every other one, two head CTs instead of one. Orphans are later
    visits. Raises what :func:`training.cohort.cohort.make_studies` raises.
    """
    size, dials = size or DemoSize(), dials or Dials()
    enrolment, orphans = list(_enrolment(seed, size, dials)), list(_orphans(seed, size, dials))
    plans = enrolment + orphans
    studies: list[DemoStudy] = []
    manifest = out / FILE_NAME
    with writing():
        out.mkdir(parents=True, exist_ok=True)
        with manifest.open("w", newline="", encoding="utf-8") as file:
            writer = ManifestWriter(file, CONDITIONS)
            for plan, rows in zip(plans, make_studies(out, plans, processes), strict=True):
                for row in rows:
                    writer.add(row)
                studies.append(_study(out, plan, rows, size.enrolled))
                if progress is not None:
                    progress(len(studies), len(plans), "enrolment" if not plan.orphan else "orphans")
    return DemoCohort(out, manifest, tuple(studies[: len(enrolment)]), tuple(studies[len(enrolment) :]))


def _enrolment(seed: int, size: DemoSize, dials: Dials) -> Iterator[StudyPlan]:
    for number in range(1, size.enrolled + 1):
        for kind, visits in ((_CT, 1 + number % 2), (_DX, 2)):
            for visit in range(visits):
                folder = f"enrolment/PH-{number:05d}-{visit}-{kind}"
                yield StudyPlan(seed, number, visit, kind, dials, folder)


def _orphans(seed: int, size: DemoSize, dials: Dials) -> Iterator[StudyPlan]:
    enrolled = range(1, size.enrolled + 1)
    others = range(size.enrolled + 1, size.enrolled + size.strangers + 1)
    wanted = chain(
        _whose(_CT, enrolled, size.mated_ct),
        _whose(_DX, list(reversed(enrolled)), size.mated_dx),
        _whose(_CT, others, size.stranger_ct),
        _whose(_DX, list(reversed(others)), size.stranger_dx),
    )
    for place, ((number, kind, visit), orphan) in enumerate(zip(wanted, cycle(orphan_kinds()), strict=False), start=1):
        yield StudyPlan(seed, number, visit, kind, dials, f"orphans/{place:02d}-{kind}", orphan)


def _whose(kind: str, numbers: Sequence[int], count: int) -> Iterator[tuple[int, str, int]]:
    """Visits 2 and later, so that none is an enrolment visit."""
    for place, number in enumerate(islice(cycle(numbers), count)):
        yield number, kind, 2 + place // len(numbers)


def _study(out: Path, plan: StudyPlan, rows: Sequence[Row], enrolled: int) -> DemoStudy:
    row = rows[0]
    files: list[Path] = []
    for path in (out / row.path for row in rows):
        files += sorted(path.iterdir()) if path.is_dir() else [path]
    return DemoStudy(
        study_uid=row.study,
        modality=row.modality,
        files=tuple(files),
        kind=plan.orphan,
        truth=PatientKey(row.issuer, row.patient_id) if plan.number <= enrolled else None,
    )
