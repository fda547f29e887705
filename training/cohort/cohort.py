"""A cohort: persons, their visits, the files of each and the manifest of the truth."""

from __future__ import annotations

import errno
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.errors import CommandError, DiskFullError, StorageError
from training.cohort.chance import stream
from training.cohort.dicom_common import Change, device, instance_uid, series_uid, study_uid
from training.cohort.dicom_ct import write_head_ct
from training.cohort.dicom_dx import write_chest_radiograph
from training.cohort.manifest import FILE_NAME, Manifest, ManifestWriter, Row
from training.cohort.orphans import make_orphan
from training.cohort.person import ISSUER, Person, person
from training.cohort.visit import Dials, Visit, visit

MODALITIES = ("CT", "DX")
Progress = Callable[[int, int, str], None]
Writer = Callable[[Path, Person, Visit, Change | None], list[Path]]
_WRITERS: dict[str, Writer] = {"CT": write_head_ct, "DX": write_chest_radiograph}


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """One study that is to be made. Plain values, so that it can cross to another process.

    ``folder`` is relative, by default ``<patient>/<visit>-<modality>``; ``orphan`` names how it loses its patient.
    """

    seed: int
    number: int
    visit: int
    modality: str
    dials: Dials
    folder: str = ""
    orphan: str = ""


def plan(
    patients: int,
    seed: int,
    visits: int | tuple[int, int] = (2, 3),
    modalities: Sequence[str] = MODALITIES,
    dials: Dials | None = None,
) -> Iterator[StudyPlan]:
    """The studies of a cohort, person by person. ``visits`` is how many each has, or the range to draw from.

    Raises
    ------
    CommandError
        for numbers that make no cohort or a modality that there is none of.
    """
    low, high = (visits, visits) if isinstance(visits, int) else visits
    unknown = sorted(set(modalities) - set(MODALITIES))
    if unknown or not modalities:
        raise CommandError(f"modalities are chosen from {', '.join(MODALITIES)}; not {', '.join(unknown) or 'none'}")
    if patients < 1 or seed < 0 or not 1 <= low <= high:
        raise CommandError("a cohort needs 1 patient or more, a seed of 0 or more, and 1 visit or more")
    return _plan(patients, seed, (low, high), tuple(modalities), dials or Dials())


def _plan(
    patients: int, seed: int, visits: tuple[int, int], modalities: tuple[str, ...], dials: Dials
) -> Iterator[StudyPlan]:
    for number in range(1, patients + 1):
        count = int(stream(seed, "visits", number).integers(*visits, endpoint=True))
        for n in range(count):
            for modality in modalities:
                yield StudyPlan(seed, number, n, modality, dials)


def make_study(out: Path, one: StudyPlan) -> Row:
    """Makes one study under ``out`` and returns its row of the manifest."""
    who = person(one.seed, one.number)
    when = visit(who, one.visit, one.dials)
    folder = Path(one.folder or f"{who.patient_id}/{one.visit}-{one.modality}")
    change = partial(make_orphan, kind=one.orphan) if one.orphan else None
    files = _WRITERS[one.modality](out / folder, who, when, change)
    single = len(files) == 1
    return Row(
        issuer=ISSUER,
        patient=who.patient_id,
        study=study_uid(who, when, one.modality),
        series=series_uid(who, when, one.modality),
        instance=instance_uid(who, when, one.modality, 1, 1) if single else "",
        instances=len(files),
        modality=one.modality,
        view=when.chest_film.view if one.modality == "DX" else "",
        visit=one.visit,
        days=when.days,
        site=when.site,
        device=device(when, one.modality),
        sex=who.sex,
        birth_date=who.birth_date.strftime("%Y%m%d"),
        path=(folder / files[0].name if single else folder).as_posix(),
    )


def make_studies(out: Path, plans: Iterable[StudyPlan], processes: int = 1) -> Iterator[Row]:
    """Makes studies in the order of ``plans``, which may be endless; rows come as they are ready, in that order.

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
            yield from _in_parallel(out, plans, processes)


@contextmanager
def writing() -> Iterator[None]:
    """Turns what the file system refuses into a DiskFullError or a StorageError."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"the cohort's folder cannot be written ({error.strerror}); free space or choose another") from error


def _in_parallel(out: Path, plans: Iterable[StudyPlan], processes: int) -> Iterator[Row]:
    waiting: deque[Future[Row]] = deque()
    with ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread
    ) as pool:
        try:
            for one in plans:
                waiting.append(pool.submit(make_study, out, one))
                if len(waiting) >= 3 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def make_cohort(
    out: Path,
    patients: int,
    seed: int,
    visits: int | tuple[int, int] = (2, 3),
    modalities: Sequence[str] = MODALITIES,
    progress: Progress | None = None,
    processes: int = 1,
    dials: Dials | None = None,
) -> Manifest:
    """Writes a cohort of conformant DICOM studies and its manifest; the same arguments give the same bytes.

    Files go to ``out/<patient>/<visit>-<modality>/``; ``progress`` is told (studies done, of how many, patient).

    Raises
    ------
    CommandError
        when the arguments make no cohort or ``out`` holds one already.
    DiskFullError, StorageError
        when a file cannot be written.
    """
    total = sum(1 for _ in plan(patients, seed, visits, modalities, dials))
    target = out / FILE_NAME
    if target.exists():
        raise CommandError(f"{out} holds a cohort already; choose an empty folder")
    with writing():
        out.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".part")
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = ManifestWriter(file)
            for done, row in enumerate(
                make_studies(out, plan(patients, seed, visits, modalities, dials), processes), start=1
            ):
                writer.add(row)
                if progress is not None:
                    progress(done, total, row.patient)
        unfinished.replace(target)
    return Manifest(target)
