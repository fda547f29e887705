"""A set of searches and comparisons as the figures see it: one entry per probe, nothing that grows with the gallery."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.evaluation.retrieval import Retrieval
from training.evaluation.table import Bools, Codes, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Impostor scores at least as large as thresholds.

    thresholds, total
        (T,) ascending, and the counts over all probes of the trial: exact.
    kept, each
        (K,) indices of thresholds, and (P, K) counts of each probe there, for the bootstrap.
    """

    thresholds: Floats
    total: Codes
    kept: Codes
    each: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """P probes, all arrays (P,).

    patient
        patient codes.
    searched
        whether a non-mated search was made with the probe: its own patient taken out of the gallery.
    mate
        the best mated score: NaN where no mate is enrolled, -inf where a mate could not be compared (a failure).
    rank
        of the mate among patients, from 1; 0 where there is no mate.
    compared
        how many other patients.
    best
        the best score of another patient; -inf where none was compared.
    over
        (P, F): other patients that score above the threshold of each FPIR asked for.
    """

    patient: Codes
    searched: Bools
    mate: Floats
    rank: Codes
    compared: Codes
    best: Floats
    over: Codes
    images: Retrieval
    counts: Counts

    def __len__(self) -> int:
        return len(self.patient)

    @property
    def mated(self) -> Bools:
        return ~np.isnan(self.mate)

    def among(self, probes: Bools, total: Codes) -> Trial:
        """Only some probes; ``total`` (T,) are their counts at all thresholds."""
        images = self.images
        return Trial(
            self.patient[probes],
            self.searched[probes],
            self.mate[probes],
            self.rank[probes],
            self.compared[probes],
            self.best[probes],
            self.over[probes],
            Retrieval(
                images.average_precision[probes],
                images.at_r[probes],
                images.inverse_penalty[probes],
                images.first[probes],
            ),
            replace(self.counts, total=total, each=self.counts.each[probes]),
        )
