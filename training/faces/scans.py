"""Phantom heads for finding landmarks: coarse CT and MR in the form that they share, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError, StorageError
from inference.imaging.grid import FieldOfView
from inference.imaging.head_frame import LANDMARKS, Form, form_of
from inference.imaging.skin import find_skin
from inference.types import LoadedSeries
from inference.whole_file import whole_file
from training.cohort.chest_ct import chest_ct
from training.cohort.dials.chest_ct import ChestCtDials
from training.cohort.head_ct import head_ct
from training.cohort.head_mr import head_mr
from training.cohort.nuisance import dials_of
from training.cohort.person import person
from training.cohort.visit import Dials, Visit, visit
from training.faces.truth import Kind, face_truth
from training.learning.catalogue import Tell
from training.learning.seeds import stream

# Persons of these numbers have a chest CT beside: a scan without any landmark.
_CHEST_EVERY = 8


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan in its form, and where its landmarks are.

    points
        (5, 3) LPS millimetres in the order of :data:`~inference.imaging.head_frame.LANDMARKS`.
    present
        bool (5,): in the field of view.
    axes
        (3, 3) rows: the head's right, up and forwards in LPS.
    """

    person: int
    kind: str
    form: Form
    points: NDArray[np.float64]
    present: NDArray[np.bool_]
    axes: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which scans: CT and MR of ``persons`` phantoms of a seed, and a chest of every eighth."""

    persons: int
    seed: int

    def scans(self) -> list[tuple[int, Literal["head-ct", "head-mr", "chest-ct"]]]:
        found: list[tuple[int, Literal["head-ct", "head-mr", "chest-ct"]]] = []
        for number in range(1, self.persons + 1):
            found += [(number, "head-ct"), (number, "head-mr")]
            if number % _CHEST_EVERY == 0:
                found.append((number, "chest-ct"))
        return found


def scans_in(folder: Path, plan: Plan, tell: Tell) -> list[Scan]:
    """The scans of a plan, from ``folder`` where they are there, made and kept where they are not.

    A scan in which no body is found is left out.

    Raises
    ------
    StorageError
        when one cannot be written; those that are there stay.
    """
    found, wanted = [], plan.scans()
    for done, (number, kind) in enumerate(wanted, start=1):
        path = folder / f"{plan.seed}-{number:05d}-{kind}.npz"
        scan = _read(path, number, kind) if path.is_file() else _kept(path, plan.seed, number, kind)
        if scan is not None:
            found.append(scan)
        tell("phantoms", done, len(wanted))
    return found


def coarse_dials(nuisance: str = "default") -> Dials:
    """Dials of scans that are coarse and quick, and lie and are dressed in more ways than usual."""
    found = dials_of(nuisance)
    ct, mr = found.head_ct, found.head_mr
    return replace(
        found,
        head_ct=replace(
            ct, matrix=(88, 104), spacing=(2.2, 3.2), brow=0.0, short=0.0, gap=0.0, gantry=0.0,
            prone=max(ct.prone, 0.1), bandage=max(ct.bandage, 0.05), arch_bar=max(ct.arch_bar, 0.05),
        ),
        head_mr=replace(mr, spacing=(2.4, 3.0)),
        chest_ct=ChestCtDials(matrix=(88,), spacing=(4.5, 5.5), streaks=0.0),
    )  # fmt: skip


def loaded(pixels: NDArray[Any], affine: NDArray[np.float64], modality: str) -> LoadedSeries:
    """A volume as the loader of DICOM series gives it."""
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return LoadedSeries("1", "1", ("1",), modality, "volume", pixels.astype(np.float32), spacing, affine)


def _kept(path: Path, seed: int, number: int, kind: Literal["head-ct", "head-mr", "chest-ct"]) -> Scan | None:
    try:
        scan = _made(seed, number, kind)
    except ImagingError:
        return None
    try:
        with whole_file(path) as file:
            np.savez_compressed(
                file, planes=scan.form.planes, origin=scan.form.origin, spacing=np.float64(scan.form.spacing),
                points=scan.points, present=scan.present, axes=scan.axes,
            )  # fmt: skip
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be written ({error.strerror}); choose another folder") from None
    return scan


def _read(path: Path, number: int, kind: str) -> Scan:
    with np.load(path) as found:
        form = Form(found["planes"], found["origin"], float(found["spacing"]))
        return Scan(number, kind, form, found["points"], found["present"], found["axes"])


def _made(seed: int, number: int, kind: Literal["head-ct", "head-mr", "chest-ct"]) -> Scan:
    who = person(seed, number)
    when = visit(who, 0, coarse_dials())
    count = len(LANDMARKS)
    if kind == "chest-ct":
        volume = loaded(*chest_ct(who, when), "CT")
        return Scan(number, kind, form_of(find_skin(volume)), np.zeros((count, 3)), np.zeros(count, bool), np.eye(3))
    when = _cut_anywhere(when, np.random.default_rng(stream(seed, "cut", number).integers(2**63)))
    return scan_of(who.seed, number, when, kind)


def scan_of(seed: int, number: int, when: Visit, kind: Kind) -> Scan:
    """The head CT or MR of a visit; raises ImagingError where no body is found in it."""
    who = person(seed, number)
    volume = loaded(*head_ct(who, when), "CT") if kind == "head-ct" else loaded(*head_mr(who, when), "MR")
    truth = face_truth(who, when, kind)
    present = FieldOfView.of(volume).margin(truth.points) > 0
    return Scan(number, kind, form_of(find_skin(volume)), truth.points, present, truth.axes)


def _cut_anywhere(when: Visit, rng: np.random.Generator) -> Visit:
    """The scan of a visit beginning anywhere from the shoulders to the brow."""
    draw, where = rng.random(), rng.random()
    low, high = (-12.0, -4.0) if draw < 0.4 else (-95.0, -12.0) if draw < 0.75 else (5.0, 60.0)
    if draw > 0.93:
        low, high = 60.0, 112.0
    below = low + (high - low) * where
    mr = replace(when.head_mr, below_chin=float(np.clip(-below, -110.0, 60.0)))
    return replace(when, head_ct=replace(when.head_ct, missing_below=below), head_mr=mr)


def split(scans: Sequence[Scan], share: float) -> tuple[list[Scan], list[Scan]]:
    """Those of the first persons, and those of the last ``share`` of them (at least one)."""
    persons = sorted({scan.person for scan in scans})
    last = set(persons[-max(1, round(share * len(persons))) :])
    return [scan for scan in scans if scan.person not in last], [scan for scan in scans if scan.person in last]
