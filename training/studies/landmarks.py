"""How far off landmarks are that a network finds in heads, in millimetres, on phantoms that no training saw.

``python -m training.studies.landmarks --bundle FOLDER/face-landmarks --persons 60`` scans persons of its own in CT and
MR under the dials of training and under those it never saw, as they lay, and turned to anywhere, as a wrong header can
say that they did. Beside the network stand the floor, landmarks at their mean place in the box of the body, and for the
tip of the nose the outline of the head (:func:`inference.imaging.skin.find_nose`), which serves without a network.

Errors count landmarks that are in the field of view, found or not: nothing is left out because it was hard. "Believed"
is the share of scans in which a frame of the head came of them (:func:`inference.imaging.head_frame.head_frame`) of
those that show all landmarks, and "wrongly" that of those that lack one. Intervals are of 95 % over persons.

``--heads FOLDER`` looks at a DICOM series of anybody's head besides, as it lies and turned. Nobody knows the truth
there: its rows say how far the network's tip of the nose and direction of the face are from those of the outline.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError, ImagingError
from inference.imaging.grid import FieldOfView
from inference.imaging.head_frame import LANDMARKS, Finder, Landmarks, form_of, head_frame, load_finder, shipped_finder
from inference.imaging.headers import read_header
from inference.imaging.options import LoadOptions
from inference.imaging.pose import angle_between, head_pose
from inference.imaging.series import load_series
from inference.imaging.skin import Skin, find_nose, find_skin
from inference.types import LoadedSeries, SeriesHeader
from inference.whole_file import whole_file
from training.cohort.head_ct import head_ct
from training.cohort.head_mr import head_mr
from training.cohort.nuisance import dials_of
from training.cohort.person import person
from training.cohort.visit import Dials, visit
from training.evaluation.bootstrap import COVERAGE, draw_weights
from training.evaluation.figures import Figure, to_json
from training.faces.scans import loaded
from training.faces.truth import Kind, face_truth
from training.learning.catalogue import Tell
from training.learning.seeds import stream

# No other use of phantoms draws persons from this seed.
LANDMARK_STUDY_SEED = 7812
KINDS: tuple[Kind, ...] = ("head-ct", "head-mr")
SETS, LAIN, TURNED = ("default", "unseen"), "as it lay", "turned"
NETWORK, OUTLINE, FLOOR = "network", "outline", "mean place"
_TIP = LANDMARKS.index("nose tip")

Errors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Look:
    """One scan in one position.

    errors
        by method (5,) millimetres; NaN for a landmark that is out of view, or that the method does not know.
    relative
        (5, 3) true landmarks from the middle of the body's box, NaN where out of view: what the floor is made of.
    """

    person: int
    errors: dict[str, Errors]
    relative: NDArray[np.float64]
    whole: bool
    believed: bool


@dataclass(frozen=True, slots=True)
class Group:
    """What the scans of one kind, set of dials and position came to; ``error`` by method and landmark."""

    scans: int
    persons: int
    error: dict[str, dict[str, Figure]]
    believed: Figure
    wrongly: Figure


def looks(
    finder: Finder, kind: Kind, dials: Dials, persons: int, seed: int, turned: bool, tell: Callable[[int], None]
) -> Iterator[Look]:
    """Every person scanned once; a scan without a body is left out, and there is none."""
    from scipy.spatial.transform import Rotation

    for number in range(1, persons + 1):
        who = person(seed, number)
        when = visit(who, 0, dials)
        volume = loaded(*head_ct(who, when), "CT") if kind == "head-ct" else loaded(*head_mr(who, when), "MR")
        truth = face_truth(who, when, kind)
        points = truth.points
        if turned:
            turn = Rotation.random(rng=stream(seed, "turned", number)).as_matrix()
            volume, points = _lying(volume, turn), points @ turn.T
        present = FieldOfView.of(volume).margin(points) > 0
        try:
            skin = find_skin(volume)
        except ImagingError:
            continue
        yield _look(finder, number, skin, FieldOfView.of(volume), np.where(present[:, None], points, np.nan))
        tell(1)


def _lying(volume: LoadedSeries, turn: NDArray[np.float64]) -> LoadedSeries:
    """The volume as if its header said that the patient lay turned."""
    assert volume.affine is not None
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return replace(volume, affine=matrix @ volume.affine)


def _look(finder: Finder, number: int, skin: Skin, field: FieldOfView, points: NDArray[np.float64]) -> Look:
    found: Landmarks = finder.find(skin)
    errors = {NETWORK: np.linalg.norm(found.points - points, axis=1), OUTLINE: np.full(len(points), np.nan)}
    try:
        tip = head_pose(skin, field, find_nose(skin, field)).tip
        errors[OUTLINE][_TIP] = np.linalg.norm(tip - points[_TIP])
    except ImagingError:
        pass  # the outline refuses what it cannot find: it has no error there, and its row says on how many it has one
    low, high = form_of(skin).bounds
    whole = bool(np.isfinite(points).all())
    return Look(number, errors, points - (low + high) / 2, whole, head_frame(found) is not None)


def summed(found: Sequence[Look], rounds: int, seed: int) -> Group:
    """Figures with intervals over persons.

    Raises
    ------
    CommandError
        when nothing was found to look at.
    """
    if not found:
        raise CommandError("no scan has a body: more persons are needed")
    relative = np.stack([one.relative for one in found])
    methods = {name: np.stack([one.errors[name] for one in found]) for name in (NETWORK, OUTLINE)}
    methods[FLOOR] = np.linalg.norm(relative - _mean_of_others(relative), axis=2)
    persons = np.array([one.person for one in found])
    error = {
        method: {name: _figure(values[:, n], persons, rounds, seed) for n, name in enumerate(LANDMARKS)}
        for method, values in methods.items()
    }
    whole, believed = (np.array([getattr(one, name) for one in found], float) for name in ("whole", "believed"))
    seen, lacking = (np.where(which, believed, np.nan) for which in (whole > 0, whole == 0))
    shares = (_figure(values, persons, rounds, seed) for values in (seen, lacking))
    return Group(len(found), len(set(persons.tolist())), error, *shares)


def _mean_of_others(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 5, 3): the mean of all but each one; nobody's own place tells where it is."""
    known = np.isfinite(relative)
    total, count = np.where(known, relative, 0.0).sum(axis=0), known.sum(axis=0)
    others = total - np.where(known, relative, 0.0)
    left = count - known
    return np.where(left > 0, others / np.maximum(left, 1), np.nan)


def _figure(values: Errors, persons: NDArray[np.int_], rounds: int, seed: int) -> Figure:
    """The mean of what is known, with its interval."""
    known = np.isfinite(values)
    people = len(set(persons[known].tolist()))
    if not known.any():
        return Figure(None, note="on no scan")
    mean = float(values[known].mean())
    if people < 2 or not rounds:
        return Figure(mean, n=int(known.sum()), patients=people, note="no interval: too few persons, or no rounds")
    weighed = draw_weights(persons[known], rounds, seed)
    drawn = [weights @ values[known] / weights.sum(axis=1) for weights in weighed]
    low, high = np.quantile(np.concatenate(drawn), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Figure(mean, float(low), float(high), int(known.sum()), people)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Network and outline on one head: the least confidence; millimetres between tips, degrees between frames.

    The outline is that of the head as it lies, turned with it; None where one of the two found no face.
    """

    name: str
    confidence: float
    tips: float | None
    frames: float | None


def agreement(finder: Finder, volume: LoadedSeries, name: str, turn: NDArray[np.float64]) -> Agreement:
    """Looks at a head that its header says to be turned.

    Raises
    ------
    ImagingError
        when there is no body in the volume.
    """
    found = finder.find(find_skin(_lying(volume, turn)))
    frame, confidence = head_frame(found), float(found.confidence.min())
    try:
        skin, field = find_skin(volume), FieldOfView.of(volume)
        outline = head_pose(skin, field, find_nose(skin, field))
    except ImagingError:
        return Agreement(name, confidence, None, None)
    if frame is None:
        return Agreement(name, confidence, None, None)
    tips = float(np.linalg.norm(frame.pose.tip - turn @ outline.tip))
    return Agreement(name, confidence, tips, angle_between(frame.pose.axes, outline.axes @ turn.T))


def heads_in(folder: Path) -> list[LoadedSeries]:
    """The volumes of a DICOM series in a folder; a gap between slices is filled."""
    headers = tuple(read_header(path) for path in sorted(folder.iterdir()) if path.is_file())
    if not headers:
        raise CommandError(f"{folder} holds no files")
    series = SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)
    found = load_series(series, LoadOptions(allow=frozenset({"SLICE_INCREMENT_INCONSISTENT"}))).images
    return [image for image in found if image.kind == "volume"]


def agreements(finder: Finder, folders: Sequence[Path]) -> list[Agreement]:
    """Every volume as it lies, upside down, and on its face."""
    from scipy.spatial.transform import Rotation

    turns = {LAIN: (0.0, 0.0, 0.0), "upside down": (0.0, 180.0, 0.0), "on its face": (180.0, 0.0, 0.0)}
    return [
        agreement(finder, volume, f"{folder.name}, {name}", Rotation.from_euler("xyz", way, degrees=True).as_matrix())
        for folder in folders
        for volume in heads_in(folder)
        for name, way in turns.items()
    ]


def study(finder: Finder, persons: int, seed: int, rounds: int, tell: Tell) -> dict[str, Group]:
    """Every kind, set of dials and position."""
    found = {}
    for kind in KINDS:
        for nuisance in SETS:
            for position in (LAIN, TURNED):
                name = f"{kind}, {nuisance}, {position}"
                done = 0

                def counted(steps: int, name: str = name) -> None:
                    nonlocal done
                    done += steps
                    tell(name, done, persons)

                seen = looks(finder, kind, dials_of(nuisance), persons, seed, position == TURNED, counted)
                found[name] = summed(list(seen), rounds, seed)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one table: mean errors in millimetres with intervals; ``--json`` keeps the figures."""
    from rich.console import Console
    from rich.table import Table

    from training.studies.stages import stages

    parser = argparse.ArgumentParser(prog="python -m training.studies.landmarks", description=main.__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle face-landmarks; the shipped one without")
    parser.add_argument("--persons", type=int, default=60)
    parser.add_argument(
        "--seed", type=int, default=LANDMARK_STUDY_SEED, help="of the persons; no other use may share it"
    )
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--heads", type=Path, action="append", default=[], help="folder of a DICOM series of a head")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    finder = shipped_finder() if chosen.bundle is None else load_finder(chosen.bundle)
    if finder is None:
        raise CommandError("no bundle face-landmarks ships with this release: name one with --bundle")
    with stages() as tell:
        found = study(finder, chosen.persons, chosen.seed, chosen.rounds, tell)
    heads = agreements(finder, chosen.heads)
    table = Table("scans", "method", *(f"{name}, mm" for name in LANDMARKS), "believed", "wrongly")
    for name, group in found.items():
        for method, figures in group.error.items():
            shares = (told(group.believed), told(group.wrongly)) if method == NETWORK else ("", "")
            table.add_row(f"{name}\n{group.persons} persons", method, *(told(one) for one in figures.values()), *shares)
    table.caption = "mean distance from the truth; intervals of 95 % over persons; n where a method knows not all"
    Console(width=170).print(table)
    if heads:
        beside = Table("head", "least confidence", "tips, mm apart", "frames, degrees apart")
        for one in heads:
            apart = ("no face" if value is None else f"{value:.1f}" for value in (one.tips, one.frames))
            beside.add_row(one.name, f"{one.confidence:.2f}", *apart)
        Console(width=170).print(beside)
    if chosen.json is not None:
        with whole_file(chosen.json) as file:
            file.write((json.dumps(to_json({"phantoms": found, "heads": heads}), indent=1) + "\n").encode())


def told(figure: Figure) -> str:
    """A value above its interval and the number of scans it is of."""
    if figure.value is None:
        return ""
    interval = "" if figure.low is None or figure.high is None else f"[{figure.low:.2f}, {figure.high:.2f}]\n"
    return f"{figure.value:.2f}\n{interval}n {figure.n}"


if __name__ == "__main__":
    main()
