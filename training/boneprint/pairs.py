"""Pictures of persons in one memory-mapped file: made once, and from where the making was cut off.

A person has one record of a fixed size: the planes of a radiograph (one, grey) and, but for distractors, those of a
rendering (three, RGB). ``pictures.u8`` holds the records one after another; a line of ``persons.jsonl`` says whose they
are, and is written when they are on the disk, so that a store that was cut off anywhere is one with fewer persons.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from config.errors import DiskFullError, StorageError, TrainingError
from inference.networks.boneprint_sides import SIDES, Side
from training.learning.locks import exclusive
from training.processes import in_order

Pictures = NDArray[np.uint8]
PLANES: dict[Side, int] = {"radiograph": 1, "rendering": 3}
_RECORDS, _PERSONS = "pictures.u8", "persons.jsonl"
_BATCH = 16
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Someone:
    """Whose a record is: ``person`` is unique, ``sex`` and ``age`` (years at the radiograph) may be unknown.

    ``refused`` is empty, or why there is no pair of this person; then the record is black.
    """

    person: str
    sex: str = ""
    age: float | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A person's pictures uint8 (planes, S, S), as :func:`inference.encoders.inputs.prepare` makes them."""

    who: Someone
    pictures: Pictures


class Job(Protocol):
    """How to make one person's pictures. It crosses to other processes."""

    @property
    def key(self) -> str:
        """Changes when the pictures would."""
        ...

    def make(self) -> Made:
        """The pictures; what cannot be used is a refusal, no exception."""
        ...


class PairStore:
    """The persons in a folder, numbered from 0 in the order of the jobs; ``sides`` is what is stored of each."""

    def __init__(self, folder: Path, size: int, sides: Sequence[Side] = SIDES) -> None:
        self.size, self.sides = size, tuple(sides)
        self.planes = sum(PLANES[side] for side in self.sides)
        self.people: list[Someone] = []
        self.digest = ""
        self._folder = folder
        self._map: Pictures | None = None

    def fill(self, jobs: Sequence[Job], processes: int, tell: Callable[[int, int], None]) -> None:
        """Makes what is missing of ``jobs``; whoever made more before has more persons, of whom the first are used.

        ``tell`` is called with (done, of how many).

        Raises
        ------
        TrainingError
            ``DATA_CHANGED`` when the folder holds the pictures of other jobs.
        DiskFullError, StorageError
            when the folder cannot be written; what it holds stays.
        """
        keys = [job.key for job in jobs]
        with exclusive(self._folder):
            try:
                known = self._read()
                if [key for key, _ in known[: len(keys)]] != keys[: len(known)]:
                    raise TrainingError(
                        f"{self._folder} holds other persons or other pictures of them: choose another folder",
                        reason="DATA_CHANGED",
                    )
                people = [who for _, who in known[: len(keys)]]
                self._make(jobs, people, processes, tell)
            except OSError as error:
                kind = DiskFullError if error.errno in _FULL else StorageError
                raise kind(f"{self._folder} cannot be written: {error.strerror}") from None
        self.people, self._map = people, None
        self.digest = hashlib.sha256("\n".join((*self.sides, *keys)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.people)

    @property
    def name(self) -> str:
        """The folder's: whoever names it names what is in it."""
        return self._folder.name

    @property
    def usable(self) -> NDArray[np.int64]:
        """Numbers of the persons who were not refused."""
        return np.array([place for place, who in enumerate(self.people) if not who.refused], np.int64)

    def pictures(self, person: int, side: Side) -> Pictures:
        """uint8 (3, S, S) RGB of a person's one side; a radiograph's grey is repeated.

        Raises
        ------
        ValueError
            when nothing of that side is stored.
        """
        if side not in self.sides:
            raise ValueError(f"a store of {' and '.join(self.sides)} holds no {side}s")
        if self._map is None:
            found = np.memmap(self._folder / _RECORDS, np.uint8, "r")
            self._map = found[: self._bytes * len(self)].reshape(len(self), self.planes, self.size, self.size)
        first = sum(PLANES[one] for one in self.sides[: self.sides.index(side)])
        return np.broadcast_to(
            self._map[person, first : first + PLANES[side]], (PLANES["rendering"], self.size, self.size)
        )

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be copied into the other process; it maps the file itself.
        return self.__dict__ | {"_map": None}

    @property
    def _bytes(self) -> int:
        return self.planes * self.size**2

    def _read(self) -> list[tuple[str, Someone]]:
        """What the journal says up to the first line that a crash left unfinished, which is cut off."""
        journal, records = self._folder / _PERSONS, self._folder / _RECORDS
        if not journal.is_file() or not records.is_file():
            return []
        found: list[tuple[str, Someone]] = []
        stored, good = records.stat().st_size // self._bytes, 0
        with journal.open("rb") as file:
            for line in file:
                one = _entry(line)
                if one is None or len(found) >= stored:
                    break
                found.append(one)
                good += len(line)
        os.truncate(journal, good)
        return found

    def _make(
        self, jobs: Sequence[Job], people: list[Someone], processes: int, tell: Callable[[int, int], None]
    ) -> None:
        """Appends the pictures of ``jobs[len(people):]``, and their persons to ``people``."""
        rest = jobs[len(people) :]
        if not rest:
            return
        start = len(people)
        with (self._folder / _RECORDS).open("ab") as records, (self._folder / _PERSONS).open("ab") as journal:
            records.truncate(self._bytes * start)
            waiting: list[bytes] = []
            results = in_order(_made, rest, processes) if processes > 1 else map(_made, rest)
            for job, made in zip(rest, results, strict=True):
                records.write(self._checked(made).tobytes())
                waiting.append(json.dumps({"key": job.key} | asdict(made.who)).encode() + b"\n")
                people.append(made.who)
                tell(len(people), len(jobs))
                if len(waiting) >= _BATCH or len(people) == len(jobs):
                    for file, content in ((records, b""), (journal, b"".join(waiting))):
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    waiting.clear()

    def _checked(self, made: Made) -> Pictures:
        if made.who.refused:
            return np.zeros((self.planes, self.size, self.size), np.uint8)
        if made.pictures.shape != (self.planes, self.size, self.size) or made.pictures.dtype != np.uint8:
            raise ValueError(f"pictures of {made.pictures.shape} do not fit a store of {self.planes} planes")
        return made.pictures


def _made(job: Job) -> Made:
    return job.make()


def _entry(line: bytes) -> tuple[str, Someone] | None:
    try:
        values = json.loads(line) if line.endswith(b"\n") else None
        return None if values is None else (str(values.pop("key")), Someone(**values))
    except (ValueError, TypeError, KeyError):
        return None
