"""An archive that knows days but no patients, what is found in it of an image's past, and how both become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from inference.encoders.families import canonical_view
from inference.types import FloatArray
from training.evaluation.table import Bools, Codes, Floats, Table
from training.manifests.schema import Row
from training.studies.paired import without_embedding
from training.studies.persons import FIT, Parts, check_disjoint

RETRIEVED, ORACLE, RANDOM = "retrieved", "oracle", "random"
WAYS = (RETRIEVED, ORACLE, RANDOM)
# A stream of its own for what is drawn at random.
_DRAWS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """N images; arrays are (N, ...).

    patient, days, part
        codes, days on one calendar for all, and ``fit`` or ``judge``.
    like
        codes of what images must share to be one's past: modality, view and laterality.
    search, features
        embeddings for retrieval (L2-normalised), and what labels are read from; zeros where an encoder failed.
    """

    rows: Sequence[Row]
    patient: Codes
    days: Floats
    part: Parts
    like: Codes
    search: FloatArray
    features: FloatArray

    @classmethod
    def of(cls, rows: Sequence[Row], search: FloatArray, features: FloatArray, part: Parts) -> Self:
        """An archive of rows that all have days; images without an embedding are left out."""
        kept = np.flatnonzero(~without_embedding(search) & ~without_embedding(features))
        some = [rows[number] for number in kept.tolist()]
        table = Table.from_rows(some)
        kinds = [f"{row.modality}\x00{canonical_view(row.view)}\x00{row.laterality}" for row in some]
        like = np.unique(kinds, return_inverse=True)[1].astype(np.int64)
        return cls(some, table.patient, table.days, part[kept], like, search[kept], features[kept])

    def check(self) -> None:
        """Raises CommandError ``SHARED_PERSONS`` when a person is both fitted on and judged."""
        check_disjoint(self.patient.tolist(), self.part)

    def labels(self, name: str) -> Codes:
        """(N,) 1 where the label says more than "0", 0 where it says "0", -1 where it says nothing."""
        words = [row.labels.get(name, "") for row in self.rows]
        return np.array([-1 if not word else int(word != "0") for word in words], np.int64)

    def earlier(self, image: int) -> Codes:
        """What may be searched for an image's past: alike, of an earlier day, whoever's it is.

        For images that are fitted on, nothing of those who are judged.
        """
        allowed = (self.days < self.days[image]) & (self.like == self.like[image])
        if self.part[image] == FIT:
            allowed &= self.part == FIT
        return np.flatnonzero(allowed)

    def own(self, image: int) -> Codes:
        """The patient's own among these, the latest first."""
        found = self.earlier(image)
        found = found[self.patient[found] == self.patient[image]]
        return np.asarray(found[np.argsort(-self.days[found], kind="stable")], np.int64)

    def has_past(self) -> Bools:
        """(N,) whether the archive holds an earlier image of the patient."""
        return np.array([len(self.own(image)) > 0 for image in range(len(self.rows))], bool)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """(n, k) images of the archive found for n images, the best first, and their weights; -1 and 0 where there are
    fewer."""

    asked: Codes
    images: Codes
    weights: Floats

    def own_share(self, archive: Archive, among: Codes) -> float | None:
        """The share of what was found for the images ``among`` that is the same patient's; None where nothing was."""
        some = np.isin(self.asked, among)
        found, owner = self.images[some], archive.patient[self.asked[some]]
        there = found >= 0
        return float((archive.patient[found] == owner[:, None])[there].mean()) if there.any() else None


def retrieved(archive: Archive, asked: Codes, k: int, way: str, seed: int) -> Found:
    """Up to ``k`` images of the past of each image of ``asked`` (n,), by similarity, by truth, or by chance."""
    images, weights = np.full((len(asked), k), -1, np.int64), np.zeros((len(asked), k))
    for row, image in enumerate(asked.tolist() if k else []):
        chosen = _chosen(archive, image, k, way, seed)
        images[row, : len(chosen)] = chosen
        similar = archive.search[chosen].astype(np.float64) @ archive.search[image].astype(np.float64)
        # Opposite embeddings have nothing to say; the little that is left keeps a lone one of them.
        weights[row, : len(chosen)] = np.maximum(similar, 1e-6)
    return Found(asked, images, weights)


def _chosen(archive: Archive, image: int, k: int, way: str, seed: int) -> Codes:
    if way == ORACLE:
        return archive.own(image)[:k]
    earlier = archive.earlier(image)
    if way == RANDOM:
        # Of each image its own stream, in which a larger k only adds to what a smaller one has.
        order = np.random.default_rng((seed, _DRAWS, image)).permutation(len(earlier))
        return earlier[order[:k]]
    similar = archive.search[earlier].astype(np.float64) @ archive.search[image].astype(np.float64)
    return earlier[np.argsort(-similar, kind="stable")[:k]]


def fused(archive: Archive, asked: Codes, found: Found) -> Floats:
    """float64 (n, F), or (n, 2 F) with a past: own features, then the mean of what was found, weighed by similarity.

    Nothing found is the own features again: no change.
    """
    own = archive.features[asked].astype(np.float64)
    if not found.images.shape[1]:
        return own
    weights = np.where(found.images >= 0, found.weights, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    past = np.einsum("nk,nkf->nf", weights, archive.features[found.images].astype(np.float64))
    mean = np.divide(past, total, out=own.copy(), where=total > 0)
    return np.hstack([own, mean])
