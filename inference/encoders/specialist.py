"""The modular service's own answer, to compare with: a patient classifier over whoever is enrolled, and a threshold.

As published, each specialist ends in a softmax over the patients it knows, names the best three, and rejects a probe
whose best has less than 0.75. Here the weights of that last layer are the centres of the patients' embeddings, so that
a patient is added without training (J. Snell et al., "Prototypical networks for few-shot learning", NeurIPS 2017).

It is a method for studies, and no decision of a node rests on it: a softmax over the enrolled has no word for somebody
else, so that the better it tells patients apart the surer it is of strangers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.errors import GalleryError
from inference.gallery.protocol import GalleryEntry
from inference.types import FloatArray, PatientKey

THRESHOLD: Final = 0.75
TOP: Final = 3
# Scales that are tried: cosines times 1 hardly differ, times 64 leave little but the best. Where no enrolled study is
# ever mistaken, the likeliest scale would be infinite.
_SCALES = np.geomspace(1, 64, 49)


@dataclass(frozen=True, slots=True)
class Answer:
    """At most three patients with their probabilities, best first, and whether the best is below the threshold."""

    top: tuple[tuple[PatientKey, float], ...]
    rejected: bool


class Specialist:
    """A view on what one encoder enrolled: entries of one encoder version, and of one modality where that matters.

    ``scale`` is what cosines are multiplied by before the softmax; None fits it to the entries themselves, each of them
    a probe against the patients without its study.

    Raises
    ------
    GalleryError
        ``EMPTY``, when there are fewer than two patients; ``NO_SECOND_STUDY``, when the scale is to be fitted and no
        patient has two studies.
    """

    def __init__(
        self, entries: Sequence[GalleryEntry], scale: float | None = None, threshold: float = THRESHOLD
    ) -> None:
        self.patients = sorted({entry.patient for entry in entries})
        if len(self.patients) < 2:
            raise GalleryError("a patient classifier needs at least two patients; enrol more", reason="EMPTY")
        self._studies = frozenset(entry.study_uid for entry in entries)
        self._centres = _unit(_sums(entries, self.patients))
        self.threshold = threshold
        self.scale = _fitted_scale(entries, self.patients) if scale is None else scale

    def probabilities(self, probes: FloatArray) -> NDArray[np.float64]:
        """(n, patients) of L2-normalised probes (n, dimension); the order is that of :attr:`patients`."""
        return np.exp(_log_softmax(self.scale * (np.asarray(probes, np.float64) @ self._centres.T)))

    def answers(self, probes: FloatArray, studies: Sequence[str]) -> list[Answer]:
        """An answer to each probe (n, dimension); ``studies`` are those that the probes come from.

        Raises
        ------
        GalleryError
            ``SAME_STUDY`` when one of them is enrolled: it would be recognised by its own images.
        """
        if self._studies.intersection(studies):
            raise GalleryError("a probe's study is enrolled; leave it out of the gallery", reason="SAME_STUDY")
        found = []
        for row in self.probabilities(probes):
            best = np.argsort(-row, kind="stable")[:TOP]
            top = tuple((self.patients[n], float(row[n])) for n in best)
            found.append(Answer(top, top[0][1] < self.threshold))
        return found


def _sums(entries: Sequence[GalleryEntry], patients: Sequence[PatientKey]) -> NDArray[np.float64]:
    """(patients, dimension): the sum of each patient's vectors."""
    place = {patient: n for n, patient in enumerate(patients)}
    sums = np.zeros((len(patients), len(entries[0].vector)))
    np.add.at(sums, [place[entry.patient] for entry in entries], np.stack([entry.vector for entry in entries]))
    return sums


def _fitted_scale(entries: Sequence[GalleryEntry], patients: Sequence[PatientKey]) -> float:
    """The scale under which the patients' own studies are likeliest, each left out of its patient's centre."""
    place = {patient: n for n, patient in enumerate(patients)}
    of_study: dict[tuple[int, str], list[FloatArray]] = {}
    for entry in entries:
        of_study.setdefault((place[entry.patient], entry.study_uid), []).append(entry.vector)
    sums = _sums(entries, patients)
    studies_of = np.bincount([own for own, _ in of_study], minlength=len(patients))
    cosines, owners = [], []
    for (own, _), vectors in of_study.items():
        if studies_of[own] < 2:
            continue
        others = sums.copy()
        others[own] -= np.sum(vectors, axis=0, dtype=np.float64)
        cosines.append(np.asarray(vectors, np.float64) @ _unit(others).T)
        owners += [own] * len(vectors)
    if not cosines:
        raise GalleryError(
            "no patient has two studies to fit the scale to; enrol more, or give a scale", reason="NO_SECOND_STUDY"
        )
    every = np.concatenate(cosines)
    likelihoods = [_log_softmax(scale * every)[np.arange(len(owners)), owners].mean() for scale in _SCALES]
    return float(_SCALES[int(np.argmax(likelihoods))])


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float64)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float64)
