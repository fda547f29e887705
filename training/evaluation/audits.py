"""Audits of a test set: what would make its figures mean something else than recognition of people.

Each ends in a :class:`Audit` that passed or failed, with numbers and examples; nothing is repaired in silence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.enrolling import Enrolled
from training.manifests.schema import Role, Row

SHARED_STUDY, DEVICE, DUPLICATES, SPLITS = "shared-study", "device", "near-duplicates", "splits"
NAMES = (SHARED_STUDY, DEVICE, DUPLICATES, SPLITS)
EXAMPLES = 20
# Correlation of fine structure, and of 32x32 pictures, from which two images are one image.
_SAME_DETAIL, _SAME_PICTURE = 0.97, 0.99
# What a random projection may take from a correlation before the pair is looked at in full.
_NOMINATED = 0.85
_PROJECTED = 192
_BLOCK = 4096
# How much more often than by chance the studies of one person may come from one machine.
_DEVICE_LIFT, _DEVICE_P = 1.5, 0.01
_PERMUTATIONS = 400
# What may betray a machine: a column of the manifest, and what headers say of it.
_TRACES = {
    "device": ("StationName",),
    "site": ("InstitutionName",),
    "make": ("Manufacturer", "ManufacturerModelName"),
}
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Audit:
    """``statement`` says in one sentence what was found; ``examples`` are pairs of paths of the manifest."""

    name: str
    passed: bool
    statement: str
    value: float | None = None
    expected: float | None = None
    examples: tuple[tuple[str, str], ...] = ()


def audits(enrolled: Enrolled, tell: Tell, seed: int = 0) -> list[Audit]:
    """All audits of a test set."""
    return [
        shared_study(enrolled),
        device(enrolled, seed),
        near_duplicates(enrolled, tell, seed),
        splits(enrolled.rows),
    ]


def shared_study(enrolled: Enrolled) -> Audit:
    """Whether probe and gallery share a study: by the manifest's roles, or by the DICOM Study Instance UID."""
    found: list[tuple[str, str]] = []
    roles: defaultdict[tuple[str, ...], dict[Role, str]] = defaultdict(dict)
    studies: dict[str, tuple[tuple[str, ...], str]] = {}
    for row, uid in zip(enrolled.rows, enrolled.study_uids, strict=True):
        key = (row.issuer, row.patient_id, row.study)
        roles[key].setdefault(row.role, row.path)
        if uid:
            other, path = studies.setdefault(uid, (key, row.path))
            if other != key:
                found.append((path, row.path))
    both_sides = (by_role for by_role in roles.values() if Role.PROBE in by_role and Role.GALLERY in by_role)
    found += [(by_role[Role.PROBE], by_role[Role.GALLERY]) for by_role in both_sides]
    if not found:
        return Audit(SHARED_STUDY, True, "No study is in probe and gallery at once.", 0.0, 0.0)
    statement = (
        f"{len(found)} times one study stands on both sides: as probe and as gallery, or under two names although its "
        "Study Instance UID is the same. Views of one examination are no test of recognition; mend the column study."
    )
    return Audit(SHARED_STUDY, False, statement, float(len(found)), 0.0, tuple(found[:EXAMPLES]))


def device(enrolled: Enrolled, seed: int = 0) -> Audit:
    """Whether the machine alone tells the patient: studies of one person share a machine more often than by chance.

    Asked of the device, of the site, and of the make that headers name. ``value`` and ``expected`` are the share of
    pairs of one person's studies that were made on one machine, and that share when machines are dealt to studies at
    random.
    """
    found = [audit for what in _TRACES if (audit := _device(enrolled, what, seed)) is not None]
    if not found:
        return Audit(DEVICE, True, "One machine, or nobody with two studies of known machine: nothing to tell.")
    return min(found, key=lambda audit: audit.passed)


def _device(enrolled: Enrolled, what: str, seed: int) -> Audit | None:
    machines, persons = _machines(enrolled, what)
    pairs = _same_person_pairs(persons)
    if len(np.unique(machines)) < 2 or not len(pairs):
        return None
    observed = float((machines[pairs[:, 0]] == machines[pairs[:, 1]]).mean())
    rng = np.random.default_rng(seed)
    dealt = np.empty(_PERMUTATIONS)
    for number in range(_PERMUTATIONS):
        shuffled = rng.permutation(machines)
        dealt[number] = (shuffled[pairs[:, 0]] == shuffled[pairs[:, 1]]).mean()
    expected = float(dealt.mean())
    p = float((1 + (dealt >= observed).sum()) / (1 + _PERMUTATIONS))
    passed = not (observed > _DEVICE_LIFT * expected and p <= _DEVICE_P)
    statement = (
        f"Of {len(pairs)} pairs of studies of one person, {observed:.0%} share their {what}; by chance it would be "
        f"{expected:.0%} ({len(persons)} studies, {len(np.unique(machines))} of a kind, p = {p:.3f})."
    )
    if not passed:
        statement += f" The {what} is a shortcut to the person: only figures against impostors of one {what} count."
    return Audit(DEVICE, passed, statement, observed, expected)


def near_duplicates(enrolled: Enrolled, tell: Tell, seed: int = 0) -> Audit:
    """Whether one picture is there twice, under two patients or in two studies."""
    rows = enrolled.rows
    owner = [(row.issuer, row.patient_id, row.study) for row in rows]
    found = [(i, j) for i, j in _alike(enrolled, tell, seed) if owner[i] != owner[j]]
    strangers = sum(owner[i][:2] != owner[j][:2] for i, j in found)
    if not found:
        return Audit(DUPLICATES, True, "No picture is there twice under two patients or in two studies.", 0.0, 0.0)
    examples = tuple((rows[i].path, rows[j].path) for i, j in found[:EXAMPLES])
    statement = (
        f"{len(found)} pairs of pictures are (nearly) the same, {strangers} of them under two patients: copies, or "
        "wrong labels. They count as recognition, or as false matches, and are neither."
    )
    return Audit(DUPLICATES, False, statement, float(len(found)), 0.0, examples)


def splits(rows: Sequence[Row]) -> Audit:
    """Whether a patient stands in two splits."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    found: list[tuple[str, str]] = []
    for row in rows:
        if row.split:
            split, path = seen.setdefault((row.issuer, row.patient_id), (row.split, row.path))
            if split != row.split:
                found.append((path, row.path))
    if not found:
        return Audit(SPLITS, True, "No patient is in two splits.", 0.0, 0.0)
    statement = f"{len(found)} images belong to patients that another split has as well: split by patient."
    return Audit(SPLITS, False, statement, float(len(found)), 0.0, tuple(found[:EXAMPLES]))


def _machines(enrolled: Enrolled, what: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Machine and person of every study whose machine is known; of one study's images the first speaks."""
    machines: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row, words in zip(enrolled.rows, enrolled.words, strict=True):
        said = dict(words)
        machine = (getattr(row, what, ""), *(said.get(word, "") for word in _TRACES[what]))
        if any(machine):
            machines.setdefault((row.issuer, row.patient_id, row.study), (*machine, row.modality))
    persons = [key[:2] for key in machines]
    place = {person: number for number, person in enumerate(sorted(set(persons)))}
    kinds = {machine: number for number, machine in enumerate(sorted(set(machines.values())))}
    return (
        np.array([kinds[machine] for machine in machines.values()], np.int64),
        np.array([place[person] for person in persons], np.int64),
    )


def _same_person_pairs(persons: NDArray[np.int64], most: int = 500_000) -> NDArray[np.int64]:
    order = np.argsort(persons, kind="stable")
    pairs: list[tuple[int, int]] = []
    for group in np.split(order, np.flatnonzero(np.diff(persons[order])) + 1):
        pairs += [(int(a), int(b)) for n, a in enumerate(group[:50]) for b in group[n + 1 : 50]]
        if len(pairs) >= most:
            break
    return np.array(pairs, np.int64).reshape(-1, 2)


def _alike(enrolled: Enrolled, tell: Tell, seed: int) -> Iterator[tuple[int, int]]:
    """Pairs of images that are one: nominated by a random projection (Johnson and Lindenstrauss), then compared."""
    usable = np.flatnonzero(~enrolled.failed)
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((enrolled.details.shape[1], _PROJECTED), dtype=np.float32)
    short = np.concatenate(
        [
            enrolled.details[part].astype(np.float32) @ direction
            for part in np.array_split(usable, len(usable) // _BLOCK + 1)
        ]
    )
    short /= np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-9)
    steps = range(0, len(usable), _BLOCK)
    for number, first in enumerate(steps):
        for second in range(first, len(usable), _BLOCK):
            close = short[first : first + _BLOCK] @ short[second : second + _BLOCK].T > _NOMINATED
            for a, b in np.argwhere(close).tolist():
                i, j = int(usable[first + a]), int(usable[second + b])
                if i < j and _is_one(enrolled, i, j):
                    yield i, j
        tell("near duplicates", number + 1, len(steps))


def _is_one(enrolled: Enrolled, i: int, j: int) -> bool:
    detail = float(enrolled.details[i].astype(np.float32) @ enrolled.details[j].astype(np.float32))
    return detail > _SAME_DETAIL and float(enrolled.pixels[i] @ enrolled.pixels[j]) > _SAME_PICTURE
