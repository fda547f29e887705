"""A cohort: persons, their visits, the files of each and the manifest of the truth."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from config.errors import CommandError, DiskFullError, StorageError
from training.cohort.chance import stream
from training.cohort.dicom_common import Image, study_uid
from training.cohort.illness import CONDITIONS
from training.cohort.kinds import KINDS, Kind, kinds_of
from training.cohort.orphans import make_orphan
from training.cohort.person import ISSUER, Person, person
from training.cohort.visit import Dials, Visit, visit
from training.manifests.files import Manifest, ManifestWriter, read_manifest
from training.manifests.schema import FILE_NAME, Role, Row
from training.processes import in_order

ARGUMENTS_FILE = "cohort.json"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """One study that is to be made. Plain values, so that it can cross to another process.

    ``kind`` is one of :data:`~training.cohort.kinds.KINDS`; ``folder`` is relative, by default
    ``<patient>/<visit>-<kind>``; ``orphan`` names how it loses its patient.
    """

    seed: int
    number: int
    visit: int
    kind: str
    dials: Dials
    folder: str = ""
    orphan: str = ""
    role: Role = Role.BOTH


@dataclass(frozen=True, slots=True)
class CohortPlan:
    """What a cohort holds. ``visits`` is how many each patient has, or the range to draw from.

    ``distractors`` are further persons with one visit each, who are enrolled and never searched for.

    Raises
    ------
    CommandError
        for numbers that make no cohort, or a kind of study that there is none of.
    """

    patients: int
    seed: int
    visits: int | tuple[int, int] = (2, 3)
    kinds: Sequence[str] = tuple(KINDS)
    dials: Dials = field(default_factory=Dials)
    distractors: int = 0

    def __post_init__(self) -> None:
        kinds_of(self.kinds)
        low, high = self.between
        if self.patients < 1 or self.seed < 0 or self.distractors < 0 or not 1 <= low <= high:
            raise CommandError("a cohort needs 1 patient or more, a seed of 0 or more, and 1 visit or more")

    @property
    def between(self) -> tuple[int, int]:
        return (self.visits, self.visits) if isinstance(self.visits, int) else self.visits

    def studies(self) -> Iterator[StudyPlan]:
        """The studies person by person, distractors last."""
        for number in range(1, self.patients + self.distractors + 1):
            role = Role.BOTH if number <= self.patients else Role.DISTRACTOR
            for n in range(self._count(number)):
                for kind in self.kinds:
                    yield StudyPlan(self.seed, number, n, kind, self.dials, role=role)

    def __len__(self) -> int:
        """How many studies there are."""
        return sum(self._count(n) for n in range(1, self.patients + self.distractors + 1)) * len(self.kinds)

    def _count(self, number: int) -> int:
        if number > self.patients:
            return 1
        return int(stream(self.seed, "visits", number).integers(*self.between, endpoint=True))


def make_study(out: Path, one: StudyPlan) -> list[Row]:
    """Makes one study under ``out`` and returns its rows of the manifest, one for each image or volume."""
    who = person(one.seed, one.number)
    when = visit(who, one.visit, one.dials)
    kind = KINDS[one.kind]
    folder = Path(one.folder or f"{who.patient_id}/{one.visit}-{one.kind}")
    change = partial(make_orphan, kind=one.orphan) if one.orphan else None
    images = kind.write(out / folder, who, when, change)
    return [_row(out, one, kind, who, when, image) for image in images]


def _row(out: Path, one: StudyPlan, kind: Kind, who: Person, when: Visit, image: Image) -> Row:
    path = image.files[0] if image.instance else image.files[0].parent
    return Row(
        path=path.relative_to(out).as_posix(),
        patient_id=who.patient_id,
        study=study_uid(who, when, one.kind),
        issuer=ISSUER,
        series=image.series,
        instance=image.instance,
        instances=len(image.files),
        modality=kind.modality,
        view=image.view,
        laterality=image.laterality,
        days=when.days,
        site=when.site,
        device=when.devices[kind.modality],
        sex=who.sex,
        age=round(who.years(when.moment.date()), 1),
        birth_date=who.birth_date.strftime("%Y%m%d"),
        role=one.role,
        labels=when.illness.labels(kind.conditions),
    )


def make_studies(out: Path, plans: Iterable[StudyPlan], processes: int = 1) -> Iterator[list[Row]]:
    """Makes studies in the order of ``plans``, which may be endless; the rows of each come as it is ready, in order.

    With more than one process the calling script must be importable (``if __name__ == "__main__"``).

    Raises
    ------
    DiskFullError, StorageError
        when a file cannot be written.
    """
    with writing():
        if processes <= 1:
            for one in plans:
                yield make_study(out, one)
        else:
            yield from in_order(partial(make_study, out), plans, processes)


@contextmanager
def writing() -> Iterator[None]:
    """Turns what the file system refuses into a DiskFullError or a StorageError."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"the cohort's folder cannot be written ({error.strerror}); free space or choose another") from error


def make_cohort(
    out: Path,
    cohort: CohortPlan,
    progress: Progress | None = None,
    processes: int = 1,
) -> Manifest:
    """Writes a cohort of conformant DICOM studies and its manifest; the same plan gives the same bytes.

    Files go to ``out/<patient>/<visit>-<kind>/``, the plan to ``out/cohort.json``; ``progress`` is told (studies done,
    of how many, patient).

    Raises
    ------
    CommandError
        when ``out`` holds a cohort already.
    DiskFullError, StorageError
        when a file cannot be written.
    """
    target = out / FILE_NAME
    if target.exists():
        raise CommandError(f"{out} holds a cohort already; choose an empty folder")
    with writing():
        out.mkdir(parents=True, exist_ok=True)
        (out / ARGUMENTS_FILE).write_text(json.dumps(asdict(cohort), indent=1) + "\n", encoding="utf-8")
        unfinished = target.with_suffix(".part")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            write_rows(file, make_studies(out, cohort.studies(), processes), len(cohort), progress)
        unfinished.replace(target)
    return read_manifest(target)


def write_rows(file: TextIO, studies: Iterable[list[Row]], total: int, progress: Progress | None) -> None:
    """Writes the manifest of studies while they are being made."""
    writer = ManifestWriter(file, CONDITIONS)
    for done, rows in enumerate(studies, start=1):
        for row in rows:
            writer.add(row)
        if progress is not None:
            progress(done, total, rows[0].patient_id)
