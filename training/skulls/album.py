"""Pictures of phantoms' skulls and faces, as the two branches see them: made once, and from where it was cut off.

A study is made as DICOM, loaded by the loaders of the node, drawn by :mod:`inference.encoders.skull_pictures` and gone
from the disk again; its pictures stay. A line in the journal says that they are whole.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import ImagingError
from inference.encoders.skull_pictures import Picture, Side, picture
from inference.types import FloatArray, LoadedSeries
from inference.whole_file import whole_file
from training.cohort.cohort import StudyPlan, make_study, writing
from training.cohort.nuisance import dials_of
from training.learning.catalogue import Tell
from training.learning.locks import exclusive
from training.processes import in_order
from training.skulls.recipe import kind_and_view
from training.skulls.retrieval import Faces

_JOURNAL = "pictures.jsonl"
# What kind of study shows what.
_STUDIES = {"film": "skull-film", "photo": "face-photo", "bone-depth": "head-ct", "skin-depth": "head-ct"}
_SIDES: tuple[Side, Side] = ("skull", "face")


@dataclass(frozen=True, slots=True)
class AlbumPlan:
    """Persons 1 to ``patients`` of ``seed`` with ``visits`` each, and ``distractors`` with the face of one visit."""

    seed: int
    patients: int
    visits: int
    skulls: tuple[str, ...]
    faces: tuple[str, ...]
    size: int
    nuisance: str = "default"
    distractors: int = 0

    @property
    def name(self) -> str:
        """A folder's name, which another plan does not have."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"pictures-{digest[:12]}"

    def wanted(self, side: Side) -> tuple[str, ...]:
        return self.skulls if side == "skull" else self.faces

    def tasks(self) -> Iterator[Task]:
        """The studies that are to be made, person by person, distractors last."""
        everything = sorted({_STUDIES[kind_and_view(one)[0]] for one in (*self.skulls, *self.faces)})
        faces = sorted({_STUDIES[kind_and_view(one)[0]] for one in self.faces})
        for number in range(1, self.patients + self.distractors + 1):
            known = number <= self.patients
            for visit in range(self.visits if known else 1):
                for study in everything if known else faces:
                    yield Task(number, visit, study)


@dataclass(frozen=True, slots=True)
class Task:
    """One study of a visit."""

    person: int
    visit: int
    study: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture: whose, of which visit, on which side, what it is (``film/PA``) and where it lies.

    ``refused`` names why there is none.
    """

    person: int
    visit: int
    side: Side
    kind: str
    file: str = ""
    refused: str = ""


class Album:
    """All pictures of a plan. ``shown`` are those that could be made, ``refused`` the others."""

    def __init__(self, folder: Path, entries: Iterable[Shown]) -> None:
        self._folder = folder
        found = list(entries)
        self.shown = [one for one in found if not one.refused]
        self.refused = [one for one in found if one.refused]

    def of(self, side: Side, persons: Iterable[int]) -> list[Shown]:
        """The pictures of some persons, in the order of the plan."""
        chosen = set(persons)
        return [one for one in self.shown if one.side == side and one.person in chosen]

    def without_repeats(self) -> Album:
        """The first picture alone of each kind and visit: several photographs of a day make no larger gallery."""
        first: dict[tuple[int, int, Side, str], Shown] = {}
        for one in self.shown:
            first.setdefault((one.person, one.visit, one.side, one.kind), one)
        return Album(self._folder, first.values())

    def pixels(self, one: Shown) -> Picture:
        """uint8 (3, size, size)."""
        stored = np.load(self._folder / one.file, allow_pickle=False)
        return np.array(np.broadcast_to(stored, (3, *stored.shape[1:])))


def faces_of(shown: Sequence[Shown], vectors: FloatArray) -> Faces:
    """Pictures with their embeddings, as searches take them."""
    persons, visits = (np.array([getattr(one, name) for one in shown], np.int64) for name in ("person", "visit"))
    return Faces(persons, visits, vectors)


def make_album(folder: Path, plan: AlbumPlan, processes: int, tell: Tell, stage: str = "pictures") -> Album:
    """The album in ``folder``, made by whichever process comes first; ``tell`` hears of (stage, studies done, of all).

    Raises
    ------
    DiskFullError, StorageError
        when a file cannot be written; the pictures that are there stay, and the next call goes on behind them.
    """
    tasks = list(plan.tasks())
    with exclusive(folder), writing():
        done = _journal(folder / _JOURNAL)
        entries = [one for pictures in done for one in pictures]
        tell(stage, len(done), len(tasks))
        for number, pictures in enumerate(_developed(folder, plan, tasks[len(done) :], processes), len(done) + 1):
            entries += pictures
            tell(stage, number, len(tasks))
    return Album(folder, entries)


def _developed(folder: Path, plan: AlbumPlan, tasks: Sequence[Task], processes: int) -> Iterator[list[Shown]]:
    """The pictures of each task, noted in the journal once they are there."""
    develop = partial(_develop, folder, plan)
    results = map(develop, tasks) if processes <= 1 else in_order(develop, tasks, processes)
    with (folder / _JOURNAL).open("a", encoding="utf-8") as file:
        for pictures in results:
            file.write(json.dumps([asdict(one) for one in pictures]) + "\n")
            file.flush()
            yield pictures


def _journal(path: Path) -> list[list[Shown]]:
    """What is there, and the journal without the line that was cut off."""
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < len(lines):
        path.write_bytes(b"".join(whole))
    return [[Shown(**one) for one in json.loads(line)] for line in whole]


def _develop(folder: Path, plan: AlbumPlan, task: Task) -> list[Shown]:
    """Makes one study, draws what is wanted of it and stores that."""
    from training.recipes.phantoms import load_files

    dials = dials_of(plan.nuisance)
    with tempfile.TemporaryDirectory(prefix="medreid-skulls-") as name:
        out = Path(name)
        rows = make_study(out, StudyPlan(plan.seed, task.person, task.visit, task.study, dials))
        images: list[LoadedSeries] = []
        views: list[str] = []
        for row in rows:
            path = out / row.path
            loaded = load_files(sorted(path.iterdir()) if path.is_dir() else [path])
            images += loaded[:1]
            views += [row.view] * len(loaded[:1])
    known = task.person <= plan.patients
    return [
        _stored(folder, plan, task, side, (kind_and_view(kind)[0], view), number, image)
        for side in (_SIDES if known else _SIDES[1:])
        for kind in plan.wanted(side)
        for number, (image, view) in enumerate(zip(images, views, strict=True), start=1)
        if _is_of(kind, task.study, view)
    ]


def _is_of(kind: str, study: str, view: str) -> bool:
    name, wanted = kind_and_view(kind)
    return _STUDIES[name] == study and wanted in ("", view)


def _stored(
    folder: Path, plan: AlbumPlan, task: Task, side: Side, shows: tuple[str, str], number: int, image: LoadedSeries
) -> Shown:
    kind, name = shows[0], "/".join(filter(None, shows))
    shown: dict[str, Any] = {"person": task.person, "visit": task.visit, "side": side, "kind": name}
    try:
        drawn = picture(image, side, plan.size, (kind,))
    except ImagingError as error:
        return Shown(**shown, refused=error.reason)
    # A visit may have several photographs of one view.
    place = f"{task.person:05d}/{task.visit}-{name.replace('/', '-')}-{number}.npy"
    with whole_file(folder / place) as file:
        # Three channels only where they differ.
        np.save(file, drawn if kind == "photo" else drawn[:1])
    return Shown(**shown, file=place)
