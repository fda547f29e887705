"""All searches among samples: which images may be compared, what the embedding says, and what geometry says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from inference.verification.protocol import Verifier
from training.studies.pair_scores import pair_scores
from training.studies.samples import Sample

# Beyond this many comparisons the verifier is only asked about what the embedding nominated.
MAX_PAIRS = 400_000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Scores of images with images, (n, n); -inf where two may not be compared, or one of them was refused.

    owners
        (n,) numbers of the patients.
    probes
        numbers of the images that are searched for: those of patients with another study, who are no distractors.
    embedding
        None where no encoder nominates.
    nominated
        the best of each probe's row by the embedding; all that is comparable where there is none.
    pixels
        the floor: correlation of 32 x 32 pixels.
    complete
        whether the verifier was asked about every comparable pair.
    """

    owners: NDArray[np.int64]
    probes: NDArray[np.int64]
    patients: int
    embedding: Floats | None
    pixels: Floats | None
    geometry: Floats
    nominated: Flags
    complete: bool
    asked: int

    def by_patient(self, scores: Floats) -> Floats:
        """(probes, patients): the best score over a patient's images; -inf where there is none."""
        result = np.full((len(self.probes), self.patients), -np.inf)
        np.maximum.at(result.T, self.owners, scores[self.probes].T)
        return result

    @property
    def mates(self) -> NDArray[np.int64]:
        """(probes,) whose each probe is."""
        return self.owners[self.probes]


def compare_all(found: Sequence[Sample], verifier: Verifier, top: int, processes: int = 1) -> Comparisons:
    """Every probe with every image of another study, of the same view and side where these are known."""
    names, owners = np.unique([sample.patient for sample in found], return_inverse=True)
    comparable = _comparable(found)
    mated = (comparable & (owners[:, None] == owners[None, :])).any(axis=1)
    probes = np.flatnonzero(mated & np.array([not sample.distractor for sample in found], bool))
    comparable[~np.isin(np.arange(len(found)), probes)] = False
    embedding = _similarity([sample.vector for sample in found], comparable)
    pixels = _similarity([sample.pixels for sample in found], comparable)
    nominated = comparable.copy() if embedding is None else _best(embedding, top)
    complete = int(comparable.sum()) <= MAX_PAIRS
    geometry, asked = _geometry(found, verifier, comparable if complete else nominated, processes)
    return Comparisons(owners, probes, len(names), embedding, pixels, geometry, nominated, complete, asked)


def _comparable(found: Sequence[Sample]) -> Flags:
    studies = np.array([f"{sample.patient}\x00{sample.study}" for sample in found])
    result = studies[:, None] != studies[None, :]
    for values in ([sample.view for sample in found], [sample.laterality for sample in found]):
        known = np.array(values)
        result &= (known[:, None] == known[None, :]) | (known[:, None] == "") | (known[None, :] == "")
    return np.asarray(result)


def _similarity(found: Sequence[FloatArray | None], comparable: Flags) -> Floats | None:
    dimension = max((len(vector) for vector in found if vector is not None), default=0)
    if not dimension:
        return None
    vectors = np.zeros((len(found), dimension))
    for row, vector in zip(vectors, found, strict=True):
        row[: 0 if vector is None else len(vector)] = 0.0 if vector is None else vector
    refused = np.array([vector is None for vector in found])
    usable = comparable & ~refused[:, None] & ~refused[None, :]
    return np.where(usable, vectors @ vectors.T, -np.inf)


def _best(scores: Floats, top: int) -> Flags:
    """The ``top`` best images of each row."""
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1, kind="stable")[:, :top], True, axis=1)
    return chosen & np.isfinite(scores)


def _geometry(found: Sequence[Sample], verifier: Verifier, wanted: Flags, processes: int) -> tuple[Floats, int]:
    """Scores and how many were made: one for both directions, as a verifier is symmetric."""
    from rich.progress import track

    numbers = [number for number, sample in enumerate(found) if sample.template is not None]
    templates = [sample.template for sample in found if sample.template is not None]
    asked = (wanted | wanted.T)[np.ix_(numbers, numbers)]
    pairs = [(int(first), int(second)) for first, second in np.argwhere(np.triu(asked, 1))]
    scores = np.full(wanted.shape, -np.inf)
    made = pair_scores(verifier, templates, pairs, processes)
    for (first, second), score in zip(pairs, track(made, "comparisons", len(pairs)), strict=True):
        one, other = numbers[first], numbers[second]
        scores[one, other] = scores[other, one] = score
    return scores, len(pairs)
