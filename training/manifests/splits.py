"""Splits by patient: whoever is in one part of the data is in no other, and stays there when data are added.

A patient's part follows from a hash of who they are and a seed, never from order or number of rows. A publisher's own
split goes before it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from config.errors import CommandError
from training.manifests.schema import Row

__all__ = ["assign_splits", "check_shares", "split_of", "splits_are_by_patient"]

_DOMAIN = b"medreid split 1"


def assign_splits(rows: Iterable[Row], shares: Mapping[str, float], seed: int, *, stratify: str = "") -> Iterator[Row]:
    """The rows with their split: the publisher's where rows have one, else by patient in these shares.

    Without ``stratify`` rows are streamed, each patient's split depends on nobody else, and shares are met on
    average. ``stratify`` names a label: patients are grouped by the set of its values in their rows, and every group
    is cut in these shares to within one patient. That reads ``rows`` twice (a list, or a Manifest) and keeps a
    few bytes for each patient.

    Raises
    ------
    CommandError
        ``SPLIT_SHARES`` when the shares are none; ``SPLIT_PARTIAL`` when only some rows have a publisher's split.
    ValueError
        when ``rows`` can be read only once and ``stratify`` is asked for.
    """
    check_shares(shares)
    strata: Mapping[bytes, str] = {}
    if stratify:
        if iter(rows) is rows:
            raise ValueError("a stratified split reads the rows twice: give a list or a Manifest")
        strata = _stratified(rows, shares, seed, stratify)
    return _assigned(rows, shares, seed, strata)


def _assigned(
    rows: Iterable[Row], shares: Mapping[str, float], seed: int, strata: Mapping[bytes, str]
) -> Iterator[Row]:
    published: bool | None = None
    for row in rows:
        if published is None:
            published = bool(row.split)
        if published != bool(row.split):
            raise CommandError(
                "some rows have a split and others have none; fill the column split, or empty it",
                reason="SPLIT_PARTIAL",
            )
        if published:
            yield row
            continue
        known = strata.get(_digest(row.issuer, row.patient_id, seed)) if strata else None
        yield replace(row, split=known or split_of(row, shares, seed))


def split_of(row: Row, shares: Mapping[str, float], seed: int) -> str:
    """The split of a row's patient: the one whose share of [0, 1) the patient's hash falls into."""
    return _split_at(_point(_digest(row.issuer, row.patient_id, seed)), shares)


def _split_at(point: float, shares: Mapping[str, float]) -> str:
    total = 0.0
    for name, share in shares.items():
        total += share
        if point < total:
            return name
    return [name for name, share in shares.items() if share > 0][-1]


def check_shares(shares: Mapping[str, float]) -> None:
    """Raises CommandError ``SPLIT_SHARES`` unless the shares are named, not negative, and add up to 1."""
    sound = all(name.strip() and math.isfinite(share) and share >= 0 for name, share in shares.items())
    if not sound or not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise CommandError("the shares of a split are named and add up to 1: train=0.8 test=0.2", reason="SPLIT_SHARES")


def splits_are_by_patient(rows: Iterable[Row]) -> dict[str, int]:
    """Number of patients in each split (``''`` for rows without); a few bytes of memory for each patient.

    Raises
    ------
    CommandError
        ``SPLIT_LEAK`` when a patient is in more than one.
    """
    splits: dict[bytes, str] = {}
    torn: dict[bytes, int] = {}
    for number, row in enumerate(rows, start=1):
        patient = _digest(row.issuer, row.patient_id)
        if splits.setdefault(patient, row.split) != row.split:
            torn.setdefault(patient, number)
    if torn:
        raise CommandError(
            f"{len(torn)} of {len(splits)} patients are in more than one split (first seen at row "
            f"{min(torn.values())}); split by patient: empty the column split and let it be drawn",
            reason="SPLIT_LEAK",
        )
    return dict(sorted(Counter(splits.values()).items()))


def _stratified(rows: Iterable[Row], shares: Mapping[str, float], seed: int, label: str) -> dict[bytes, str]:
    values: dict[bytes, frozenset[str]] = {}
    for row in rows:
        patient = _digest(row.issuer, row.patient_id, seed)
        values[patient] = values.get(patient, frozenset()) | {row.labels.get(label, "")}
    groups: dict[frozenset[str], list[bytes]] = {}
    for patient, found in values.items():
        groups.setdefault(found, []).append(patient)
    return {
        patient: split
        for found, group in groups.items()
        for patient, split in _cut(group, shares, _point(_digest(*sorted(found), seed)))
    }


def _cut(patients: list[bytes], shares: Mapping[str, float], offset: float) -> Iterator[tuple[bytes, str]]:
    """Patients in the order of their hash, at even steps over the shares.

    The first step is drawn for each group, so that the many groups of one or two patients do not all fall to the
    largest share.
    """
    for position, patient in enumerate(sorted(patients)):
        yield patient, _split_at((position + offset) / len(patients), shares)


def _digest(*identity: object) -> bytes:
    text = "".join(f"{len(str(part))}:{part}" for part in identity)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16, person=_DOMAIN).digest()


def _point(digest: bytes) -> float:
    """53 bits, so that the value stays below 1."""
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
