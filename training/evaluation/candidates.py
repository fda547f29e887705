"""The candidate list of every search: the best other patients, exactly, with the image each was found by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluation.search import Block, Collector
from training.evaluation.table import Codes, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Per probe the best gallery patients, best first.

    probes
        (P,) table rows of the probes.
    images
        (P, k) table rows of each candidate patient's best image; -1 past the end of a shorter list.
    patients
        (P, k) patient codes; -1 past the end.
    scores
        (P, k) float64; -inf past the end.
    mate_images, mate_scores, mate_ranks
        (P,) the mate's best image (table row, -1 without a mate), its score (NaN) and its rank among patients (0).

    Patients that score like the mate stand before it; others that score alike stand in the order of the gallery.
    """

    probes: Codes
    images: Codes
    patients: Codes
    scores: Floats
    mate_images: Codes
    mate_scores: Floats
    mate_ranks: Codes


class BestOthers(Collector):
    """Collects the ``k`` best patients of each probe other than its own; ``compared`` counts those with a score."""

    def __init__(self, probes: int, k: int) -> None:
        self.k = k
        self.scores = np.full((probes, k), -np.inf)
        self.places = np.full((probes, k), -1, np.int64)
        self.images = np.full((probes, k), -1, np.int64)
        self.compared = np.zeros(probes, np.int64)

    @property
    def best(self) -> Floats:
        """(P,) the best score of another patient, -inf where nobody was compared."""
        return self.scores[:, 0]

    def add(self, block: Block) -> None:
        self.compared[block.probes] += np.count_nonzero(block.patients != -np.inf, axis=1)
        for number, probe in enumerate(block.probes.tolist()):
            row = block.patients[number]
            found = np.flatnonzero(row > self.scores[probe, -1])
            if len(found) > 8 * self.k:
                found = found[row[found] >= np.partition(row[found], -self.k)[-self.k]]
            if len(found):
                self._merge(probe, row[found], found, block, block.images[number])

    def _merge(self, probe: int, scores: Floats, columns: Codes, block: Block, images: Floats) -> None:
        """Among equals those that came first stay first: blocks arrive in the order of the gallery."""
        # More than k newcomers are cut before their images are looked up.
        kept = np.argsort(-scores, kind="stable")[: self.k]
        scores, columns = scores[kept], columns[kept]
        part = block.part
        rows = np.empty(len(columns), np.int64)
        for offset, n in zip(reversed(part.offsets()), reversed(part.slots), strict=True):
            here = np.flatnonzero(columns < n)
            here = here[images[offset + columns[here]] == scores[here]]
            rows[here] = part.images[offset + columns[here]]
        all_scores = np.concatenate([self.scores[probe], scores])
        order = np.argsort(-all_scores, kind="stable")[: self.k]
        self.scores[probe] = all_scores[order]
        self.places[probe] = np.concatenate([self.places[probe], part.first + columns])[order]
        self.images[probe] = np.concatenate([self.images[probe], rows])[order]


def candidate_lists(
    others: BestOthers,
    probes: Codes,
    patients: Codes,
    own: Codes,
    mate_scores: Floats,
    mate_images: Codes,
    mate_ranks: Codes,
) -> Candidates:
    """The lists with the mates put in where they rank.

    Parameters
    ----------
    patients
        (N,) patient codes of the gallery in its order.
    own
        (P,) patient codes of the probes.
    """
    codes = np.where(others.places >= 0, patients[others.places], -1)
    images, scores = others.images.copy(), others.scores.copy()
    for number in np.flatnonzero((mate_ranks > 0) & (mate_ranks <= others.k)).tolist():
        here = int(mate_ranks[number]) - 1
        for columns, value in (
            (codes, own[number]),
            (images, mate_images[number]),
            (scores, mate_scores[number]),
        ):
            columns[number, here + 1 :] = columns[number, here:-1].copy()
            columns[number, here] = value
    return Candidates(probes, images, codes, scores, mate_images, mate_scores, mate_ranks)
