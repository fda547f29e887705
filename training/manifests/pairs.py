"""Which images may be compared with which: the one place where pairs are made.

Two images of one study are never a pair, whatever is asked for: they share positioning, machine and minute, and a
score of theirs says nothing about recognition. :func:`comparable` says so for two rows, :func:`comparable_mask` for
two sets of them, and :func:`training_pairs` draws pairs to learn from.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from inference.encoders.families import canonical_view
from training.manifests.schema import Role, Row

__all__ = ["Keys", "Pair", "Rule", "comparable", "comparable_mask", "keys_of", "mated_mask", "training_pairs"]

PROBES = frozenset({Role.PROBE, Role.BOTH})
GALLERY = frozenset({Role.GALLERY, Role.BOTH, Role.DISTRACTOR})
# A CR and a DX of one chest are one kind of image.
_FAMILIES = {"CR": "DX", "RG": "DX"}
_CHUNK = 4096
# Of a patient with more images than this, so many are taken: their pairs grow with the square.
_MAX_GROUP = 512
# Pairs of strangers are drawn so many at once; that many draws in vain mean that there are none.
_DRAWS, _MAX_MISSES = 1024, 16


@dataclass(frozen=True, slots=True)
class Rule:
    """What pairs must share besides being of different studies.

    Views are the same when they are both frontal or both lateral, or the same word; a view, laterality or modality
    that is not known is the same as none, unless ``unknown_alike``: then two that are both not known are the same, as a
    modality that has no views wants it. ``min_days`` is asked of two images of one patient (the days of two
    patients have no common origin), and a pair of unknown days does not meet it.
    """

    same_view: bool = False
    same_laterality: bool = False
    same_modality: bool = False
    unknown_alike: bool = False
    min_days: int = 0


ANY = Rule()


@dataclass(frozen=True, slots=True)
class Keys:
    """What pairs are decided by, one entry for each row; codes of several manifests can be compared.

    patient, study
        int64 (n,) hashes of (issuer, patient) and (issuer, patient, study).
    view, laterality, modality
        uint32 (n,) hashes, 0 where unknown.
    days
        float64 (n,), NaN where unknown.
    probe, gallery
        bool (n,): whether the row's role lets it be a probe, be enrolled.
    """

    patient: NDArray[np.int64]
    study: NDArray[np.int64]
    view: NDArray[np.uint32]
    laterality: NDArray[np.uint32]
    modality: NDArray[np.uint32]
    days: NDArray[np.float64]
    probe: NDArray[np.bool_]
    gallery: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.patient)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Keys:
        """The entries at these indices, or where the mask is true."""
        return Keys(*(getattr(self, item.name)[chosen] for item in fields(Keys)))

    def column(self) -> Keys:
        """The entries as columns (n, 1), to be broadcast against a row of others."""
        return Keys(*(getattr(self, item.name)[:, None] for item in fields(Keys)))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows by their index in the keys, and whether they are of one patient."""

    first: int
    second: int
    mated: bool


def comparable(probe: Row, gallery: Row, rule: Rule = ANY) -> bool:
    """Whether ``probe`` may be searched against ``gallery``: by role, never within a study, and as the rule wants."""
    same_patient = (probe.issuer, probe.patient_id) == (gallery.issuer, gallery.patient_id)
    if probe.role not in PROBES or gallery.role not in GALLERY or (same_patient and probe.study == gallery.study):
        return False
    if rule.same_view and not _same(canonical_view(probe.view), canonical_view(gallery.view), rule):
        return False
    if rule.same_laterality and not _same(probe.laterality, gallery.laterality, rule):
        return False
    if rule.same_modality and not _same(_family(probe.modality), _family(gallery.modality), rule):
        return False
    if rule.min_days > 0 and same_patient:
        known = probe.days is not None and gallery.days is not None
        return known and abs((probe.days or 0) - (gallery.days or 0)) >= rule.min_days
    return True


def keys_of(rows: Iterable[Row]) -> Keys:
    """Keys of rows in their order; 38 bytes for each."""
    chunks = [_encode([])]
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            chunks.append(_encode(chunk))
            chunk = []
    chunks.append(_encode(chunk))
    return Keys(*(np.concatenate([getattr(part, item.name) for part in chunks]) for item in fields(Keys)))


def comparable_mask(probes: Keys, gallery: Keys, rule: Rule = ANY) -> NDArray[np.bool_]:
    """:func:`comparable` for every probe and every gallery entry: bool (probes, gallery)."""
    column = probes.column()
    return column.probe & gallery.gallery & _allowed(column, gallery, rule)


def mated_mask(probes: Keys, gallery: Keys) -> NDArray[np.bool_]:
    """bool (probes, gallery): whether both are of one patient; a pair to be used is also :func:`comparable`."""
    return np.asarray(probes.patient[:, None] == gallery.patient[None, :])


def training_pairs(
    keys: Keys, seed: int, rule: Rule = ANY, *, negatives: int = 1, per_patient: int = 100
) -> Iterator[Pair]:
    """Pairs to learn from, streamed patient by patient in random order; roles do not matter here.

    Every patient with several studies gives up to ``per_patient`` mated pairs, and each of these is followed by
    ``negatives`` pairs of two patients, drawn from all rows: patients of one image are only in these. The same seed
    draws the same pairs.

    Raises
    ------
    CommandError
        ``NO_PAIRS`` when no patient has two comparable studies, or when there is nobody to tell them from.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(keys.patient, kind="stable")
    starts = np.unique(keys.patient[order], return_index=True)[1]
    ends = np.append(starts[1:], len(order))
    strangers = _nonmated(keys, rule, rng)
    found = False
    for patient in rng.permutation(len(starts)):
        for pair in _mated(keys, order[starts[patient] : ends[patient]], rule, per_patient, rng):
            found = True
            yield pair
            yield from islice(strangers, negatives)
    if not found:
        raise CommandError(
            "no patient has two studies that may be compared; add patients with several studies, or loosen the rule",
            reason="NO_PAIRS",
        )


def _mated(keys: Keys, rows: NDArray[np.int64], rule: Rule, most: int, rng: np.random.Generator) -> Iterator[Pair]:
    if len(rows) > _MAX_GROUP:
        rows = rng.choice(rows, _MAX_GROUP, replace=False)
    group = keys.take(rows)
    firsts, seconds = np.nonzero(np.triu(_allowed(group.column(), group, rule), 1))
    for index in rng.permutation(len(firsts))[:most]:
        yield Pair(int(rows[firsts[index]]), int(rows[seconds[index]]), True)


def _nonmated(keys: Keys, rule: Rule, rng: np.random.Generator) -> Iterator[Pair]:
    misses = 0
    while misses < _MAX_MISSES:
        firsts, seconds = rng.integers(len(keys), size=(2, _DRAWS))
        first, second = keys.take(firsts), keys.take(seconds)
        good = np.flatnonzero(_allowed(first, second, rule) & (first.patient != second.patient))
        misses = misses + 1 if len(good) == 0 else 0
        for index in good:
            yield Pair(int(firsts[index]), int(seconds[index]), False)
    raise CommandError(
        f"no two patients that may be compared were found in {_MAX_MISSES * _DRAWS} draws; add patients, or loosen "
        "the rule",
        reason="NO_PAIRS",
    )


def _allowed(first: Keys, second: Keys, rule: Rule) -> NDArray[np.bool_]:
    """What does not depend on roles, for keys of shapes that broadcast."""
    mask: NDArray[np.bool_] = np.asarray(first.study != second.study)
    for wanted, name in (
        (rule.same_view, "view"),
        (rule.same_laterality, "laterality"),
        (rule.same_modality, "modality"),
    ):
        if wanted:
            one, other = getattr(first, name), getattr(second, name)
            mask &= (one == other) & ((one != 0) | rule.unknown_alike)
    if rule.min_days > 0:
        # A comparison with NaN is false: what is not known is not far enough apart.
        apart = np.abs(first.days - second.days) >= rule.min_days
        mask &= apart | (first.patient != second.patient)
    return mask


def _encode(rows: list[Row]) -> Keys:
    return Keys(
        patient=np.array([_hash(row.issuer, row.patient_id) for row in rows], np.int64),
        study=np.array([_hash(row.issuer, row.patient_id, row.study) for row in rows], np.int64),
        view=np.array([_word(canonical_view(row.view)) for row in rows], np.uint32),
        laterality=np.array([_word(row.laterality) for row in rows], np.uint32),
        modality=np.array([_word(_family(row.modality)) for row in rows], np.uint32),
        days=np.array([np.nan if row.days is None else row.days for row in rows], np.float64),
        probe=np.array([row.role in PROBES for row in rows], np.bool_),
        gallery=np.array([row.role in GALLERY for row in rows], np.bool_),
    )


def _hash(*parts: str) -> int:
    """64 bits: among 10 million patients two agree with a chance of 3 in a million."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big", signed=True
    )


def _word(text: str) -> int:
    return (zlib.crc32(text.encode(errors="surrogatepass")) or 1) if text else 0


def _family(modality: str) -> str:
    return _FAMILIES.get(modality, modality)


def _same(one: str, other: str, rule: Rule) -> bool:
    return (bool(one) or rule.unknown_alike) and one == other
